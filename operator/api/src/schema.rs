//! Holds a value against a structural schema, as the Kubernetes API server does with strict field validation: unknown
//! fields, types, enums, bounds, and lists that are sets or maps. CEL rules are not looked at here.

use std::collections::BTreeSet;
use std::fmt;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

use crate::suggest::nearest;

/// One thing that is not as the schema says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where: `spec.tables[0].name`.
    pub field: String,
    /// What is allowed there.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// All faults of a value, in order of the value's fields.
pub fn check(schema: &JSONSchemaProps, value: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    at("", schema, value, &mut faults);
    faults
}

fn at(field: &str, schema: &JSONSchemaProps, value: &Value, faults: &mut Vec<Fault>) {
    let mut refuse = |message: String| faults.push(Fault { field: field.to_owned(), message });
    if let Some(wanted) = schema.type_.as_deref().filter(|wanted| !is_of_type(value, wanted)) {
        return refuse(format!("must be of type {wanted}, it is {}", kind(value)));
    }
    if let Some(allowed) = &schema.enum_
        && !allowed.iter().any(|a| &a.0 == value)
    {
        let names: Vec<&str> = allowed.iter().filter_map(|a| a.0.as_str()).collect();
        let meant = value.as_str().and_then(|v| nearest(v, names.iter().copied()));
        let meant = meant.map(|m| format!(" (did you mean {m}?)")).unwrap_or_default();
        return refuse(format!("must be one of {}, it is {value}{meant}", names.join(", ")));
    }
    match value {
        Value::Number(_) => number(schema, value).into_iter().for_each(refuse),
        Value::String(text) => string(schema, text).into_iter().for_each(refuse),
        Value::Array(items) => {
            list(schema, items).into_iter().for_each(refuse);
            if let Some(JSONSchemaPropsOrArray::Schema(inner)) = &schema.items {
                items.iter().enumerate().for_each(|(i, item)| at(&format!("{field}[{i}]"), inner, item, faults));
            }
        }
        Value::Object(fields) => object(field, schema, fields, faults),
        Value::Null | Value::Bool(_) => {}
    }
}

fn object(field: &str, schema: &JSONSchemaProps, fields: &serde_json::Map<String, Value>, faults: &mut Vec<Fault>) {
    let path = |name: &str| if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") };
    for name in schema.required.iter().flatten().filter(|n| !fields.contains_key(*n)) {
        faults.push(Fault { field: path(name), message: "is required".to_owned() });
    }
    // An object without properties, such as `metadata`, is checked by others.
    let Some(properties) = &schema.properties else {
        if let Some(JSONSchemaPropsOrBool::Schema(inner)) = &schema.additional_properties {
            fields.iter().for_each(|(name, value)| at(&path(name), inner, value, faults));
        }
        return;
    };
    // Every resource has these, whether its schema says so or not.
    let of_all = |name: &str| field.is_empty() && matches!(name, "apiVersion" | "kind" | "metadata");
    for (name, value) in fields.iter().filter(|(name, _)| !of_all(name)) {
        match properties.get(name) {
            Some(inner) => at(&path(name), inner, value, faults),
            None => {
                let meant = nearest(name, properties.keys().map(String::as_str));
                let allowed: Vec<&str> = properties.keys().map(String::as_str).collect();
                let message = match meant {
                    Some(meant) => format!("is not a field; did you mean {meant}?"),
                    None => format!("is not a field; there are {}", allowed.join(", ")),
                };
                faults.push(Fault { field: path(name), message });
            }
        }
    }
}

fn number(schema: &JSONSchemaProps, value: &Value) -> Option<String> {
    let number = value.as_f64()?;
    let (min, max) = (schema.minimum, schema.maximum);
    if min.is_none_or(|m| number >= m) && max.is_none_or(|m| number <= m) {
        return None;
    }
    Some(match (min, max) {
        (Some(min), Some(max)) => format!("must be between {min} and {max}, it is {value}"),
        (Some(min), None) => format!("must be at least {min}, it is {value}"),
        (_, Some(max)) => format!("must be at most {max}, it is {value}"),
        (None, None) => return None,
    })
}

fn string(schema: &JSONSchemaProps, text: &str) -> Option<String> {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if schema.min_length.is_some_and(|min| length < min) {
        return Some("must not be empty".to_owned());
    }
    if let Some(max) = schema.max_length.filter(|max| length > *max) {
        return Some(format!("must have at most {max} characters, it has {length}"));
    }
    // The schema's only pattern.
    let is_label = schema.pattern.is_none() || is_label(text);
    (!is_label).then(|| format!("must be lower-case letters, digits and inner hyphens, it is {text:?}"))
}

fn list(schema: &JSONSchemaProps, items: &[Value]) -> Option<String> {
    if let Some(max) = schema.max_items.filter(|max| i64::try_from(items.len()).unwrap_or(i64::MAX) > *max) {
        return Some(format!("must have at most {max} entries, it has {}", items.len()));
    }
    let mut seen = BTreeSet::new();
    match schema.x_kubernetes_list_type.as_deref() {
        Some("set") => {
            let twice = items.iter().find(|item| !seen.insert(item.to_string()))?;
            Some(format!("must name everything once, {twice} is there twice"))
        }
        Some("map") => {
            let keys = schema.x_kubernetes_list_map_keys.as_deref().unwrap_or_default();
            let key = |item: &Value| {
                keys.iter().map(|k| item.get(k).map(Value::to_string).unwrap_or_default()).collect::<Vec<_>>()
            };
            let twice = items.iter().map(key).find(|k| !seen.insert(k.join(",")))?;
            Some(format!("must hold every {} once, {} is there twice", keys.join(", "), twice.join(",")))
        }
        _ => None,
    }
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(inner) && text.ends_with(inner) && text.chars().all(|c| inner(c) || c == '-')
}

fn is_of_type(value: &Value, wanted: &str) -> bool {
    match wanted {
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => kind(value) == wanted,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
