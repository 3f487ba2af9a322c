//! The objects of a database, to the byte. What is here is in people's clusters: a pod template that differs restarts every
//! node of every database when the operator is upgraded.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test's own tools may fail loudly and read files"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::PodSpec;
use serde::Serialize;
use skerry_api::{DistributedDatabase, SpreadByHost};
use skerry_operator_core::ClaimTemplate;
use skerry_operator_core::kubernetes::Names;
use skerry_operator_core::kubernetes::objects::{
    Blueprint, OperatorPods, config_map, digest, disruption_budget, network_policy, secret, service_account, services,
    stateful_set,
};

/// Set to anything, the files are written instead of compared.
const WRITE: &str = "SKERRY_WRITE_OBJECTS";

fn database() -> DistributedDatabase {
    let text = r#"{
        "apiVersion": "skerry.io/v1alpha1", "kind": "DistributedDatabase",
        "metadata": {"name": "shop", "namespace": "sales", "uid": "0d4c4f4e-5b5a-4f0e-9b43-1c5f3f7f0a11"},
        "spec": {
            "replicas": 3, "replicationFactor": 3, "zones": ["zone-a", "zone-b", "zone-c"],
            "storage": {"size": "20Gi", "storageClassName": "fast", "engine": "Sled"},
            "tables": [{"name": "customers", "fragmentation": {"type": "Range", "splitPoints": ["D", "M"]}}]
        }
    }"#;
    serde_json::from_str(text).unwrap()
}

fn on(database: &DistributedDatabase, with: impl FnOnce(&Blueprint<'_>)) {
    let names = Names { database: "shop".to_owned(), namespace: "sales".to_owned() };
    let cluster = database.metadata.uid.as_deref().unwrap();
    with(&Blueprint { database, names: &names, cluster, image: "skerry-node:0.1.0" });
}

/// Compares with the file of this name. `why` = what it would mean if they differ.
fn is_as_in(file: &str, why: &str, object: &impl Serialize) {
    let text = serde_yaml::to_string(object).unwrap();
    let path = Path::new("tests/data/objects").join(file);
    if std::env::var_os(WRITE).is_some() {
        return fs::write(path, text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap();
    let differs = kept.lines().zip(text.lines()).position(|(a, b)| a != b).unwrap_or(kept.lines().count()) + 1;
    assert!(
        kept == text,
        "{file} differs from line {differs} on: {why}. If that is meant, say so in CHANGELOG.md and run this test with \
         {WRITE}=1:\n{text}"
    );
}

const RESTART: &str = "an upgrade of the operator would restart every node of every database";
const REWRITE: &str = "an upgrade of the operator would write it anew for every database";

#[test]
fn pods_and_volumes_stay_as_they_are_over_an_upgrade() {
    on(&database(), |of| {
        is_as_in("stateful-set.yaml", RESTART, &stateful_set(of, "zone-a", 1, None));
        let set = stateful_set(of, "zone-a", 1, None);
        assert_eq!(set.metadata.annotations.unwrap()["skerry.io/digest"], digest(of, "zone-a", None));
    });
}

#[test]
fn a_set_whose_claims_were_made_with_other_labels_keeps_them_and_is_not_written_anew() {
    on(&database(), |of| {
        let mut set = stateful_set(of, "zone-a", 1, None);
        let claims = &mut set.spec.volume_claim_templates.as_mut().unwrap()[0];
        let mut labels = claims.metadata.labels.clone().unwrap();
        assert_eq!(
            labels.insert("app.kubernetes.io/instance".to_owned(), "shop".to_owned()),
            None,
            "it would be pruned"
        );
        let storage = &of.database.spec.storage;
        let made = ClaimTemplate {
            size: Some(storage.size.clone()),
            class: storage.storage_class_name.clone(),
            labels: Some(labels.clone()),
        };
        let again = stateful_set(of, "zone-a", 1, Some(&made));
        assert_eq!(again.spec.volume_claim_templates.unwrap()[0].metadata.labels, Some(labels));
        assert_eq!(again.metadata.annotations.unwrap()["skerry.io/digest"], digest(of, "zone-a", Some(&made)));
    });
}

#[test]
fn pods_without_zones_stay_as_they_are_over_an_upgrade() {
    let mut database = database();
    database.spec.zones.clear();
    database.spec.storage.storage_class_name = None;
    on(&database, |of| is_as_in("stateful-set-without-zones.yaml", RESTART, &stateful_set(of, "", 3, None)));
}

#[test]
fn pods_that_may_share_no_host_differ_in_nothing_else() {
    let mut apart = database();
    apart.spec.spread_by_host = SpreadByHost::Required;
    on(&database(), |preferred| {
        on(&apart, |required| {
            let pods = |of: &Blueprint<'_>| stateful_set(of, "zone-a", 1, None).spec.template.spec.unwrap();
            let (mut preferred, mut required) = (pods(preferred), pods(required));
            let affinity = |of: &mut PodSpec| of.affinity.take().unwrap().pod_anti_affinity.unwrap();
            let (may, must) = (affinity(&mut preferred), affinity(&mut required));
            assert_eq!(preferred, required);
            let term = must.required_during_scheduling_ignored_during_execution.unwrap();
            assert_eq!(term[0].topology_key, "kubernetes.io/hostname");
            assert_eq!(may.preferred_during_scheduling_ignored_during_execution.unwrap()[0].pod_affinity_term, term[0]);
            assert_eq!(must.preferred_during_scheduling_ignored_during_execution, None);
        });
    });
}

#[test]
fn what_stands_beside_stays_as_it_is_over_an_upgrade() {
    on(&database(), |of| {
        let [clients, nodes] = services(of);
        is_as_in("service-of-clients.yaml", REWRITE, &clients);
        is_as_in("service-of-nodes.yaml", REWRITE, &nodes);
        is_as_in("config-map.yaml", REWRITE, &config_map(of));
        is_as_in("service-account.yaml", REWRITE, &service_account(of));
        let labels = BTreeMap::from([("app.kubernetes.io/component".to_owned(), "operator".to_owned())]);
        let operator = OperatorPods { namespace: "skerry-system".to_owned(), labels };
        is_as_in("network-policy.yaml", REWRITE, &network_policy(of, &operator));
        let outside = OperatorPods::default();
        is_as_in("network-policy-with-the-operator-outside.yaml", REWRITE, &network_policy(of, &outside));
        is_as_in("secret.yaml", "it is written once, and never again", &secret(of, "random".to_owned()));
        is_as_in("disruption-budget.yaml", REWRITE, &disruption_budget(of, 3, true));
        is_as_in("disruption-budget-while-not-well.yaml", REWRITE, &disruption_budget(of, 3, false));
    });
}

#[test]
fn digest_changes_with_what_pods_are_made_from_and_with_nothing_else() {
    on(&database(), |plain| {
        let before = digest(plain, "zone-a", None);
        let mut other = database();
        other.spec.replicas = 5;
        other.spec.tables.clear();
        on(&other, |of| assert_eq!(digest(of, "zone-a", None), before, "neither replicas nor tables are the pods'"));
        other.spec.resources.memory = "3Gi".to_owned();
        on(&other, |of| assert_ne!(digest(of, "zone-a", None), before));
        assert_ne!(digest(plain, "zone-b", None), before);
    });
}
