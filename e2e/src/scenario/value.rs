//! Looking into objects that came as JSON.

use serde_json::Value;

/// The string at a path, such as `/spec/nodeName`. Empty = there is none.
pub(super) fn text<'v>(object: &'v Value, path: &str) -> &'v str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// The number at a JSON pointer. `None` = there is no number.
pub(super) fn number(object: &Value, path: &str) -> Option<i64> {
    object.pointer(path).and_then(Value::as_i64)
}

/// Name of the object.
pub(super) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// The condition of this type. `None` = the object has none.
pub(super) fn condition<'v>(object: &'v Value, type_: &str) -> Option<&'v Value> {
    object.pointer("/status/conditions")?.as_array()?.iter().find(|c| c["type"] == type_)
}

/// True if the condition of this type is true.
pub(super) fn is_true(object: &Value, type_: &str) -> bool {
    condition(object, type_).is_some_and(|c| c["status"] == "True")
}

/// Of each pod: its name, uid and restarts. Equal before and after = nothing was restarted.
pub(super) fn starts(pods: &[Value]) -> Vec<(String, String, i64)> {
    let restarts = |pod: &Value| number(pod, "/status/containerStatuses/0/restartCount").unwrap_or(0);
    pods.iter().map(|pod| (name(pod).to_owned(), text(pod, "/metadata/uid").to_owned(), restarts(pod))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_there_is_empty_and_not_true() {
        let object = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
        assert!(is_true(&object, "Ready") && !is_true(&object, "Stalled") && !is_true(&json!({}), "Ready"));
        assert_eq!((name(&object), number(&object, "/spec/replicas")), ("", None));
    }
}
