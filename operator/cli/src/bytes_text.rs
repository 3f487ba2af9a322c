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

/// The other way: what [`readable`] shows. The error says what is wrong.
pub(crate) fn from_readable(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let hex = after.strip_prefix('x').and_then(|digits| digits.get(..2)).and_then(from_hex);
        rest = match (hex, after.strip_prefix('\\')) {
            (Some(byte), _) => {
                bytes.extend(byte);
                &after[3..]
            }
            (None, Some(rest)) => {
                bytes.push(b'\\');
                rest
            }
            (None, None) => {
                let shown: String = after.chars().take(3).collect();
                return Err(format!("\\{shown} is no escape: write \\xNN for a byte in hex, and \\\\ for a backslash"));
            }
        };
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// For programs: `name` if the bytes are text, else `nameHex`.
pub(crate) fn insert(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), Value::from(text)),
        Err(_) => object.insert(format!("{name}Hex"), Value::from(hex(bytes))),
    };
}

/// The bytes in lower-case hexadecimal, two digits for each.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Two digits for each byte. `None` = it is none.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::json_text::Object;

    #[test]
    fn readable_keeps_text_and_escapes_the_rest() {
        assert_eq!(readable("Bäcker\\".as_bytes()), "Bäcker\\\\");
        assert_eq!(readable(b"a\xff\n"), "a\\xff\\x0a");
    }

    #[test]
    fn whatever_is_shown_can_be_named() {
        for bytes in [&b"text"[..], b"\xff\x00", b"", b"a\\x41", "ü\n\u{85}".as_bytes(), b"\\"] {
            assert_eq!(from_readable(&readable(bytes)).as_deref(), Ok(bytes));
        }
        for bad in ["\\", "\\n", "a\\x4", "\\xg0", "\\xü"] {
            assert!(from_readable(bad).unwrap_err().contains("is no escape"), "{bad}");
        }
    }

    #[test]
    fn bytes_survive_json() {
        for bytes in [&b"text"[..], b"\xff\x00", b""] {
            let mut object = Map::new();
            insert(&mut object, "key", bytes);
            let read = Object::parse(&Value::Object(object).to_string()).unwrap();
            assert_eq!(read.bytes("key").unwrap().as_deref(), Some(bytes));
        }
    }
}
