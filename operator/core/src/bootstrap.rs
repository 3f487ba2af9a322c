//! Whether a node bootstraps the database or joins it, and what nodes say before it is written down that it was founded.

use skerry_core::node::Status;

use crate::observed::Seen;

/// Slots that are asked before the database is founded, at most: there is one, or two while one makes way for the other.
pub const ASKED_MAX: usize = 3;

/// How a node comes into the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The node founds the database.
    Found,
    /// It joins through one of these.
    Join(Vec<String>),
    /// It waits for whoever may come: it must not found a second one.
    Wait,
}

/// How a node comes into the database whose other nodes are at these addresses. Founded once is founded.
pub fn entry(founded: bool, others: Vec<String>) -> Entry {
    match (founded, others.is_empty()) {
        (_, false) => Entry::Join(others),
        (false, true) => Entry::Found,
        (true, true) => Entry::Wait,
    }
}

/// What the node of a slot says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Voice {
    /// It has no identity, and can found the database.
    Blank,
    /// It is a node of the database.
    Member,
    /// The node said nothing of itself, for this reason.
    Silent(String),
}

/// What is known of a database that is not founded, as far as is written down, and a slot whose node can found it. `None` =
/// there is a node of it: its steward is to be asked.
///
/// Only silence is unknown, and only a node that says itself that it has no identity can be told to found the database.
pub fn before_founding(voices: &[(String, Voice)]) -> Option<(Seen<Status>, Option<String>)> {
    if voices.iter().any(|(_, voice)| *voice == Voice::Member) {
        return None;
    }
    let blank = voices.iter().find(|(_, voice)| *voice == Voice::Blank).map(|(slot, _)| slot.clone());
    let silent = voices.iter().find_map(|(_, voice)| if let Voice::Silent(why) = voice { Some(why) } else { None });
    Some((silent.map_or(Seen::Absent, |why| Seen::Unknown(why.clone())), blank))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_founded_once_and_by_a_node_that_is_alone() {
        let others = || vec!["b:1".to_owned()];
        assert_eq!(entry(false, vec![]), Entry::Found);
        assert_eq!(entry(false, others()), Entry::Join(others()));
        assert_eq!(entry(true, others()), Entry::Join(others()));
        assert_eq!(entry(true, vec![]), Entry::Wait, "its volume is gone, and the database with it");
    }

    #[test]
    fn silence_before_the_founding_is_unknown_and_a_member_has_the_steward_asked() {
        let silent = || Voice::Silent("no answer".to_owned());
        let seen = |voices: &[Voice]| {
            let named: Vec<_> =
                voices.iter().enumerate().map(|(i, voice)| (format!("shop-{i}"), voice.clone())).collect();
            before_founding(&named)
        };
        let unknown = || Seen::Unknown("no answer".to_owned());
        assert_eq!(seen(&[]), Some((Seen::Absent, None)));
        assert_eq!(seen(&[Voice::Blank]), Some((Seen::Absent, Some("shop-0".to_owned()))));
        assert_eq!(seen(&[silent()]), Some((unknown(), None)));
        assert_eq!(seen(&[silent(), Voice::Blank]), Some((unknown(), Some("shop-1".to_owned()))));
        assert_eq!(seen(&[Voice::Blank, silent(), Voice::Member]), None);
    }
}
