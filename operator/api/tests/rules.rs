//! Each CEL rule of the schema refuses what it should, with its message, and allows what it should. A rule without such
//! a pair fails the last test.
#![expect(clippy::unwrap_used, reason = "a test's own tools may fail loudly too")]

use std::collections::BTreeSet;

use serde_json::{Value, json};
use skerry_api::{DistributedDatabase, QUORUM_TABLES, crd, parse};

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
        "may only be specified when type is Quorum",
        "/spec/tables/0/consistency",
        r#"{"type":"Leader","writeQuorum":2}"#,
        r#"{"type":"Leader"}"#,
    ),
    (
        "may only be specified when type is Quorum",
        "/spec/tables/0/consistency",
        r#"{"readQuorum":2}"#,
        r#"{"type":"Quorum","writeQuorum":1,"readQuorum":1,"conflictResolution":"Siblings"}"#,
    ),
    (
        "may only be specified when type is Quorum",
        "/spec/tables/0/consistency",
        r#"{"type":"Leader","conflictResolution":"LastWriterWins"}"#,
        r#"{"type":"Quorum","conflictResolution":"LastWriterWins"}"#,
    ),
    (
        "writeQuorum must be at most its replicationFactor",
        "/spec/tables/0/consistency",
        r#"{"type":"Quorum","writeQuorum":4}"#,
        r#"{"type":"Quorum","writeQuorum":3}"#,
    ),
    (
        "readQuorum must be at most its replicationFactor",
        "/spec/tables/0/consistency",
        r#"{"type":"Quorum","readQuorum":4}"#,
        r#"{"type":"Quorum","readQuorum":3}"#,
    ),
    // The table's own number of copies counts, where it has one.
    (
        "writeQuorum must be at most its replicationFactor",
        "/spec/tables/0",
        r#"{"name":"a","fragmentation":{"type":"Hash"},"replicationFactor":2,"consistency":{"type":"Quorum","writeQuorum":3}}"#,
        r#"{"name":"a","fragmentation":{"type":"Hash"},"replicationFactor":2,"consistency":{"type":"Quorum","writeQuorum":2}}"#,
    ),
    (
        "readQuorum must be at most its replicationFactor",
        "/spec/tables/0",
        r#"{"name":"a","fragmentation":{"type":"Hash"},"replicationFactor":1,"consistency":{"type":"Quorum","readQuorum":2}}"#,
        r#"{"name":"a","fragmentation":{"type":"Hash"},"replicationFactor":1,"consistency":{"type":"Quorum"}}"#,
    ),
];

/// What is refused only until the nodes of the release can have it: see [`skerry_api::QUORUM_TABLES`].
const NOT_YET: &str = "Quorum tables are not available yet; use consistency.type Leader";

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
    (
        "consistency.type of an existing table may not be changed: make another table, and copy the records",
        "/spec/tables/0/consistency",
        r#"{"type":"Quorum"}"#,
        r#"{"type":"Leader"}"#,
    ),
    (
        "consistency.type of an existing table may not be changed",
        "/spec/tables",
        r#"[{"name":"sales","fragmentation":{"type":"Hash"},"consistency":{"type":"Quorum"}}]"#,
        r#"[{"name":"cart","fragmentation":{"type":"Hash"},"consistency":{"type":"Quorum"}}]"#,
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
    match shop.pointer_mut(parent).unwrap() {
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
        parent => _ = parent.as_object_mut().unwrap().insert(name.to_owned(), value),
    }
    serde_json::from_value(shop).unwrap()
}

fn messages(result: Result<(), kube::core::cel::ValidationErrors>) -> Vec<String> {
    result.map_or_else(|errors| errors.as_slice().iter().map(|e| e.message.clone()).collect(), |()| vec![])
}

/// The same of what is refused now and when there are Quorum tables.
fn lasting(result: Result<(), kube::core::cel::ValidationErrors>) -> Vec<String> {
    messages(result).into_iter().filter(|message| message != NOT_YET).collect()
}

#[test]
fn each_rule_refuses_with_its_message_and_allows_what_keeps_to_it() {
    for (message, pointer, refused, allowed) in CREATE {
        let told = messages(with(pointer, refused).validate_cel());
        assert!(told.iter().any(|m| m.contains(message)), "{pointer} {refused}: {told:?}");
        assert_eq!(lasting(with(pointer, allowed).validate_cel()), [""; 0], "{pointer} {allowed}");
    }
}

#[test]
fn each_rule_on_changes_refuses_with_its_message_and_allows_what_keeps_to_it() {
    let old: DistributedDatabase = serde_json::from_value(shop()).unwrap();
    for (message, pointer, refused, allowed) in UPDATE {
        let told = messages(with(pointer, refused).validate_cel_update(&old));
        assert!(told.iter().any(|m| m.contains(message)), "{pointer} {refused}: {told:?}");
        assert_eq!(lasting(with(pointer, allowed).validate_cel_update(&old)), [""; 0], "{pointer} {allowed}");
    }
}

#[test]
fn quorum_tables_are_refused_until_there_are_nodes_that_can_have_them() {
    let told = messages(with("/spec/tables/0/consistency", r#"{"type":"Quorum"}"#).validate_cel());
    assert_eq!(told, if QUORUM_TABLES { vec![] } else { vec![NOT_YET.to_owned()] });
    // Where nothing is refused, the schema has no rule that says so.
    assert_eq!(serde_json::to_string(&crd().unwrap()).unwrap().contains(NOT_YET), !QUORUM_TABLES);
}

/// Of a table, or of the database: W and R that are given stay, and those that are not follow.
#[test]
fn another_number_of_copies_is_held_against_w_and_r() {
    let tables = |quorums: &str| {
        format!(r#"[{{"name":"a","fragmentation":{{"type":"Hash"}},"consistency":{{"type":"Quorum"{quorums}}}}}]"#)
    };
    for (quorums, message) in [
        (r#","writeQuorum":3"#, Some("writeQuorum must be at most its replicationFactor")),
        (r#","readQuorum":3"#, Some("readQuorum must be at most its replicationFactor")),
        (r#","writeQuorum":2,"readQuorum":2"#, None),
        ("", None),
    ] {
        let old = with("/spec/tables", &tables(quorums));
        assert_eq!(lasting(old.validate_cel_update(&old)), [""; 0], "{quorums}");
        let (mut of_database, mut of_table) = (old.clone(), old.clone());
        of_database.spec.replication_factor = 2;
        of_table.spec.tables[0].replication_factor = Some(2);
        for new in [of_database, of_table] {
            let told = lasting(new.validate_cel_update(&old));
            let is_told = message.is_some_and(|message| told.len() == 1 && told[0].contains(message));
            assert!(is_told || (message.is_none() && told.is_empty()), "{quorums}: {told:?}");
        }
    }
}

/// Whatever may be stored by now is left as it is: none of the rules of Quorum tables speaks of others.
#[test]
fn what_was_valid_before_there_were_quorum_tables_is_valid() {
    let forms = [
        r#"{"name":"a","fragmentation":{"type":"Hash"}}"#,
        r#"{"name":"a","fragmentation":{"type":"Hash"},"consistency":{}}"#,
        r#"{"name":"a","fragmentation":{"type":"Hash"},"consistency":{"type":"Leader"}}"#,
    ];
    for (before, after) in forms.iter().flat_map(|before| forms.map(|after| (*before, after))) {
        let (old, new) = (with("/spec/tables/0", before), with("/spec/tables/0", after));
        assert_eq!(messages(new.validate_cel()), [""; 0], "{after}");
        assert_eq!(messages(new.validate_cel_update(&old)), [""; 0], "{before} {after}");
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
    let is_tried = |rule: &&String| *rule == NOT_YET || CREATE.iter().chain(UPDATE).any(|row| rule.contains(row.0));
    let untried: Vec<_> = rules.iter().filter(|rule| !is_tried(rule)).collect();
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
            "spec: {tables: [{name: a, fragmentation: {type: Hash}, consistency: {type: Quorum, writeQuorum: 4}}]}",
            "a table's writeQuorum must be at most its replicationFactor",
        ),
        (
            "spec: {tables: [{name: a, fragmentation: {type: Hash}, consistency: {type: Quorum, writeQuorum: 0}}]}",
            "spec.tables[0].consistency.writeQuorum: must be between 1 and 7, it is 0",
        ),
        (
            "spec: {tables: [{name: a, fragmentation: {type: Hash}, consistency: {conflictResolution: Sibling}}]}",
            "must be one of LastWriterWins, Siblings, it is \"Sibling\" (did you mean Siblings?)",
        ),
    ];
    let twice = [
        ("spec: {replicas: 3, replicas: 4}", "duplicate entry with key \"replicas\""),
        ("spec: {replicas: 3}\nspec: {replicas: 4}", "duplicate entry with key \"spec\""),
        ("spec: {storage: {size: 1Gi, engine: Fjall, size: 2Gi}}", "duplicate entry with key \"size\""),
    ];
    for (spec, message) in twice {
        let error = parse(&format!("{head}{spec}\n")).unwrap_err();
        let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(why.contains(message), "{spec}: {error}: {why}");
    }
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
