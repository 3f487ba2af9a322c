//! How a write of several keys becomes several writes.
//!
//! The keys of a batch have one request id, and so one time of issue. If a wrong clock has stamped one of them far ahead,
//! that key takes only what is issued above its stamp, and every other key nothing that is issued so late. In a quorum table
//! each write of a batch is for itself, so it can be sent in halves, and those in halves again, until each part has an id
//! that it can have.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::command::{Command, Mutation, WriteOptions};

/// True for a write of several keys, without conditions: it has [`halves`].
pub fn can_be_parted(command: &Command) -> bool {
    let mut keys = command.mutations.iter().map(Mutation::key);
    let first = keys.next();
    command.conditions.is_empty() && keys.any(|key| Some(key) != first)
}

/// The two halves of a write, by its keys in order. Of a key that is there twice the later mutation counts, as it does where
/// they are sent together. `None` = it is of one key, or has conditions.
pub fn halves(command: &Command, options: &WriteOptions) -> Option<[(Command, WriteOptions); 2]> {
    if !can_be_parted(command) {
        return None;
    }
    let by_key: BTreeMap<&Bytes, &Mutation> = command.mutations.iter().map(|m| (m.key(), m)).collect();
    let middle = by_key.len() / 2;
    let part = |mutations: Vec<Mutation>| {
        let has = |key: &Bytes| mutations.binary_search_by(|mutation| mutation.key().cmp(key)).is_ok();
        let seen = options.seen.iter().filter(|(key, _)| has(key)).cloned().collect();
        let options = WriteOptions { seen, ..options.clone() };
        (Command { request: command.request, conditions: Vec::new(), mutations }, options)
    };
    let mut mutations: Vec<Mutation> = by_key.into_values().cloned().collect();
    let second = mutations.split_off(middle);
    Some([part(mutations), part(second)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Condition, Expected};

    fn key(name: &'static str) -> Bytes {
        Bytes::from_static(name.as_bytes())
    }

    fn put(name: &'static str, value: &'static str) -> Mutation {
        Mutation::Put { key: key(name), value: key(value), expires_ms: None }
    }

    fn command(mutations: Vec<Mutation>) -> Command {
        Command { request: None, conditions: Vec::new(), mutations }
    }

    #[test]
    fn each_key_is_in_one_half_with_what_was_seen_of_it_and_the_later_of_two_mutations() {
        let mutations = vec![put("c", "1"), put("a", "2"), Mutation::Delete { key: key("c") }, put("b", "3")];
        let seen = vec![(key("c"), key("of c")), (key("a"), key("of a"))];
        let options = WriteOptions { copies: Some(2), seen, again: None };
        let [(first, of_first), (second, of_second)] = halves(&command(mutations), &options).unwrap();
        assert_eq!(first.mutations, [put("a", "2")]);
        assert_eq!(second.mutations, [put("b", "3"), Mutation::Delete { key: key("c") }]);
        assert_eq!((of_first.seen, of_second.seen), (vec![(key("a"), key("of a"))], vec![(key("c"), key("of c"))]));
        assert_eq!((of_first.copies, of_second.copies), (Some(2), Some(2)));
    }

    #[test]
    fn what_is_one_write_stays_one() {
        let options = WriteOptions::default();
        assert!(halves(&command(vec![put("a", "1"), put("a", "2")]), &options).is_none());
        let conditions = vec![Condition { key: key("a"), expected: Expected::Absent }];
        let conditional = Command { conditions, ..command(vec![put("a", "1"), put("b", "2")]) };
        assert!(halves(&conditional, &options).is_none());
    }
}
