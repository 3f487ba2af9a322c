//! What stands beside the StatefulSets: Services, the disruption budget, the account of the pods, who may reach them, what
//! they demand, and where clients begin.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::pod::PORTS;
use super::{Blueprint, SECRET_KEY};
use crate::kubernetes::names::{ADMIN_PORT, GRPC_PORT, HTTP_PORT, PEER_PORT};

/// The Service of the nodes that are ready, for clients and newcomers, and the one that gives each node its name.
pub fn services(of: &Blueprint<'_>) -> [Service; 2] {
    let ports = PORTS.map(|(name, port)| ServicePort {
        name: Some(name.to_owned()),
        port: port.into(),
        target_port: Some(IntOrString::String(name.to_owned())),
        ..ServicePort::default()
    });
    let service = |name: String, headless: bool| Service {
        metadata: of.meta(name),
        spec: Some(ServiceSpec {
            selector: Some(of.selector()),
            ports: Some(ports.to_vec()),
            cluster_ip: headless.then(|| "None".to_owned()),
            // A node that is not ready is still to be reached by those that bring it up to date.
            publish_not_ready_addresses: headless.then_some(true),
            ..ServiceSpec::default()
        }),
        status: None,
    };
    [service(of.names.clients_service(), false), service(of.names.nodes_service(), true)]
}

/// One pod may be evicted if one may go (see [`crate::one_may_go`]), and else none. One that is not ready counts as away: it
/// goes as long as it is the only one, since two that are not ready may hold what a majority needs.
pub fn disruption_budget(of: &Blueprint<'_>, pods: usize, one_may_go: bool) -> PodDisruptionBudget {
    let at_least = if one_may_go { pods.saturating_sub(1) } else { pods };
    PodDisruptionBudget {
        metadata: of.meta(of.names.database.clone()),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: i32::try_from(at_least).ok().map(IntOrString::Int),
            selector: Some(LabelSelector { match_labels: Some(of.selector()), ..LabelSelector::default() }),
            unhealthy_pod_eviction_policy: Some("IfHealthyBudget".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}

/// Of the pods; it may do nothing.
pub fn service_account(of: &Blueprint<'_>) -> ServiceAccount {
    ServiceAccount {
        metadata: of.meta(of.names.nodes_service()),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// The operator's pods, as the database's NetworkPolicy knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OperatorPods {
    /// Namespace of the operator's pods.
    pub namespace: String,
    /// What they are labelled with. Empty = not known: orders may come from anywhere, with the secret.
    pub labels: BTreeMap<String, String>,
}

/// Everybody may reach the ports for clients and pages, the database's own pods that for nodes, and the operator's that for
/// orders.
pub fn network_policy(of: &Blueprint<'_>, operator: &OperatorPods) -> NetworkPolicy {
    let own = LabelSelector { match_labels: Some(of.selector()), ..LabelSelector::default() };
    let in_namespace = BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), operator.namespace.clone())]);
    let operators = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector { match_labels: Some(in_namespace), ..LabelSelector::default() }),
        pod_selector: Some(LabelSelector { match_labels: Some(operator.labels.clone()), ..LabelSelector::default() }),
        ..NetworkPolicyPeer::default()
    };
    let peers = NetworkPolicyPeer { pod_selector: Some(own.clone()), ..NetworkPolicyPeer::default() };
    let operators = (!operator.labels.is_empty()).then_some(vec![operators]);
    NetworkPolicy {
        metadata: of.meta(of.names.nodes_service()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(own),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![
                rule(&[GRPC_PORT, HTTP_PORT], None),
                rule(&[PEER_PORT], Some(vec![peers])),
                rule(&[ADMIN_PORT], operators),
            ]),
            ..NetworkPolicySpec::default()
        }),
    }
}

fn rule(ports: &[u16], from: Option<Vec<NetworkPolicyPeer>>) -> NetworkPolicyIngressRule {
    let port = |number: &u16| NetworkPolicyPort {
        port: Some(IntOrString::Int((*number).into())),
        protocol: Some("TCP".to_owned()),
        ..NetworkPolicyPort::default()
    };
    NetworkPolicyIngressRule { ports: Some(ports.iter().map(port).collect()), from }
}

/// What nodes demand of each other, and of who gives them orders: made once, and then a person's to change.
pub fn secret(of: &Blueprint<'_>, text: String) -> Secret {
    Secret {
        metadata: of.meta(of.names.secret()),
        type_: Some("Opaque".to_owned()),
        data: Some([(SECRET_KEY.to_owned(), ByteString(text.into_bytes()))].into()),
        ..Secret::default()
    }
}

/// The ConfigMap that tells clients how to connect: the seeds' address and the database's id.
pub fn config_map(of: &Blueprint<'_>) -> ConfigMap {
    let data = [("seeds", of.names.seed()), ("cluster-id", of.cluster.to_owned())];
    ConfigMap {
        metadata: of.meta(of.names.database.clone()),
        data: Some(data.map(|(key, value)| (key.to_owned(), value)).into()),
        ..ConfigMap::default()
    }
}
