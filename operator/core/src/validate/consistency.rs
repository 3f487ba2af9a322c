//! How the copies of a table are to agree, in the core's terms, and what cannot be.

use skerry_api::{ConflictResolution, ConsistencyType};
use skerry_core::map::Consistency;
use skerry_core::quorum::shown::Resolve;

use super::Refusal;
use crate::environment::Environment;

/// Of a table with so many copies. What the spec leaves out follows their number: W and R are majorities.
pub(super) fn consistency(
    table: &skerry_api::Table,
    copies: u32,
    environment: &Environment,
    refusals: &mut Vec<Refusal>,
) -> Consistency {
    let asked = &table.consistency;
    match asked.r#type {
        ConsistencyType::Leader => {
            let says_more = asked.write_quorum.or(asked.read_quorum).is_some() || asked.conflict_resolution.is_some();
            refusals.extend(says_more.then(|| Refusal::QuorumFields(table.name.clone())));
            Consistency::Leader
        }
        ConsistencyType::Quorum => {
            if !environment.has_quorum_tables() {
                refusals.push(Refusal::Quorum(table.name.clone()));
            }
            let mut quorum = |field: &'static str, asked: Option<u32>| {
                let quorum = asked.unwrap_or_else(|| majority(copies));
                // With no copies at all that is what is told.
                if copies > 0 && !(1..=copies).contains(&quorum) {
                    refusals.push(Refusal::Quorums { table: table.name.clone(), field, quorum, copies });
                }
                quorum
            };
            let (write, read) = (quorum("writeQuorum", asked.write_quorum), quorum("readQuorum", asked.read_quorum));
            Consistency::Quorum { write, read, resolve: resolve(asked.conflict_resolution.unwrap_or_default()) }
        }
    }
}

fn majority(copies: u32) -> u32 {
    copies / 2 + 1
}

fn resolve(conflicts: ConflictResolution) -> Resolve {
    match conflicts {
        ConflictResolution::LastWriterWins => Resolve::LastWriterWins,
        ConflictResolution::Siblings => Resolve::Siblings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ahead, resource};
    use crate::validate::validate;

    /// Of a table of a database of five nodes and three copies.
    fn of(environment: &Environment, consistency: &str, more: &str) -> Result<Consistency, String> {
        let table =
            format!(r#"{{"name": "t", "fragmentation": {{"type": "Hash"}}, "consistency": {consistency}{more}}}"#);
        let database = resource(&format!(r#"{{"replicas": 5, "tables": [{table}]}}"#));
        validate(&database, environment).map(|valid| valid.tables[0].consistency).map_err(|why| why.to_string())
    }

    #[test]
    fn what_is_left_out_follows_the_number_of_copies() {
        let quorum = |write, read| Ok(Consistency::Quorum { write, read, resolve: Resolve::LastWriterWins });
        let cases = [
            ("", quorum(2, 2)),
            (r#", "replicationFactor": 1"#, quorum(1, 1)),
            (r#", "replicationFactor": 2"#, quorum(2, 2)),
            (r#", "replicationFactor": 5"#, quorum(3, 3)),
        ];
        for (more, expected) in cases {
            assert_eq!(of(&ahead(), r#"{"type": "Quorum"}"#, more), expected, "{more}");
        }
        assert_eq!(of(&ahead(), r#"{"type": "Quorum", "writeQuorum": 1}"#, ""), quorum(1, 2));
        let siblings = r#"{"type": "Quorum", "readQuorum": 3, "conflictResolution": "Siblings"}"#;
        let expected = Consistency::Quorum { write: 2, read: 3, resolve: Resolve::Siblings };
        assert_eq!(of(&ahead(), siblings, ""), Ok(expected));
        assert_eq!(of(&ahead(), "{}", ""), Ok(Consistency::Leader));
    }

    #[test]
    fn w_and_r_that_cannot_be_are_refused_with_what_is_allowed() {
        let refused = |consistency: &str, more: &str| of(&ahead(), consistency, more).unwrap_err();
        let too_many = r#"{"type": "Quorum", "writeQuorum": 3, "readQuorum": 0}"#;
        assert_eq!(
            refused(too_many, r#", "replicationFactor": 2"#),
            "table \"t\": writeQuorum must be between 1 and 2, the table's copies, it is 3; \
             table \"t\": readQuorum must be between 1 and 2, the table's copies, it is 0"
        );
        let of_another = r#"{"type": "Leader", "readQuorum": 1}"#;
        assert!(refused(of_another, "").contains("only of a table whose consistency.type is Quorum"));
        // What is wrong is the number of copies.
        let told = refused(r#"{"type": "Quorum"}"#, r#", "replicationFactor": 0"#);
        assert!(told.contains("wants 0 copies") && !told.contains("Quorum"), "{told}");
    }

    /// One switch: the level of the release.
    #[test]
    fn quorum_tables_are_refused_as_long_as_the_nodes_of_the_release_cannot_have_them() {
        let here = |environment: &Environment| of(environment, r#"{"type": "Quorum"}"#, "");
        assert_eq!(here(&Environment::default()).is_ok(), skerry_api::QUORUM_TABLES);
        assert!(here(&ahead()).is_ok());
        let before = Environment { level: skerry_core::level::FormatLevel::TOMBSTONES, ..ahead() };
        assert!(here(&before).unwrap_err().contains("Quorum tables are not available yet"));
    }
}
