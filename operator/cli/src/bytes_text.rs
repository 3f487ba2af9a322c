//! Keys and values are bytes; people read text. What is not text is shown so that nothing is lost.

use serde_json::{Map, Value};

/// For people: text as it is, other bytes and control characters as `\xNN`.
pub(crate) fn readable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() => c.to_string().bytes().for_each(|b| text.push_str(&format!("\\x{b:02x}"))),
                c => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|b| text.push_str(&format!("\\x{b:02x}")));
    }
    text
}

/// For programs: `name` if the bytes are text, else `nameHex`.
pub(crate) fn insert(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), Value::from(text)),
        Err(_) => object.insert(format!("{name}Hex"), Value::from(hex(bytes))),
    };
}

/// The other way: what [`insert`] wrote. `None` = neither field is there, or the hex is none.
pub(crate) fn extract(object: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    match object.get(name) {
        Some(Value::String(text)) => Some(text.clone().into_bytes()),
        Some(other) => Some(other.to_string().into_bytes()),
        None => from_hex(object.get(&format!("{name}Hex"))?.as_str()?),
    }
}

/// Two digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The other way. `None` = these are no pairs of hexadecimal digits.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readable_keeps_text_and_escapes_the_rest() {
        assert_eq!(readable("Bäcker\\".as_bytes()), "Bäcker\\\\");
        assert_eq!(readable(b"a\xff\n"), "a\\xff\\x0a");
    }

    #[test]
    fn bytes_survive_json() {
        for bytes in [&b"text"[..], b"\xff\x00", b""] {
            let mut object = Map::new();
            insert(&mut object, "key", bytes);
            assert_eq!(extract(&object, "key").as_deref(), Some(bytes));
        }
    }

    #[test]
    fn values_that_are_json_themselves_are_taken_as_their_text() {
        let object: Map<String, Value> = serde_json::from_str(r#"{"value": {"a": 1}}"#).unwrap();
        assert_eq!(extract(&object, "value").unwrap(), br#"{"a":1}"#);
    }
}
