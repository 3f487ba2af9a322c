//! Each CEL rule of the schema refuses what it should, with its message, and allows what it should. A rule without such
//! a pair fails the last test.
#![expect(clippy::unwrap_used, reason = "a test's own tools may fail loudly too")]

use std::collections::BTreeSet;

use serde_json::{Value, json};
use skerry_api::{DistributedDatabase, crd, parse};

const CREATE: &[(&str, &str, &str, &str)] = &[
    // Part of the message, where, refused, allowed.
    ("replicationFactor must be at most replicas", "/spec/replicationFactor", "5", "3"),
    ("replicas must be at least the number of zones", "/spec/zones", r#"["a","b","c","d"]"#, r#"["a","b","c"]"#),
    ("a table's replicationFactor must be at most", "/spec/tables/0/replicationFactor", "4", "2"),
    ("metadata.name must begin", "/metadata/name", r#""0shop""#, r#""shop-2""#),
    (
        "metadata.name must begin",
        "/metadata/name",
        r#""abcdefghijklmnopqrstuvwxyza""#,
        r#""abcdefghijklmnopqrstuvwxyz""#,
    ),
    ("size must be a quantity", "/spec/storage/size", r#""big""#, r#""500Mi""#),
    ("size must be a quantity", "/spec/storage/size", r#""0""#, r#""1Gi""#),
    ("size must be a quantity", "/spec/storage/size", r#""255Mi""#, r#""256Mi""#),
    ("size must be a quantity", "/spec/storage/size", r#""1.1Pi""#, r#""1Pi""#),
    ("size must be a quantity", "/spec/storage/size", r#""+10Gi""#, r#""0.5Gi""#),
    ("maxBytesPerSecond must be", "/spec/rebalance/maxBytesPerSecond", r#""63Ki""#, r#""64Ki""#),
    ("maxBytesPerSecond must be", "/spec/rebalance/maxBytesPerSecond", r#""fast""#, r#""1Gi""#),
    ("cpu must be a quantity", "/spec/resources/cpu", r#""11k""#, r#""0.25""#),
    ("memory must be a quantity", "/spec/resources/memory", r#""-1Gi""#, r#""1.5Gi""#),
    ("memory must be a quantity", "/spec/resources/memory", r#""1e99""#, r#""1e9""#),
    ("maxBytesPerSecond must be", "/spec/rebalance/maxBytesPerSecond", r#""2Ti""#, r#""64e6""#),
    ("cpu must be a quantity", "/spec/resources/cpu", r#""9m""#, r#""2""#),
    ("memory must be a quantity", "/spec/resources/memory", r#""100Mi""#, r#""128Mi""#),
    (
        "splitPoints may only be specified when type is Range",
        "/spec/tables/1/fragmentation",
        r#"{"type":"Hash","splitPoints":["D"]}"#,
        r#"{"type":"Range","splitPoints":["D"]}"#,
    ),
    (
        "shards may only be specified when type is Hash",
        "/spec/tables/0/fragmentation",
        r#"{"type":"Range","shards":4}"#,
        r#"{"type":"Hash","shards":4}"#,
    ),
    ("splitPoints must rise", "/spec/tables/0/fragmentation/splitPoints", r#"["M","D"]"#, r#"["D","M","Ö"]"#),
    (
        "Quorum tables are not available yet; use consistency.type Leader",
        "/spec/tables/0/consistency",
        r#"{"type":"Quorum"}"#,
        r#"{"type":"Leader"}"#,
    ),
    (
        "may only be specified when type is Quorum",
        "/spec/tables/0/consistency",
        r#"{"type":"Leader","writeQuorum":2}"#,
        r#"{"type":"Leader"}"#,
    ),
];

const UPDATE: &[(&str, &str, &str, &str)] = &[
    ("size must not become less", "/spec/storage/size", r#""9Gi""#, r#""10240Mi""#),
    ("size must not become less", "/spec/storage/size", r#""9999Mi""#, r#""11Gi""#),
    ("engine may not be changed", "/spec/storage/engine", r#""Fjall""#, r#""Sled""#),
    ("storageClassName may not", "/spec/storage/storageClassName", r#""slow""#, r#""fast""#),
    ("storageClassName may not", "/spec/storage", r#"{"size":"10Gi"}"#, r#"{"size":"10Gi","storageClassName":"fast"}"#),
    (
        "fragmentation.type of an existing table may not be changed",
        "/spec/tables/0/fragmentation",
        r#"{"type":"Hash"}"#,
        r#"{"type":"Range"}"#,
    ),
    (
        "fragmentation.type of an existing table may not be changed",
        "/spec/tables",
        // The order of the tables does not matter, only their names.
        r#"[{"name":"sales","fragmentation":{"type":"Hash"}},{"name":"customers","fragmentation":{"type":"Hash"}}]"#,
        r#"[{"name":"sales","fragmentation":{"type":"Hash"}},{"name":"customers","fragmentation":{"type":"Range"}}]"#,
    ),
];

fn shop() -> Value {
    json!({
        "apiVersion": "skerry.io/v1alpha1",
        "kind": "DistributedDatabase",
        "metadata": {"name": "shop"},
        "spec": {
            "replicas": 3,
            "replicationFactor": 3,
            "storage": {"size": "10Gi", "storageClassName": "fast"},
            "rebalance": {},
            "resources": {},
            "tables": [
                {"name": "customers", "fragmentation": {"type": "Range", "splitPoints": ["D", "M"]}},
                {"name": "sales", "fragmentation": {"type": "Hash", "shards": 12}},
            ],
        },
        "status": {"founded": true},
    })
}

fn with(pointer: &str, value: &str) -> DistributedDatabase {
    let mut shop = shop();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let value: Value = serde_json::from_str(value).unwrap();
    shop.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(name.to_owned(), value);
    serde_json::from_value(shop).unwrap()
}

fn messages(result: Result<(), kube::core::cel::ValidationErrors>) -> Vec<String> {
    result.map_or_else(|errors| errors.as_slice().iter().map(|e| e.message.clone()).collect(), |()| vec![])
}

#[test]
fn each_rule_refuses_with_its_message_and_allows_what_keeps_to_it() {
    for (message, pointer, refused, allowed) in CREATE {
        let told = messages(with(pointer, refused).validate_cel());
        assert!(told.iter().any(|m| m.contains(message)), "{pointer} {refused}: {told:?}");
        assert_eq!(messages(with(pointer, allowed).validate_cel()), [""; 0], "{pointer} {allowed}");
    }
}

#[test]
fn each_rule_on_changes_refuses_with_its_message_and_allows_what_keeps_to_it() {
    let old: DistributedDatabase = serde_json::from_value(shop()).unwrap();
    for (message, pointer, refused, allowed) in UPDATE {
        let told = messages(with(pointer, refused).validate_cel_update(&old));
        assert!(told.iter().any(|m| m.contains(message)), "{pointer} {refused}: {told:?}");
        assert_eq!(messages(with(pointer, allowed).validate_cel_update(&old)), [""; 0], "{pointer} {allowed}");
    }
}

#[test]
fn unset_storage_class_may_not_be_set_later() {
    let old = with("/spec/storage", r#"{"size":"10Gi"}"#);
    let told = messages(with("/spec/storage/storageClassName", r#""fast""#).validate_cel_update(&old));
    assert!(told.iter().any(|m| m.contains("storageClassName may not")), "{told:?}");
}

#[test]
fn storage_class_may_be_corrected_until_the_database_is_founded() {
    let classes = [
        r#"{"size":"10Gi"}"#,
        r#"{"size":"10Gi","storageClassName":"fast"}"#,
        r#"{"size":"10Gi","storageClassName":"slow"}"#,
    ];
    let not_founded = |storage| {
        let mut database = with("/spec/storage", storage);
        database.status = None;
        database
    };
    for (before, after) in classes.iter().flat_map(|before| classes.map(|after| (*before, after))) {
        let told = messages(not_founded(after).validate_cel_update(&not_founded(before)));
        assert_eq!(told, [""; 0], "{before} {after}");
        let told = messages(with("/spec/storage", after).validate_cel_update(&with("/spec/storage", before)));
        assert_eq!(told.is_empty(), before == after, "{before} {after}: {told:?}");
    }
}

#[test]
fn size_may_go_back_to_what_the_volumes_are_and_to_anything_before_they_are_there() {
    let sized = |size: &str, status: &str| {
        let mut database = with("/spec/storage/size", &format!("\"{size}\""));
        database.status = serde_json::from_str(status).unwrap();
        database
    };
    let refused = |before: &str, after: &str, status: &str| {
        !messages(sized(after, status).validate_cel_update(&sized(before, status))).is_empty()
    };
    let grown_to = r#"{"founded": true, "volumeSize": "10Gi"}"#;
    assert!(!refused("12Gi", "10Gi", grown_to) && !refused("12Gi", "11Gi", grown_to));
    assert!(refused("12Gi", "9Gi", grown_to) && !refused("9Gi", "9Gi", grown_to));
    assert!(refused("12Gi", "10Gi", r#"{"founded": true}"#));
    assert!(!refused("12Gi", "1Gi", r#"{"founded": false}"#) && !refused("12Gi", "1Gi", "null"));
}

#[test]
fn tables_may_come_and_go() {
    let old: DistributedDatabase = serde_json::from_value(shop()).unwrap();
    let new = with("/spec/tables", r#"[{"name":"stock","fragmentation":{"type":"Hash"}}]"#);
    assert_eq!(messages(new.validate_cel_update(&old)), [""; 0]);
}

#[test]
fn every_rule_of_the_schema_is_in_one_of_the_lists() {
    fn collect(value: &Value, into: &mut BTreeSet<String>) {
        if let Some(rules) = value.get("x-kubernetes-validations").and_then(Value::as_array) {
            into.extend(rules.iter().map(|r| r["message"].as_str().expect("every rule has a message").to_owned()));
        }
        match value {
            Value::Object(fields) => fields.values().for_each(|v| collect(v, into)),
            Value::Array(items) => items.iter().for_each(|v| collect(v, into)),
            _ => {}
        }
    }
    let mut rules = BTreeSet::new();
    collect(&serde_json::to_value(crd().unwrap()).unwrap(), &mut rules);
    let untried: Vec<_> =
        rules.iter().filter(|rule| !CREATE.iter().chain(UPDATE).any(|(message, ..)| rule.contains(message))).collect();
    assert!(rules.len() >= 14, "{rules:?}");
    assert!(untried.is_empty(), "{untried:?}");
}

#[test]
fn parse_names_the_field_and_what_is_allowed() {
    let told = |text: &str| parse(text).unwrap_err().to_string();
    let head = "apiVersion: skerry.io/v1alpha1\nkind: DistributedDatabase\nmetadata: {name: shop}\n";
    let cases = [
        ("spec: {replica: 3}", "spec.replica: is not a field; did you mean replicas?"),
        ("spec: {replicas: 0}", "spec.replicas: must be between 1 and 1000, it is 0"),
        ("spec: {replicas: three}", "spec.replicas: must be of type integer, it is string"),
        ("spec: {replicationFactor: 9}", "spec.replicationFactor: must be between 1 and 7, it is 9"),
        ("spec: {storage: {engine: sled}}", "must be one of Sled, Fjall, it is \"sled\" (did you mean Sled?)"),
        ("spec: {zones: [a, a]}", "spec.zones: must name everything once, \"a\" is there twice"),
        ("spec: {zones: [A]}", "spec.zones[0]: must be lower-case letters"),
        ("spec: {tables: [{name: a}]}", "spec.tables[0].fragmentation: is required"),
        (
            "spec: {tables: [{name: a, fragmentation: {type: Hash}}, {name: a, fragmentation: {type: Hash}}]}",
            "spec.tables: must hold every name once, \"a\" is there twice",
        ),
        (
            "spec: {tables: [{name: a, fragmentation: {type: Range, splitPoints: [D, D]}}]}",
            "splitPoints: must name everything once",
        ),
        ("spec: {replicas: 2}", "replicationFactor must be at most replicas"),
        (
            "spec: {tables: [{name: a, fragmentation: {type: Hash}, consistency: {type: Quorum}}]}",
            "Quorum tables are not available yet",
        ),
    ];
    for (spec, message) in cases {
        let told = told(&format!("{head}{spec}\n"));
        assert!(told.contains(message), "{spec}: {told}");
    }
    assert!(told("apiVersion: v1\nkind: Pod\n").contains("this is v1 Pod"));
    assert!(told("metadata: {name: shop}\n").starts_with("this is no resource: apiVersion and kind are missing"));
    assert!(told("kind: Pod\n").starts_with("this is no resource: it is a Pod and apiVersion is missing"));
    assert!(told("apiVersion: skerry.io/v1alpha1\nkind: DistributedDatabase\nspec: {}\n").contains("metadata.name"));
    assert!(told("spec: [").contains("failed to read the YAML"));
}
