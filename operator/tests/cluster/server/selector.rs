//! Label selectors: `a=b`, `a in (b,c)`, `a`, joined by commas.

use serde_json::Value;

/// True if the object has such labels.
pub fn selects(selector: &str, object: &Value) -> bool {
    terms(selector).all(|term| meets(term.trim(), object))
}

/// Commas inside brackets are not between terms.
fn terms(selector: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    selector.split(move |c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    })
}

fn meets(term: &str, object: &Value) -> bool {
    let label = |name: &str| object["metadata"]["labels"][name.trim()].as_str();
    if let Some((name, values)) = term.split_once(" in ") {
        let values = values.trim().trim_start_matches('(').trim_end_matches(')');
        return label(name).is_some_and(|value| values.split(',').any(|v| v.trim() == value));
    }
    match term.split_once('=') {
        Some((name, value)) => label(name) == Some(value.trim_start_matches('=').trim()),
        None => term.is_empty() || label(term).is_some(),
    }
}

#[test]
fn selector_means_what_it_means_to_kubernetes() {
    let object = serde_json::json!({"metadata": {"labels": {"a": "1", "b": "2"}}});
    for met in ["", "a", "a=1", "a==1,b=2", "a in (0,1),b=2", "b in (2)"] {
        assert!(selects(met, &object), "{met}");
    }
    for unmet in ["c", "a=2", "a=1,b=1", "a in (0,2)", "c in (1)"] {
        assert!(!selects(unmet, &object), "{unmet}");
    }
}
