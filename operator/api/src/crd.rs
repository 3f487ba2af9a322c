//! The `CustomResourceDefinition` as Kubernetes is to get it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::spec::{DistributedDatabase, HOLDS_ALWAYS};

/// Above what the file holds.
const HEADER: &str = "# Generated from operator/api by `make crds`.\n";

/// Around and within the chart's template.
const TEMPLATE_BEGIN: &str =
    "{{- /* Generated from operator/api by `make crds`. */ -}}\n{{- if .Values.crds.create }}\n";
const TEMPLATE_METADATA: &str = "  labels:
    {{- include \"skerry.labels\" . | nindent 4 }}
  annotations:
    helm.sh/resource-policy: keep
";
const TEMPLATE_END: &str = "{{- end }}\n";

/// The definition. It holds no `nullable`, which would break merge patches, no unsigned formats, and no rule that refuses
/// nothing.
pub fn crd() -> Result<CustomResourceDefinition, serde_json::Error> {
    let mut value = serde_json::to_value(DistributedDatabase::crd())?;
    tidy(&mut value);
    serde_json::from_value(value)
}

/// The definition as the text of its file.
pub fn crd_yaml() -> Result<String, serde_yaml::Error> {
    let crd = crd().map_err(<serde_yaml::Error as serde::ser::Error>::custom)?;
    Ok(format!("{HEADER}{}", serde_yaml::to_string(&crd)?))
}

/// The definition as a template of the chart: it can be left out, and stays when the chart goes.
pub fn crd_template() -> Result<String, serde_yaml::Error> {
    let yaml = crd_yaml()?;
    let described = yaml.strip_prefix(HEADER).unwrap_or(&yaml).replace("{{", "{{ \"{{\" }}");
    let marked = described.replacen("\nspec:\n", &format!("\n{TEMPLATE_METADATA}spec:\n"), 1);
    Ok(format!("{TEMPLATE_BEGIN}{marked}{TEMPLATE_END}"))
}

fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, value| key != "nullable" || !value.is_boolean());
            if let Some(Value::Array(rules)) = fields.get_mut("x-kubernetes-validations") {
                rules.retain(|rule| rule["rule"] != HOLDS_ALWAYS);
            }
            if let Some(Value::String(format)) = fields.get_mut("format") {
                match format.as_str() {
                    "uint32" => "int32".clone_into(format),
                    "uint64" => "int64".clone_into(format),
                    _ => {}
                }
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(values) => values.iter_mut().for_each(tidy),
        _ => {}
    }
}
