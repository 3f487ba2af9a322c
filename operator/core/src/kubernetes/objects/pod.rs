//! The pod of a node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, ObjectFieldSelector,
    PodAffinityTerm, PodAntiAffinity, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements,
    SeccompProfile, SecretVolumeSource, SecurityContext, Volume, VolumeMount, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use skerry_api::{RESTARTED_AT, SpreadByHost};

use super::{Blueprint, SECRET_KEY, ZONE_LABEL};
use crate::kubernetes::names::{ADMIN_PORT, GRPC_PORT, HTTP_PORT, PEER_PORT};

/// Nobody else's on any host, and never root.
const USER: i64 = 10_001;
/// A node gives its leaders away and makes all durable within 20 s, or is killed.
const GRACE_SECONDS: i64 = 30;
/// Far above what an engine starts with (sled 256 bytes, fjall a memtable of 1 MiB), and enough for it to work.
const CACHE_BYTES_MIN: u64 = 16 << 20;
/// Path in the container where the volume is mounted.
const DATA: &str = "/data";
/// Where the database's Secret is. A folder: Kubernetes brings a changed Secret into folders only.
const SECRET: &str = "/secret";
/// For the user's group alone, which is the volume's.
const SECRET_MODE: i32 = 0o440;

/// The ports of a node, by name.
pub(super) const PORTS: [(&str, u16); 4] =
    [("grpc", GRPC_PORT), ("http", HTTP_PORT), ("peers", PEER_PORT), ("admin", ADMIN_PORT)];

/// What the pods of a zone are made from.
pub(super) fn template(of: &Blueprint<'_>, zone: &str) -> PodTemplateSpec {
    let mut labels = of.labels();
    labels.insert(ZONE_LABEL.to_owned(), zone.to_owned());
    let restarted = of.database.metadata.annotations.as_ref().and_then(|a| a.get(RESTARTED_AT));
    let annotations = restarted.map(|at| BTreeMap::from([(RESTARTED_AT.to_owned(), at.clone())]));
    let in_zone = BTreeMap::from([("topology.kubernetes.io/zone".to_owned(), zone.to_owned())]);
    PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(labels), annotations, ..ObjectMeta::default() }),
        spec: Some(PodSpec {
            service_account_name: Some(of.names.nodes_service()),
            // Nodes never talk to Kubernetes.
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(GRACE_SECONDS),
            node_selector: (!zone.is_empty()).then_some(in_zone),
            affinity: Some(apart(of)),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                // A large volume is not walked through at every start.
                fs_group_change_policy: Some("OnRootMismatch".to_owned()),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..SeccompProfile::default()
                }),
                ..PodSecurityContext::default()
            }),
            containers: vec![node(of, zone)],
            volumes: Some(vec![Volume {
                name: "secret".to_owned(),
                secret: Some(SecretVolumeSource {
                    secret_name: Some(of.names.secret()),
                    default_mode: Some(SECRET_MODE),
                    ..SecretVolumeSource::default()
                }),
                ..Volume::default()
            }]),
            ..PodSpec::default()
        }),
    }
}

/// Each on a host of its own: if that can be, so that a database can be tried on a single host, or always.
fn apart(of: &Blueprint<'_>) -> Affinity {
    let term = PodAffinityTerm {
        label_selector: Some(LabelSelector { match_labels: Some(of.selector()), ..LabelSelector::default() }),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..PodAffinityTerm::default()
    };
    let apart = match of.database.spec.spread_by_host {
        SpreadByHost::Preferred => PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
                weight: 100,
                pod_affinity_term: term,
            }]),
            ..PodAntiAffinity::default()
        },
        SpreadByHost::Required => PodAntiAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![term]),
            ..PodAntiAffinity::default()
        },
    };
    Affinity { pod_anti_affinity: Some(apart), ..Affinity::default() }
}

fn node(of: &Blueprint<'_>, zone: &str) -> Container {
    let resources = &of.database.spec.resources;
    let memory = ("memory".to_owned(), Quantity(resources.memory.clone()));
    let cpu = ("cpu".to_owned(), Quantity(resources.cpu.clone()));
    Container {
        name: "node".to_owned(),
        image: Some(of.image.to_owned()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        env: Some(environment(of, zone)),
        ports: Some(PORTS.map(|(name, number)| port(name, number)).into()),
        resources: Some(ResourceRequirements {
            requests: Some([cpu, memory.clone()].into()),
            limits: Some([memory].into()),
            ..ResourceRequirements::default()
        }),
        // Recovery of a large log takes its time; only what no longer answers is ended.
        liveness_probe: Some(probe("/livez", 10, 6)),
        readiness_probe: Some(probe("/readyz", 2, 2)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![mount("data", DATA, None), mount("secret", SECRET, Some(true))]),
        ..Container::default()
    }
}

fn mount(name: &str, path: &str, read_only: Option<bool>) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), read_only, ..VolumeMount::default() }
}

fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort { name: Some(name.to_owned()), container_port: number.into(), ..ContainerPort::default() }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failure_threshold),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

/// Of the memory that a node may use, what its store gets as cache. `None` = it cannot be read, and the node goes by what it
/// takes without being told; a specification that is carried out can be read.
fn cache_bytes(memory: &str) -> Option<u64> {
    skerry_api::bytes(memory).ok().map(|bytes| (bytes / 4).max(CACHE_BYTES_MIN))
}

/// The node's arguments, as its `--help` names them. The pod's own name comes first: others refer to it.
fn environment(of: &Blueprint<'_>, zone: &str) -> Vec<EnvVar> {
    let spec = &of.database.spec;
    let own_name = EnvVar {
        name: "POD_NAME".to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: "metadata.name".to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    let values = [
        ("SKERRY_DATA", DATA.to_owned()),
        ("SKERRY_LISTEN", format!("[::]:{GRPC_PORT}")),
        ("SKERRY_HTTP", format!("[::]:{HTTP_PORT}")),
        ("SKERRY_PEER_LISTEN", format!("[::]:{PEER_PORT}")),
        ("SKERRY_ADMIN_LISTEN", format!("[::]:{ADMIN_PORT}")),
        ("SKERRY_SECRET_FILE", format!("{SECRET}/{SECRET_KEY}")),
        // The image of a database may be of the release before, and change to this one node by node. Once none of them is
        // left, a node hears nobody there, whatever this says.
        ("SKERRY_ACCEPT_OLDER_PEERS", "true".to_owned()),
        ("SKERRY_ADVERTISE", of.names.address("$(POD_NAME)")),
        ("SKERRY_CLUSTER_ID", of.cluster.to_owned()),
        ("SKERRY_ZONE", zone.to_owned()),
        ("SKERRY_JOIN", of.names.seed()),
        ("SKERRY_ENGINE", spec.storage.engine.name().to_owned()),
    ];
    let sizes = [
        ("SKERRY_CACHE_BYTES", cache_bytes(&spec.resources.memory)),
        ("SKERRY_CAPACITY_BYTES", skerry_api::bytes(&spec.storage.size).ok().filter(|bytes| *bytes > 0)),
    ];
    let sizes = sizes.into_iter().filter_map(|(name, bytes)| Some((name, bytes?.to_string())));
    let values = values.into_iter().chain(sizes).map(|(name, value)| EnvVar {
        name: name.to_owned(),
        value: Some(value),
        value_from: None,
    });
    std::iter::once(own_name).chain(values).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_is_a_quarter_of_the_memory_and_never_less_than_a_node_works_with() {
        assert_eq!(cache_bytes("1.5Gi"), Some(384 << 20));
        assert_eq!([cache_bytes("128Mi"), cache_bytes("1m")], [Some(32 << 20), Some(CACHE_BYTES_MIN)]);
        assert_eq!(cache_bytes("much"), None, "not a cache of nothing");
    }
}
