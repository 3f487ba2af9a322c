//! Whether an object is still as it was written, whatever the API server has added to it.

use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::Value;

/// True if the spec that is there says all that the wanted one says, but for what cannot be changed. Fields that others have
/// added do not count: they are theirs. A spec that nobody looked at is as it was written.
pub fn is_as_written(wanted: &StatefulSet, there: &Value) -> bool {
    // What cannot be written out does not exist here.
    let mut wanted = serde_json::to_value(&wanted.spec).unwrap_or_default();
    if let Value::Object(fields) = &mut wanted {
        fields.remove("volumeClaimTemplates");
    }
    there.is_null() || holds(&wanted, there)
}

fn holds(wanted: &Value, there: &Value) -> bool {
    match (wanted, there) {
        (Value::Object(wanted), Value::Object(there)) => wanted
            .iter()
            .all(|(key, value)| there.get(key).map_or_else(|| is_empty(value), |there| holds(value, there))),
        // Others may have added some, in the middle too.
        (Value::Array(wanted), Value::Array(there)) => wanted.iter().all(|w| there.iter().any(|t| holds(w, t))),
        (Value::String(wanted), Value::String(there)) => wanted == there || is_same_quantity(wanted, there),
        (wanted, there) => wanted == there,
    }
}

/// The API server leaves out what says nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

/// The API server writes quantities in its own way.
fn is_same_quantity(wanted: &str, there: &str) -> bool {
    let number = |text: &str| skerry_api::thousandths(text).ok();
    number(wanted).is_some() && number(wanted) == number(there)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wanted() -> StatefulSet {
        serde_json::from_value(json!({"spec": {
            "replicas": 2,
            "serviceName": "shop-nodes",
            "selector": {"matchLabels": {"of": "shop"}},
            "template": {"spec": {"containers": [{
                "name": "node",
                "image": "node:1",
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": ""}],
                "resources": {"requests": {"memory": "1024Mi", "cpu": "0.5"}},
            }]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
        }}))
        .unwrap()
    }

    /// As an API server would give it back.
    fn there() -> Value {
        json!({
            "replicas": 2,
            "serviceName": "shop-nodes",
            "revisionHistoryLimit": 10,
            "selector": {"matchLabels": {"of": "shop"}},
            "template": {"metadata": {"creationTimestamp": null}, "spec": {"restartPolicy": "Always", "containers": [
                {"name": "injected"},
                {
                    "name": "node",
                    "image": "node:1",
                    "env": [{"name": "A", "value": "1"}, {"name": "B"}],
                    "resources": {"requests": {"memory": "1Gi", "cpu": "500m"}},
                },
            ]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "status": {"phase": "Pending"}}],
        })
    }

    #[test]
    fn what_the_api_server_and_others_add_is_no_drift() {
        assert!(is_as_written(&wanted(), &there()) && is_as_written(&wanted(), &Value::Null));
    }

    #[test]
    fn whatever_is_changed_of_what_was_written_is_drift() {
        let container = "/template/spec/containers/1";
        let changes = [
            (format!("{container}/image"), json!("node:2")),
            (format!("{container}/env/0/value"), json!("2")),
            (format!("{container}/resources/requests/memory"), json!("2Gi")),
            ("/selector/matchLabels/of".to_owned(), json!("bank")),
            ("/template/spec/containers".to_owned(), json!([])),
        ];
        for (at, value) in changes {
            let mut there = there();
            *there.pointer_mut(&at).unwrap() = value;
            assert!(!is_as_written(&wanted(), &there), "{at}");
        }
    }
}
