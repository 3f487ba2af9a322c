//! One line of a batch. What is wrong with it is told by the field's name.

use bytes::Bytes;
use skerry_client::{Condition, Key, Mutation};
use skerry_core::command::Expected;
use skerry_core::time::Version;

use super::super::put::{TTL_SECONDS_MAX, expiry};
use super::super::quorum;
use crate::import::json_text::{BytesError, JsonError, Object};

/// The condition, the mutation, or both, that a line of the batch asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) condition: Option<Condition>,
    pub(super) mutation: Option<Mutation>,
    /// Of a quorum table: the context of the read that the mutation replaces.
    pub(super) context: Option<Bytes>,
}

/// Why a line of the batch is not valid.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error(transparent)]
    Bytes(#[from] BytesError),
    #[error("one of \"put\", \"delete\" and \"expect\" says what the line is, and only one of them")]
    Verb,
    #[error("{field:?} is no field of {verb}")]
    Unknown { field: String, verb: &'static str },
    #[error("{0:?} is missing")]
    Missing(&'static str),
    #[error("{field:?} must be {wanted}")]
    Wrong { field: &'static str, wanted: &'static str },
    #[error("{0:?} and {1:?} cannot both be there")]
    Both(&'static str, &'static str),
    #[error("expect wants just one of \"absent\": true, \"version\" and \"value\"")]
    Expectation,
}

const WHOLE: &str = "a whole number, as a number or a string";

/// Parses a line of the batch.
pub(super) fn parse(text: &str) -> Result<Line, LineError> {
    let object = Object::parse(text)?;
    let verbs = ["put", "delete", "expect"].into_iter();
    let verbs: Vec<&str> =
        verbs.filter(|verb| object.raw(verb).is_some() || object.raw(&format!("{verb}Hex")).is_some()).collect();
    match verbs.as_slice() {
        ["put"] => put(&object),
        ["delete"] => delete(&object),
        ["expect"] => expect(&object),
        _ => Err(LineError::Verb),
    }
}

fn put(line: &Object) -> Result<Line, LineError> {
    const FIELDS: [&str; 11] = [
        "put",
        "putHex",
        "sort",
        "sortHex",
        "value",
        "valueHex",
        "ttlSeconds",
        "expiresMs",
        "ifAbsent",
        "ifVersion",
        "context",
    ];
    known(line, "put", &FIELDS)?;
    let key = key(line, "put")?;
    let value = bytes(line, "value")?.ok_or(LineError::Missing("value"))?;
    let ttl = number(line, "ttlSeconds")?;
    if ttl.is_some_and(|seconds| !(1..=TTL_SECONDS_MAX).contains(&seconds)) {
        return Err(LineError::Wrong { field: "ttlSeconds", wanted: "at least 1 and at most 100 years of seconds" });
    }
    let expires_ms = match (ttl, number(line, "expiresMs")?) {
        (Some(_), Some(_)) => return Err(LineError::Both("ttlSeconds", "expiresMs")),
        (ttl, at) => ttl.map(expiry).or(at),
    };
    let expected = match (truth(line, "ifAbsent")?, number(line, "ifVersion")?) {
        (true, Some(_)) => return Err(LineError::Both("ifAbsent", "ifVersion")),
        (true, None) => Some(Expected::Absent),
        (false, version) => version.map(|v| Expected::Version(Version(v))),
    };
    let condition = expected.map(|expected| Condition { key: key.clone(), expected });
    let mutation = Some(Mutation::Put { key, value: value.into(), expires_ms });
    Ok(Line { condition, mutation, context: context(line)? })
}

fn delete(line: &Object) -> Result<Line, LineError> {
    known(line, "delete", &["delete", "deleteHex", "sort", "sortHex", "ifVersion", "context"])?;
    let key = key(line, "delete")?;
    let expected = number(line, "ifVersion")?.map(|v| Expected::Version(Version(v)));
    let condition = expected.map(|expected| Condition { key: key.clone(), expected });
    Ok(Line { condition, mutation: Some(Mutation::Delete { key }), context: context(line)? })
}

fn expect(line: &Object) -> Result<Line, LineError> {
    known(line, "expect", &["expect", "expectHex", "sort", "sortHex", "absent", "version", "value", "valueHex"])?;
    let key = key(line, "expect")?;
    let expected = match (truth(line, "absent")?, number(line, "version")?, bytes(line, "value")?) {
        (true, None, None) => Expected::Absent,
        (false, Some(version), None) => Expected::Version(Version(version)),
        (false, None, Some(value)) => Expected::Value(Bytes::from(value)),
        _ => return Err(LineError::Expectation),
    };
    Ok(Line { condition: Some(Condition { key, expected }), mutation: None, context: None })
}

fn known(line: &Object, verb: &'static str, fields: &[&str]) -> Result<(), LineError> {
    match line.names().find(|name| !fields.contains(name)) {
        Some(field) => Err(LineError::Unknown { field: field.to_owned(), verb }),
        None => Ok(()),
    }
}

fn key(line: &Object, verb: &'static str) -> Result<Key, LineError> {
    let partition = bytes(line, verb)?.ok_or(LineError::Missing(verb))?;
    Ok(Key::with_sort(partition, bytes(line, "sort")?.unwrap_or_default()))
}

/// Only strings: a number's digits could mean more than one text.
fn bytes(line: &Object, field: &'static str) -> Result<Option<Vec<u8>>, LineError> {
    let hex = format!("{field}Hex");
    let texts = [line.raw(field), line.raw(&hex)];
    match texts.into_iter().flatten().all(|raw| raw.starts_with('"')) {
        true => Ok(line.bytes(field)?),
        false => Err(LineError::Wrong { field, wanted: "a string" }),
    }
}

/// As `get` shows it.
fn context(line: &Object) -> Result<Option<Bytes>, LineError> {
    let wrong = LineError::Wrong { field: "context", wanted: "the context that `skerry get` shows, in hex" };
    line.cell("context").map(|text| quorum::context(&text).map_err(|_| wrong)).transpose()
}

fn number(line: &Object, field: &'static str) -> Result<Option<u64>, LineError> {
    let wrong = LineError::Wrong { field, wanted: WHOLE };
    line.cell(field).map(|text| text.parse().map_err(|_| wrong)).transpose()
}

fn truth(line: &Object, field: &'static str) -> Result<bool, LineError> {
    match line.raw(field) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(LineError::Wrong { field, wanted: "true or false" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_take_all_that_the_command_takes() {
        let line = r#"{"putHex": "ff00", "sort": "s", "valueHex": "00", "expiresMs": 1790000000123, "ifVersion": "9007199254740993", "context": "01ff"}"#;
        let Line { condition, mutation, context } = parse(line).unwrap();
        assert_eq!(context, Some(vec![1, 0xff].into()));
        let key = Key::with_sort(vec![0xff, 0], "s");
        let expected = Expected::Version(Version(9_007_199_254_740_993));
        assert_eq!(condition, Some(Condition { key: key.clone(), expected }));
        assert_eq!(mutation, Some(Mutation::Put { key, value: vec![0].into(), expires_ms: Some(1_790_000_000_123) }));

        let line = parse(r#"{"put": "p", "value": "v", "ttlSeconds": 60, "ifAbsent": true}"#).unwrap();
        assert_eq!(line.condition.unwrap().expected, Expected::Absent);
        assert!(matches!(line.mutation, Some(Mutation::Put { expires_ms: Some(at), .. }) if at > 1_790_000_000));
    }

    #[test]
    fn what_is_wrong_is_told_by_the_fields_name() {
        let wrong = [
            ("{}", "says what the line is"),
            (r#"{"put": "p", "delete": "p"}"#, "says what the line is"),
            (r#"{"put": "p"}"#, r#""value" is missing"#),
            (r#"{"put": "p", "value": 12.50}"#, r#""value" must be a string"#),
            (r#"{"put": "p", "value": "v", "tll": 1}"#, r#""tll" is no field of put"#),
            (r#"{"put": "p", "value": "v", "ttlSeconds": 0}"#, r#""ttlSeconds" must be at least 1"#),
            (r#"{"put": "p", "value": "v", "ttlSeconds": 1, "expiresMs": 1}"#, "cannot both"),
            (r#"{"delete": "p", "value": "v"}"#, r#""value" is no field of delete"#),
            (r#"{"expect": "p", "version": -1}"#, r#""version" must be a whole number"#),
            (r#"{"expect": "p", "absent": "yes"}"#, r#""absent" must be true or false"#),
            (r#"{"expect": "p"}"#, "just one of"),
            (r#"{"deleteHex": "f"}"#, r#""deleteHex" is not hex"#),
            (r#"{"delete": "store-15", "sort": "\ud83d"}"#, r#""sort" is a string that stands for no text"#),
            (r#"{"delete": "p", "context": "xy"}"#, r#""context" must be the context"#),
            (r#"{"expect": "p", "absent": true, "context": "01"}"#, r#""context" is no field of expect"#),
        ];
        for (line, why) in wrong {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
