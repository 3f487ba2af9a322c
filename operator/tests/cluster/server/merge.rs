//! How a patch changes an object.

use serde_json::Value;

/// JSON merge patch: null removes, lists are taken whole.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else { return target.clone_from(patch) };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let fields = target.as_object_mut().expect("an object");
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Server-side apply of one manager: what it has applied before and does not any more goes. Lists are taken whole.
pub fn apply(target: &mut Value, before: Option<&Value>, wanted: &Value) {
    if let Some(before) = before {
        give_up(target, before, wanted);
    }
    merge(target, wanted);
}

fn give_up(target: &mut Value, before: &Value, wanted: &Value) {
    let (Some(fields), Some(before)) = (target.as_object_mut(), before.as_object()) else { return };
    for (name, old) in before {
        match (wanted.get(name), fields.get_mut(name)) {
            (None, Some(_)) => {
                fields.remove(name);
            }
            (Some(wanted), Some(there)) => give_up(there, old, wanted),
            (_, None) => {}
        }
    }
}
