//! What is generated is up to date and as Kubernetes wants it; the examples keep to it.
#![expect(clippy::unwrap_used, reason = "a test's own tools may fail loudly too")]

use std::fs;
use std::path::Path;

use serde_json::Value;
use skerry_api::{crd, crd_template, crd_yaml, parse};

/// Cargo runs tests in the crate's folder.
fn root() -> &'static Path {
    Path::new("../..")
}

#[test]
fn generated_definition_is_up_to_date() {
    let kept = fs::read_to_string(root().join("crds/distributeddatabases.skerry.io.yaml")).unwrap();
    assert!(kept == crd_yaml().unwrap(), "crds/ is stale: run `make crds`");
    let kept = fs::read_to_string(root().join("charts/skerry/templates/crd.yaml")).unwrap();
    assert!(kept == crd_template().unwrap(), "the chart's definition is stale: run `make crds`");
}

#[test]
fn every_example_keeps_to_the_schema_and_the_rules() {
    let mut tried = 0;
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "yaml") {
            let database =
                parse(&fs::read_to_string(&path).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert_eq!(database.metadata.name.as_deref(), path.file_stem().and_then(|s| s.to_str()));
            tried += 1;
        }
    }
    assert!(tried >= 2, "{tried}");
}

#[test]
fn empty_spec_gets_the_defaults_that_the_schema_states() {
    let text = "apiVersion: skerry.io/v1alpha1\nkind: DistributedDatabase\nmetadata: {name: shop}\nspec: {}\n";
    let spec = serde_json::to_value(parse(text).unwrap().spec).unwrap();
    let schema = serde_json::to_value(crd().unwrap()).unwrap();
    let properties = schema.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties").unwrap();
    for (name, value) in spec.as_object().unwrap() {
        let stated = &properties[name]["default"];
        assert!(stated == value, "{name}: the schema says {stated}, a file gets {value}");
    }
}

#[test]
fn schema_is_structural_and_everything_in_the_spec_is_bounded() {
    let schema = serde_json::to_value(crd().unwrap()).unwrap();
    let text = schema.to_string();
    for absent in ["\"nullable\"", "anyOf", "oneOf", "uint", "$ref"] {
        assert!(!text.contains(absent), "{absent}");
    }
    let properties = "/spec/versions/0/schema/openAPIV3Schema/properties";
    bounded("spec", schema.pointer(&format!("{properties}/spec")).unwrap());
    let subresources = schema.pointer("/spec/versions/0/subresources").unwrap();
    assert_eq!(subresources["scale"]["labelSelectorPath"], ".status.selector");
    assert_eq!(schema["spec"]["names"]["shortNames"], serde_json::json!(["ddb"]));
    let columns = schema.pointer("/spec/versions/0/additionalPrinterColumns").unwrap().as_array().unwrap();
    let names: Vec<&str> = columns.iter().filter_map(|c| c["name"].as_str()).collect();
    assert_eq!(names, ["Ready", "Nodes", "Copies", "Shards", "Survives", "Status", "Age"]);
}

fn bounded(path: &str, schema: &Value) {
    let has = |names: &[&str]| names.iter().all(|n| schema.get(n).is_some());
    match schema["type"].as_str().unwrap_or_else(|| panic!("{path} has no type")) {
        "string" => assert!(schema.get("enum").is_some() || has(&["maxLength"]), "{path}"),
        "integer" => assert!(has(&["minimum", "maximum"]), "{path}"),
        "array" => {
            assert!(has(&["maxItems", "x-kubernetes-list-type"]), "{path}");
            bounded(&format!("{path}[]"), &schema["items"]);
        }
        "object" => {
            for (name, inner) in schema["properties"].as_object().unwrap() {
                bounded(&format!("{path}.{name}"), inner);
            }
        }
        _ => {}
    }
}
