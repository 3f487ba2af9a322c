//! The clients, settings and metrics that all reconciliations share.

use std::sync::Arc;

use kube::Client;
use kube::runtime::events::Recorder;

use skerry_operator_core::kubernetes::objects::OperatorPods;

use crate::apply::Written;
use crate::histories::Histories;
use crate::leadership::Leadership;
use crate::metrics::Metrics;
use crate::node_admin::NodeAdmin;

/// The clients, settings and metrics that all reconciliations share.
#[derive(Clone)]
pub struct Context {
    /// Client of the Kubernetes API.
    pub client: Client,
    /// The way to ask databases and to give them orders.
    pub admin: Arc<dyn NodeAdmin>,
    /// Tells whether this operator may write now.
    pub leadership: Leadership,
    /// Image of the nodes of databases that are made from now on and do not name one.
    pub node_image: String,
    /// The operator's own pods, which each database's NetworkPolicy lets in. `None` = no NetworkPolicy is made.
    pub policies: Option<OperatorPods>,
    /// Tells people what was done. `None` = nobody is told.
    pub recorder: Option<Recorder>,
    /// Metrics of the operator.
    pub metrics: Metrics,
    /// What was written lately, so that it is not written again and again.
    pub written: Arc<Written>,
    /// What this operator has seen itself, since it leads.
    pub histories: Arc<Histories>,
}
