//! A JSON object as it is written: its members' own text, so that no digit of a number is lost on the way.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::IgnoredAny;

/// An object and where its members stand in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    text: String,
    members: Vec<Member>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    name: String,
    /// Where the value stands in the object's text.
    range: Range<usize>,
    /// The content of a string. `None` = the value is none.
    content: Option<String>,
}

/// Why a text is no object to work with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JsonError {
    #[error("not JSON")]
    Syntax(#[from] serde_json::Error),
    #[error("not a JSON object")]
    NoObject,
    #[error("{0:?} is there twice")]
    Twice(String),
    #[error("{member:?} is a string that stands for no text, such as one with half of a surrogate pair")]
    NoText { member: String, source: serde_json::Error },
}

/// Why a member does not hold bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BytesError {
    #[error("{0:?} and {0:?} + \"Hex\" are both there; only one may be")]
    Both(String),
    #[error("{0:?} is not hex: two digits for each byte, such as \"ff00\"")]
    NoHex(String),
}

impl Object {
    /// Parses one object. A name that is there twice is refused, for one of its values would be lost; and so is a string that
    /// stands for no text, for nothing else may be written in its place.
    pub(crate) fn parse(text: &str) -> Result<Self, JsonError> {
        let text = text.trim();
        serde_json::from_str::<IgnoredAny>(text)?;
        if !text.starts_with('{') {
            return Err(JsonError::NoObject);
        }
        let bytes = text.as_bytes();
        let mut members: Vec<Member> = Vec::new();
        let mut at = blanks(bytes, 1);
        while bytes[at] == b'"' {
            let name_end = value_end(bytes, at);
            let name: String = serde_json::from_str(&text[at..name_end])?;
            let start = blanks(bytes, blanks(bytes, name_end) + 1);
            let end = value_end(bytes, start);
            if members.iter().any(|known| known.name == name) {
                return Err(JsonError::Twice(name));
            }
            let string = (bytes[start] == b'"').then(|| serde_json::from_str(&text[start..end])).transpose();
            let content = string.map_err(|source| JsonError::NoText { member: name.clone(), source })?;
            members.push(Member { name, range: start..end, content });
            at = blanks(bytes, end);
            if bytes[at] == b',' {
                at = blanks(bytes, at + 1);
            }
        }
        Ok(Self { text: text.to_owned(), members })
    }

    /// The members' names, in the text's order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.name.as_str())
    }

    /// The object's text as it stood in the file.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// A member as it is written.
    pub(crate) fn raw(&self, name: &str) -> Option<&str> {
        self.member(name).map(|member| &self.text[member.range.clone()])
    }

    fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    /// A member as text: a string's content, nothing for null, and everything else as it is written, without blanks.
    pub(crate) fn cell(&self, name: &str) -> Option<Cow<'_, str>> {
        let member = self.member(name)?;
        let raw = &self.text[member.range.clone()];
        Some(match &member.content {
            Some(content) => Cow::Borrowed(content),
            None if raw.starts_with('n') => Cow::Borrowed(""),
            None => compact(raw),
        })
    }

    /// The bytes of a member: of `name` as text, or of `nameHex` as hex. `None` = neither is there.
    pub(crate) fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, BytesError> {
        let hex_name = format!("{name}Hex");
        match (self.cell(name), self.cell(&hex_name)) {
            (Some(_), Some(_)) => Err(BytesError::Both(name.to_owned())),
            (Some(text), None) => Ok(Some(text.into_owned().into_bytes())),
            (None, Some(hex)) => match crate::bytes_text::from_hex(&hex) {
                Some(bytes) => Ok(Some(bytes)),
                None => Err(BytesError::NoHex(hex_name)),
            },
            (None, None) => Ok(None),
        }
    }
}

/// JSON without the blanks between its tokens; all digits and escapes stay.
pub(crate) fn compact(json: &str) -> Cow<'_, str> {
    if !json.bytes().any(|b| b.is_ascii_whitespace()) {
        return Cow::Borrowed(json);
    }
    let (mut text, mut at, bytes) = (String::with_capacity(json.len()), 0, json.as_bytes());
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let end = value_end(bytes, at);
                text.push_str(&json[at..end]);
                at = end;
            }
            b if b.is_ascii_whitespace() => at += 1,
            b => {
                text.push(char::from(b));
                at += 1;
            }
        }
    }
    Cow::Owned(text)
}

/// Where the value that begins here ends, in JSON that is known to be well-formed.
fn value_end(bytes: &[u8], start: usize) -> usize {
    let mut scan = ValueScan::default();
    for (at, byte) in bytes.iter().enumerate().skip(start) {
        match scan.take(*byte) {
            Taken::Inside => {}
            Taken::Last => return at + 1,
            Taken::Beyond => return at,
        }
    }
    bytes.len()
}

fn blanks(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// Follows one value byte by byte, and knows where it ends.
#[derive(Debug, Default)]
pub(crate) struct ValueScan {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

/// Where a byte stands relative to a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// More of the value may follow.
    Inside,
    /// The byte is the last one of the value.
    Last,
    /// The first byte that is no longer of it; only a number or a word ends so.
    Beyond,
}

impl ValueScan {
    /// Looks at the next byte; the first one must be the value's first.
    pub(crate) fn take(&mut self, byte: u8) -> Taken {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.in_string = false;
                    return if self.depth == 0 { Taken::Last } else { Taken::Inside };
                }
                _ => {}
            }
            return Taken::Inside;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' if self.depth > 0 => {
                self.depth -= 1;
                if self.depth == 0 {
                    return Taken::Last;
                }
            }
            b',' | b'}' | b']' if self.depth == 0 => return Taken::Beyond,
            _ if self.depth == 0 && byte.is_ascii_whitespace() => return Taken::Beyond,
            _ => {}
        }
        Taken::Inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_beyond_any_machine_number_stay() {
        let object = Object::parse(
            r#" {"a": 123456789012345678901234567890, "b" : 0.10000000000000000000001, "c":{"d": [1.50, "x y"]} } "#,
        )
        .unwrap();
        assert_eq!(object.cell("a").unwrap(), "123456789012345678901234567890");
        assert_eq!(object.cell("b").unwrap(), "0.10000000000000000000001");
        assert_eq!(object.cell("c").unwrap(), r#"{"d":[1.50,"x y"]}"#);
        assert_eq!(object.names().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(compact(object.text()).starts_with(r#"{"a":123456789012345678901234567890,"b":0.1000"#));
    }

    #[test]
    fn strings_are_their_content_and_null_is_empty() {
        let object = Object::parse(r#"{"a\"}": "b\\\"}ü\u0041", "n": null, "t": true, "e": {}, "f": []}"#).unwrap();
        assert_eq!(object.cell("a\"}").unwrap(), "b\\\"}üA");
        let cells = ["n", "t", "e", "f"].map(|name| object.cell(name).unwrap().into_owned());
        assert_eq!(cells, ["", "true", "{}", "[]"]);
        assert_eq!(object.cell("x"), None);
        assert_eq!(Object::parse("{}").unwrap().names().count(), 0);
    }

    #[test]
    fn what_is_no_object_or_would_lose_a_member_is_refused() {
        assert!(matches!(Object::parse("[1]"), Err(JsonError::NoObject)));
        assert!(matches!(Object::parse("{\"a\": 1"), Err(JsonError::Syntax(_))));
        assert!(matches!(Object::parse(r#"{"a": 1, "\u0061": 2}"#), Err(JsonError::Twice(name)) if name == "a"));
    }

    #[test]
    fn a_string_that_stands_for_no_text_is_refused_by_its_members_name() {
        for half in [r"\ud83d", r"hi \ude00", r"\ud83d\u0041", r"\ude00\ud83d"] {
            for member in ["key", "sort", "value"] {
                let refused = Object::parse(&format!(r#"{{"a": 1, "{member}": "{half}"}}"#));
                assert!(matches!(refused, Err(JsonError::NoText { member: told, .. }) if told == member), "{half}");
            }
        }
        let pair = Object::parse(r#"{"value": "hi \ud83d\ude00", "deep": ["\ud83d"]}"#).unwrap();
        assert_eq!(pair.bytes("value").unwrap().unwrap(), "hi \u{1f600}".as_bytes());
        assert_eq!(pair.cell("deep").unwrap(), r#"["\ud83d"]"#, "as it is written");
    }

    #[test]
    fn bytes_are_text_or_hex_and_never_both() {
        let object = Object::parse(r#"{"a": "x", "bHex": "ff00", "c": "x", "cHex": "00", "dHex": "f"}"#).unwrap();
        assert_eq!(object.bytes("a").unwrap().unwrap(), b"x");
        assert_eq!(object.bytes("b").unwrap().unwrap(), [0xff, 0]);
        assert_eq!(object.bytes("c"), Err(BytesError::Both("c".into())));
        assert_eq!(object.bytes("d"), Err(BytesError::NoHex("dHex".into())));
        assert_eq!(object.bytes("e"), Ok(None));
    }
}
