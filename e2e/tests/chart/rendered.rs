//! What the chart becomes, for many values. Without Helm these tests say that they were skipped.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::helm::Helm;
use super::{chart, read, root};

/// Every switch turned, alone and together with others that meet it.
const COMBINATIONS: &[&[&str]] = &[
    &[],
    &["clusterWide=false"],
    &["clusterWide=false", "watchNamespace=\"shops\"", "rbac.clusterScoped=false", "networkPolicy.create=true"],
    &["crds.create=false", "admissionPolicies.create=false"],
    &["rbac.create=false", "serviceAccount.create=false", "rbac.aggregateClusterRoles=false"],
    &[
        "serviceAccount.name=\"keeper\"",
        "serviceAccount.annotations={\"a\": \"b\"}",
        "admissionPolicies.exemptUsers=[\"ann\", \"bob\"]",
    ],
    &["admissionPolicies.actions=[\"Warn\", \"Audit\"]", "replicaCount=1", "podDisruptionBudget.create=false"],
    &[
        "networkPolicy.create=true",
        "networkPolicy.ingressFrom=[{\"podSelector\": {}}]",
        "serviceMonitor.create=true",
        "serviceMonitor.interval=\"30s\"",
    ],
    &[
        "imageRegistry=\"registry.test/\"",
        "imagePullSecrets=[{\"name\": \"pull\"}]",
        "nodeImage.tag=\"1.2.3\"",
        "extraEnv=[{\"name\": \"A\", \"value\": \"b\"}]",
    ],
    &[
        "fullnameOverride=\"keeper\"",
        "commonLabels={\"team\": \"a\"}",
        "podLabels={\"x\": \"y\"}",
        "podAnnotations={\"x\": \"y\"}",
        "priorityClassName=\"high\"",
    ],
    &[
        "nodeSelector={\"a\": \"b\"}",
        "tolerations=[{\"operator\": \"Exists\"}]",
        "affinity={\"podAntiAffinity\": {}}",
        "topologySpreadConstraints=[{\"maxSkew\": 1}]",
    ],
];

/// Kinds that are in no namespace.
const CLUSTER_SCOPED: [&str; 5] = [
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

macro_rules! helm_or_skip {
    () => {
        match Helm::find() {
            Some(helm) => helm,
            None => {
                eprintln!("skipped: helm is neither on the path nor built for the lab");
                return;
            }
        }
    };
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|o| o["kind"] == kind).collect()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

#[test]
fn chart_passes_helm_lint() {
    let helm = helm_or_skip!();
    let told = helm.run(&["lint", "--strict", &chart().display().to_string()]);
    assert!(told.succeeded, "{}", told.text);
}

#[test]
fn every_combination_gives_named_and_labelled_objects_once() {
    let helm = helm_or_skip!();
    for set in COMBINATIONS {
        let mut seen = BTreeSet::new();
        for object in helm.objects(set) {
            let kind = object["kind"].as_str().unwrap_or_else(|| panic!("{set:?}: {object}")).to_owned();
            let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
            assert_eq!(namespace.is_none(), CLUSTER_SCOPED.contains(&kind.as_str()), "{set:?}: {kind}");
            let labels = &object["metadata"]["labels"];
            assert_eq!(labels["app.kubernetes.io/part-of"], "skerry", "{set:?}: {kind}");
            assert_eq!(labels["app.kubernetes.io/managed-by"], "Helm", "{set:?}: {kind}");
            assert!(seen.insert((kind, namespace, name(&object).to_owned())), "{set:?}: {object}");
        }
        assert!(seen.len() >= 5, "{set:?}: {seen:?}");
    }
}

#[test]
fn operator_keeps_to_the_restricted_pod_security() {
    let helm = helm_or_skip!();
    let objects = helm.objects(&[]);
    let mut pods = vec![&of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]];
    pods.extend(of_kind(&objects, "Pod").iter().map(|p| &p["spec"]));
    assert_eq!(pods.len(), 2);
    for pod in pods {
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for container in pod["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(context["capabilities"], json!({ "drop": ["ALL"] }));
        }
    }
}

#[test]
fn environment_tells_the_operator_all_that_the_values_say() {
    let helm = helm_or_skip!();
    let told = |set: &[&str], variable: &str| {
        let objects = helm.objects(set);
        let container = of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0].clone();
        let env = container["env"].as_array().unwrap().clone();
        env.into_iter().find(|e| e["name"] == variable).unwrap()["value"].as_str().unwrap().to_owned()
    };
    assert_eq!(told(&[], "SKERRY_WATCH_NAMESPACE"), "");
    assert_eq!(told(&["clusterWide=false"], "SKERRY_WATCH_NAMESPACE"), "skerry-system");
    assert_eq!(told(&["clusterWide=false", "watchNamespace=\"shops\""], "SKERRY_WATCH_NAMESPACE"), "shops");
    assert_eq!(told(&[], "SKERRY_NODE_IMAGE"), format!("skerry-node:{}", env!("CARGO_PKG_VERSION")));
    let digest = format!("sha256:{}", "0".repeat(64));
    let set = ["imageRegistry=\"registry.test\"", &format!("nodeImage.digest=\"{digest}\"")];
    assert_eq!(told(&set, "SKERRY_NODE_IMAGE"), format!("registry.test/skerry-node@{digest}"));
    assert_eq!(told(&["logLevel=\"debug\""], "SKERRY_LOG_LEVEL"), "debug");
    assert_eq!(told(&[], "SKERRY_NETWORK_POLICIES"), "true");
    assert_eq!(told(&["nodeNetworkPolicy.create=false"], "SKERRY_NETWORK_POLICIES"), "false");
    // So looks an upgrade that keeps the values of a release that did not have this one.
    assert_eq!(told(&["nodeNetworkPolicy=null"], "SKERRY_NETWORK_POLICIES"), "true");
}

/// Two releases in one namespace had one, and only one of both led.
#[test]
fn each_release_has_a_lease_of_its_own_and_no_right_to_another() {
    let helm = helm_or_skip!();
    for (set, lease) in [(&[][..], "keeper-skerry-operator"), (&["fullnameOverride=\"skerry\""][..], "skerry-operator")]
    {
        let objects = helm.objects(set);
        let container = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
        let told = container["env"].as_array().unwrap().iter().find(|e| e["name"] == "SKERRY_LEASE").unwrap();
        assert_eq!(told["value"], lease);
        let roles = of_kind(&objects, "Role");
        let rules = roles.iter().flat_map(|role| role["rules"].as_array().unwrap());
        let rules: Vec<_> = rules.filter(|rule| rule["resources"] == json!(["leases"])).collect();
        let named = rules.iter().filter(|rule| rule["resourceNames"] == json!([lease]));
        assert_eq!(named.map(|rule| &rule["verbs"]).collect::<Vec<_>>(), [&json!(["get", "update"])], "{rules:?}");
        let others = rules.iter().filter(|rule| rule["resourceNames"].is_null());
        // A right to make something cannot name it.
        assert_eq!(others.map(|rule| &rule["verbs"]).collect::<Vec<_>>(), [&json!(["create"])], "{rules:?}");
    }
}

#[test]
fn operator_of_one_namespace_gets_no_right_in_others() {
    let helm = helm_or_skip!();
    let set = ["clusterWide=false", "watchNamespace=\"shops\"", "rbac.clusterScoped=false"];
    let objects = helm.objects(&set);
    assert!(of_kind(&objects, "ClusterRoleBinding").is_empty());
    let roles: BTreeSet<_> =
        of_kind(&objects, "Role").iter().map(|r| r["metadata"]["namespace"].clone().to_string()).collect();
    assert_eq!(roles, BTreeSet::from(["\"shops\"".to_owned(), "\"skerry-system\"".to_owned()]));
    for binding in of_kind(&objects, "ValidatingAdmissionPolicyBinding") {
        let selector = &binding["spec"]["matchResources"]["namespaceSelector"]["matchLabels"];
        assert_eq!(*selector, json!({ "kubernetes.io/metadata.name": "shops" }));
    }
}

#[test]
fn definition_is_the_generated_one_and_stays_after_an_uninstall() {
    let helm = helm_or_skip!();
    let objects = helm.objects(&[]);
    let rendered = of_kind(&objects, "CustomResourceDefinition")[0];
    let generated: Value =
        serde_yaml::from_str(&read(&root().join("crds/distributeddatabases.skerry.io.yaml"))).unwrap();
    assert!(rendered["spec"] == generated["spec"], "the chart's definition is another: run `make crds`");
    assert_eq!(rendered["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    assert!(of_kind(&helm.objects(&["crds.create=false"]), "CustomResourceDefinition").is_empty());
}

#[test]
fn every_admission_policy_is_bound_and_lets_the_operator_and_the_way_out_pass() {
    let helm = helm_or_skip!();
    let objects = helm.objects(&["serviceAccount.name=\"keeper\"", "admissionPolicies.exemptUsers=[\"ann\"]"]);
    let policies = of_kind(&objects, "ValidatingAdmissionPolicy");
    let bindings = of_kind(&objects, "ValidatingAdmissionPolicyBinding");
    assert_eq!((policies.len(), bindings.len()), (4, 4));
    for policy in policies {
        assert!(bindings.iter().any(|b| b["spec"]["policyName"] == name(policy)), "{}", name(policy));
        let conditions = policy["spec"]["matchConditions"].to_string();
        assert!(conditions.contains("['system:serviceaccount:skerry-system:keeper', 'ann']"), "{conditions}");
        let deletes = policy["spec"]["matchConstraints"].to_string().contains("DELETE");
        assert_eq!(deletes, conditions.contains("system:serviceaccount:kube-system:namespace-controller"));
        assert_eq!(deletes, conditions.contains("system:serviceaccount:kube-system:generic-garbage-collector"));
    }
}

#[test]
fn values_that_nobody_reads_or_that_contradict_each_other_are_refused() {
    let helm = helm_or_skip!();
    for wrong in [
        "replicas=3",
        "crds.keep=false",
        "logLevel=\"loud\"",
        "replicaCount=-1",
        "admissionPolicies.actions=[\"Deny\", \"Warn\"]",
        "admissionPolicies.exemptUsers=[\"a'b\"]",
        "nodeImage.digest=\"0.1.0\"",
    ] {
        let told = helm.render(&[wrong]);
        assert!(!told.succeeded, "{wrong} passed");
        assert!(told.text.contains("schema"), "{wrong}: {}", told.text);
    }
}
