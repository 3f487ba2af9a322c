//! One session with each node in use: whatever waits goes out as one frame, and every answer finds its asker.

mod in_flight;
mod link;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use skerry_core::ids::NodeId;
use skerry_core::map::{Map, NodeState};
use skerry_proto::v1;
use skerry_proto::v1::session_result::Result as Answer;
use tokio::sync::{mpsc, oneshot, watch};

use crate::request_ids::RequestIds;
use crate::routes::Routes;
use link::Link;

/// Operations that wait for one node's connection at most; further ones wait in their callers.
const QUEUE_MAX: usize = 1_024;

/// An operation on its way to a node.
#[derive(Debug)]
pub(crate) struct Submission {
    /// Its id is given when it is sent.
    pub(crate) item: v1::SessionItem,
    /// Bytes of the keys and values that are sent.
    pub(crate) bytes: usize,
    /// Told the answer; dropped if the connection breaks first.
    pub(crate) reply: oneshot::Sender<Result<Answer, NotSent>>,
}

/// There is no connection to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotSent;

/// The way to one node. Many may share it.
pub(crate) type Outlet = mpsc::Sender<Submission>;

/// All sessions of a client, one for each node that it has sent operations to.
#[derive(Debug)]
pub(crate) struct Sessions {
    outlets: RwLock<HashMap<NodeId, Outlet>>,
    routes: watch::Receiver<Arc<Routes>>,
    request_ids: Arc<RequestIds>,
}

impl Sessions {
    pub(crate) fn new(routes: watch::Receiver<Arc<Routes>>, request_ids: Arc<RequestIds>) -> Self {
        Self { outlets: RwLock::default(), routes, request_ids }
    }

    /// The way to a node; its connection is made when something is sent.
    pub(crate) fn to(&self, node: NodeId) -> Outlet {
        if let Some(outlet) = self.outlets.read().unwrap_or_else(PoisonError::into_inner).get(&node) {
            return outlet.clone();
        }
        let mut outlets = self.outlets.write().unwrap_or_else(PoisonError::into_inner);
        self.forget_removed(&mut outlets);
        outlets.entry(node).or_insert_with(|| self.open(node)).clone()
    }

    fn open(&self, node: NodeId) -> Outlet {
        let (outlet, queue) = mpsc::channel(QUEUE_MAX);
        let queue = Arc::new(Mutex::new(queue));
        let link = Link { node, queue, routes: self.routes.clone(), request_ids: Arc::clone(&self.request_ids) };
        tokio::spawn(link.run());
        outlet
    }

    fn forget_removed(&self, outlets: &mut HashMap<NodeId, Outlet>) {
        let map: Arc<Map> = Arc::clone(&self.routes.borrow().map);
        outlets.retain(|node, _| map.nodes.get(node).is_some_and(|record| record.state != NodeState::Removed));
    }
}
