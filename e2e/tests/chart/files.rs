//! What the chart's files say by themselves.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::{chart, read, root};

fn values() -> Value {
    serde_yaml::from_str(&read(&chart().join("values.yaml"))).unwrap()
}

fn schema() -> Value {
    serde_json::from_str(&read(&chart().join("values.schema.json"))).unwrap()
}

fn templates() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["templates", "templates/tests"] {
        found.extend(fs::read_dir(chart().join(folder)).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()));
    }
    assert!(found.len() > 10, "{found:?}");
    found
}

/// Keys of the values, `a.b` for one inside another, as far as the schema names them.
fn keys(values: &Value, schema: &Value, path: &str, into: &mut BTreeSet<String>) {
    for (key, value) in values.as_object().unwrap() {
        let path = format!("{path}{key}");
        let inner = &schema["properties"][key];
        assert!(inner.is_object(), "{path} is not in values.schema.json");
        into.insert(path.clone());
        if value.is_object() && inner.get("properties").is_some() {
            keys(value, inner, &format!("{path}."), into);
        }
    }
}

fn schema_keys(schema: &Value, path: &str, into: &mut BTreeSet<String>) {
    let Some(properties) = schema.get("properties") else { return };
    assert_eq!(schema["additionalProperties"], false, "{path:?} takes keys that nobody reads");
    for (key, inner) in properties.as_object().unwrap() {
        let path = format!("{path}{key}");
        assert!(inner["description"].is_string(), "{path} has no description");
        schema_keys(inner, &format!("{path}."), into);
        into.insert(path);
    }
}

#[test]
fn schema_and_values_have_the_same_keys() {
    let (mut stated, mut allowed) = (BTreeSet::new(), BTreeSet::new());
    keys(&values(), &schema(), "", &mut stated);
    schema_keys(&schema(), "", &mut allowed);
    allowed.remove("global");
    assert!(stated.len() > 40, "{}", stated.len());
    assert_eq!(stated, allowed);
}

#[test]
fn every_value_has_a_comment_that_starts_with_its_name() {
    let text = read(&chart().join("values.yaml"));
    // What lies inside these is Kubernetes' own.
    let foreign = ["resources", "podSecurityContext", "securityContext"];
    let (mut above, mut inside_foreign, mut seen) = (String::new(), false, 0);
    for line in text.lines() {
        let trimmed = line.trim_start();
        let Some((key, _)) = trimmed.split_once(':').filter(|_| !trimmed.starts_with('#')) else {
            if let Some(comment) = trimmed.strip_prefix("# ") {
                above = comment.to_owned();
            }
            continue;
        };
        if line == trimmed {
            inside_foreign = foreign.contains(&key);
        } else if inside_foreign {
            continue;
        }
        assert!(above.starts_with(&format!("{key}: ")), "the comment above {key} is {above:?}");
        above.clear();
        seen += 1;
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn every_value_is_read_by_a_template() {
    let (mut stated, mut texts) = (BTreeSet::new(), String::new());
    keys(&values(), &schema(), "", &mut stated);
    for path in templates() {
        texts.push_str(&read(&path));
    }
    for key in stated {
        // An image's keys are read by a template of its own.
        let short = key.strip_prefix("nodeImage.").or_else(|| key.strip_prefix("image."));
        let found =
            texts.contains(&format!(".Values.{key}")) || short.is_some_and(|k| texts.contains(&format!(".image.{k}")));
        assert!(found, "{key} is read nowhere");
    }
}

#[test]
fn definition_in_the_chart_is_the_generated_one() {
    let generated = read(&root().join("crds/distributeddatabases.skerry.io.yaml"));
    let (head, rest) = generated.split_once('\n').unwrap();
    assert!(head.starts_with("# Generated"), "{head}");
    let name = "  name: distributeddatabases.skerry.io\n";
    let kept = "  labels:\n    {{- include \"skerry.labels\" . | nindent 4 }}\n  annotations:\n    helm.sh/resource-policy: keep\n";
    let wanted = format!(
        "{{{{- /* Generated from operator/api by `make crds`. */ -}}}}\n{{{{- if .Values.crds.create }}}}\n{}{{{{- end }}}}\n",
        rest.replace("{{", "{{ \"{{\" }}").replacen(name, &format!("{name}{kept}"), 1)
    );
    assert!(read(&chart().join("templates/crd.yaml")) == wanted, "the chart's definition is stale: run `make crds`");
}

#[test]
fn no_role_has_a_wildcard() {
    let mut roles = 0;
    for path in templates() {
        let text = read(&path);
        for line in text.lines().map(str::trim).filter(|l| {
            ["verbs:", "resources:", "- apiGroups:", "nonResourceURLs:"].iter().any(|start| l.starts_with(start))
        }) {
            assert!(!line.contains('*'), "{}: {line}", path.display());
            roles += 1;
        }
    }
    assert!(roles > 20, "{roles}");
}

#[test]
fn version_of_the_chart_is_the_program_s() {
    let about: Value = serde_yaml::from_str(&read(&chart().join("Chart.yaml"))).unwrap();
    assert_eq!(about["appVersion"], env!("CARGO_PKG_VERSION"));
    for (name, annotation) in about["annotations"].as_object().unwrap() {
        let text = annotation.as_str().unwrap_or_else(|| panic!("{name} is not a string"));
        serde_yaml::from_str::<Value>(text).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn readme_tells_of_every_value_at_the_top() {
    let readme = read(&chart().join("README.md"));
    let missing: Vec<String> =
        values().as_object().unwrap().keys().filter(|k| !readme.contains(&format!("`{k}"))).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn notes_and_example_of_the_chart_are_databases_that_the_schema_takes() {
    let about: Value = serde_yaml::from_str(&read(&chart().join("Chart.yaml"))).unwrap();
    let examples = about["annotations"]["artifacthub.io/crdsExamples"].as_str().unwrap();
    let examples: Vec<Value> = serde_yaml::from_str(examples).unwrap();
    let notes = read(&chart().join("templates/NOTES.txt"));
    let (_, rest) = notes.split_once("<<'YAML'\n").unwrap();
    let (shown, _) = rest.split_once("  YAML\n").unwrap();
    let shown = shown.to_owned();
    for text in [serde_yaml::to_string(&examples[0]).unwrap(), shown] {
        skerry_api::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    }
}
