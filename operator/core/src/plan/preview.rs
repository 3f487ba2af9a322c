//! What a spec would change of a database that runs, before anything changes: the decisions of the plan, for people.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use skerry_core::ids::{NodeId, TableId};
use skerry_core::map::{Consistency, NodeRecord, NodeState};
use skerry_core::node::Status;
use skerry_core::placement::PlacementError;
use skerry_core::quorum::shown::Resolve;

use super::occupancy::Seats;
use super::removals;
use super::tables;
use crate::desired::{Desired, DesiredTable, desired, zone_counts};
use crate::forecast::{Moves, Places, forecast};
use crate::observed::{Process, Slot, SlotVolume};
use crate::validate::Validated;

/// What a new spec would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// What would move between the nodes that there would be.
    pub moves: Moves,
    /// Every node that there is or would be, and its zone.
    pub zones: BTreeMap<NodeId, String>,
    /// Nodes that would come. Their ids are a guess: the next ones.
    pub coming: BTreeSet<NodeId>,
    /// Nodes that would leave the database.
    pub leaving: BTreeSet<NodeId>,
    /// What would become of tables, by name; those that stay as they are are not among them.
    pub tables: BTreeMap<String, TableChange>,
}

/// What would become of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableChange {
    /// The table is created.
    New {
        /// How many shards it begins with.
        shards: usize,
        /// Number of copies of each shard, and how they agree.
        copies: Agreement,
        /// True if it is not made before every node runs a release that knows its kind.
        awaits_level: bool,
    },
    /// Each shard gets another number of copies, or they agree by another W, R or rule.
    Copies {
        /// The shards as they are.
        before: Agreement,
        /// The shards as the spec wants them.
        after: Agreement,
    },
    /// It goes with its data when it has been out of the spec for so long.
    Dropped {
        /// That is how long it stays.
        after: Duration,
    },
    /// The spec does not name it, and it stays.
    Kept,
    /// It is laid out otherwise than the spec says, and stays so.
    OtherLayout,
    /// Its copies follow a leader and are to do without, or the other way round. It stays as it is.
    OtherConsistency,
}

/// How many copies each shard of a table has, and how they agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    /// Number of copies of each shard.
    pub copies: u32,
    /// How these agree.
    pub consistency: Consistency,
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} copies", self.copies)?;
        match self.consistency {
            Consistency::Leader => Ok(()),
            Consistency::Quorum { write, read, resolve } => {
                let resolve = match resolve {
                    Resolve::LastWriterWins => "LastWriterWins",
                    Resolve::Siblings => "Siblings",
                };
                write!(f, ", writes to {write}, reads from {read}, {resolve}")
            }
        }
    }
}

/// Where a node is, as far as those who run it tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The database that it is of.
    pub database: String,
    /// Its slot: `<database>-<zone>-<number>`.
    pub slot: String,
}

/// Why a preview cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    /// The file is of another database than the nodes.
    #[error("the file is of database {asked:?}, and these nodes are of {found:?}")]
    AnotherDatabase {
        /// The database that the file names.
        asked: String,
        /// The database that the nodes are of.
        found: String,
    },
    /// The copies cannot be placed so.
    #[error(transparent)]
    Placement(#[from] PlacementError),
}

/// Works it out. `seat` says where a node is; one that it does not know takes the next free number of its zone.
pub fn preview(
    validated: &Validated,
    status: &Status,
    seat: impl Fn(&NodeRecord) -> Option<Seat>,
) -> Result<Preview, PreviewError> {
    let slots = slots(validated, status, seat)?;
    let desired = desired(validated, &zone_counts(slots.values().map(|slot| slot.zone.as_str())));
    let seats = Seats::new(&desired, &slots, &[], status);
    let sites = seats.sites_then(status);
    let mut moves = forecast(&Places::of(sites.clone()), &desired, status)?.moves;
    let leaving: BTreeSet<NodeId> = seats.leaving().filter_map(|l| Some(l.node?.id)).collect();
    if desired.drops_tables_after.is_some() {
        drop_copies(&mut moves, &desired, status);
    }
    // Nodes that hold nothing leave too.
    leaving.iter().for_each(|node| _ = moves.nodes.entry(*node).or_default());
    let mut zones: BTreeMap<NodeId, String> = members(status).map(|node| (node.id, node.zone.clone())).collect();
    let is_new = |node: &NodeId| !zones.contains_key(node);
    let coming: BTreeSet<NodeId> = sites.iter().map(|site| site.node).filter(is_new).collect();
    zones.extend(sites.into_iter().map(|site| (site.node, site.zone)));
    Ok(Preview { moves, zones, coming, leaving, tables: table_changes(&desired, status) })
}

/// The placement keeps the copies of tables that are not desired; those that are dropped go.
fn drop_copies(moves: &mut Moves, desired: &Desired, status: &Status) {
    let dropped: BTreeSet<TableId> = removals::missing(desired, status).map(|table| table.id).collect();
    for shard in status.map.live_shards().filter(|shard| dropped.contains(&shard.descriptor.table)) {
        for node in &shard.target {
            let change = moves.nodes.entry(*node).or_default();
            change.after = change.after.saturating_sub(1);
        }
    }
}

fn members(status: &Status) -> impl Iterator<Item = &NodeRecord> {
    status.map.nodes.values().filter(|node| node.state != NodeState::Removed)
}

fn slots(
    validated: &Validated,
    status: &Status,
    seat: impl Fn(&NodeRecord) -> Option<Seat>,
) -> Result<BTreeMap<String, Slot>, PreviewError> {
    let mut slots = BTreeMap::new();
    let (seated, others): (Vec<_>, Vec<_>) =
        members(status).map(|node| (node, seat(node))).partition(|(_, seat)| seat.is_some());
    for (node, seat) in seated {
        let Some(Seat { database, slot }) = seat else { continue };
        if database != validated.name {
            return Err(PreviewError::AnotherDatabase { asked: validated.name.clone(), found: database });
        }
        slots.insert(slot, slot_of(node));
    }
    for (node, _) in others {
        let set =
            if node.zone.is_empty() { validated.name.clone() } else { format!("{}-{}", validated.name, node.zone) };
        let free = (0..).map(|i| format!("{set}-{i}")).find(|slot| !slots.contains_key(slot));
        slots.extend(free.map(|slot| (slot, slot_of(node))));
    }
    Ok(slots)
}

fn slot_of(node: &NodeRecord) -> Slot {
    let (zone, address) = (node.zone.clone(), node.address.clone());
    Slot { zone, address, process: Process::STEADY, volume: SlotVolume::default(), held_up: None, host: None }
}

fn table_changes(desired: &Desired, status: &Status) -> BTreeMap<String, TableChange> {
    let named = desired.tables.iter().filter_map(|table| Some((table.name.clone(), change_of(table, status)?)));
    let fate = desired.drops_tables_after.map_or(TableChange::Kept, |after| TableChange::Dropped { after });
    named.chain(removals::missing(desired, status).map(|table| (table.name.clone(), fate))).collect()
}

fn change_of(table: &DesiredTable, status: &Status) -> Option<TableChange> {
    let agreement = |consistency| Agreement { copies: table.replication_factor, consistency };
    let Some(there) = status.map.table_named(&table.name) else {
        let (shards, awaits_level) = (table.starts.len(), tables::awaits_level(table, status));
        return Some(TableChange::New { shards, copies: agreement(table.consistency), awaits_level });
    };
    let after = agreement(table.consistency_after(there.consistency));
    let before = Agreement { copies: there.replication_factor, consistency: there.consistency };
    if !table.is_of_kind(there) {
        return Some(TableChange::OtherConsistency);
    }
    if tables::is_otherwise(table, there, status) {
        return Some(TableChange::OtherLayout);
    }
    (before != after).then_some(TableChange::Copies { before, after })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use skerry_core::level::FormatLevel;

    use super::*;
    use crate::environment::Environment;
    use crate::testing::{ahead, at_rest, put_quorum_table, resource};
    use crate::validate::validate;

    const TABLES: &str = r#""tables": [{"name": "aircraft", "fragmentation": {"type": "Hash"}},
                                       {"name": "by-carrier", "fragmentation": {"type": "Hash"}}]"#;

    fn of(spec: &str) -> Result<Preview, PreviewError> {
        let validated = validate(&resource(spec), &Environment::default()).unwrap();
        preview(&validated, &at_rest(&["a", "b", "c"], 4), |_| None)
    }

    fn with_tables(more: &str) -> Preview {
        of(&format!(r#"{{"zones": ["a", "b", "c"], {more}}}"#)).unwrap()
    }

    #[test]
    fn new_node_gets_replicas_and_nothing_else_moves() {
        let same = with_tables(TABLES);
        assert_eq!((same.moves.replicas, same.coming.len(), same.leaving.len()), (0, 0, 0));
        let more = with_tables(&format!(r#"{TABLES}, "replicas": 4"#));
        assert_eq!((more.moves.replicas, more.moves.lower_bound, more.moves.bytes), (2, 2, 2 * (3 << 20)));
        assert_eq!(more.coming, [NodeId(4)].into());
    }

    /// Node 1 sits in the slot with the highest number: an older node is not one that stays for that.
    #[test]
    fn nodes_leave_by_their_slots() {
        let spec = format!(r#"{{"replicationFactor": 2, "replicas": 2, {TABLES}}}"#);
        let validated = validate(&resource(&spec), &Environment::default()).unwrap();
        let seat =
            |node: &NodeRecord| Some(Seat { database: "shop".to_owned(), slot: format!("shop-{}", 3 - node.id.0) });
        let status = at_rest(&["", "", ""], 4);
        assert_eq!(preview(&validated, &status, seat).unwrap().leaving, [NodeId(1)].into());
        let other = |node: &NodeRecord| Some(Seat { database: "bank".to_owned(), ..seat(node)? });
        let error = preview(&validated, &status, other).unwrap_err().to_string();
        assert_eq!(error, "the file is of database \"shop\", and these nodes are of \"bank\"");
    }

    #[test]
    fn every_change_of_a_table_is_told() {
        let there = || at_rest(&["a"], 4).map.tables.values().next().unwrap().name.clone();
        let changes = |more: &str| with_tables(more).tables.remove(&there());
        assert_eq!(changes(r#""tables": []"#), Some(TableChange::Kept));
        let after = Duration::from_secs(600);
        assert_eq!(changes(r#""tables": [], "tableRemoval": "Drop""#), Some(TableChange::Dropped { after }));
        assert_eq!(with_tables(r#""tables": [], "tableRemoval": "Drop""#).moves.going(), 12);
        let table = |more: &str| format!(r#""tables": [{{"name": "{}", {more}}}]"#, there());
        let hash = r#""fragmentation": {"type": "Hash"}"#;
        let one = table(&format!(r#"{hash}, "replicationFactor": 1"#));
        assert_eq!(changes(&one), Some(TableChange::Copies { before: led(3), after: led(1) }));
        assert_eq!(with_tables(&one).moves.going(), 8);
        assert_eq!(changes(&table(r#""fragmentation": {"type": "Range"}"#)), Some(TableChange::OtherLayout));
        let new = with_tables(r#""tables": [{"name": "new", "fragmentation": {"type": "Hash", "shards": 7}}]"#);
        assert_eq!(new.tables["new"], TableChange::New { shards: 7, copies: led(3), awaits_level: false });
    }

    fn led(copies: u32) -> Agreement {
        Agreement { copies, consistency: Consistency::Leader }
    }

    #[test]
    fn what_becomes_of_quorum_tables_is_told() {
        let table = |name: &str, consistency: &str| {
            let spec = format!(
                r#"{{"tables": [{{"name": "{name}", "fragmentation": {{"type": "Hash", "shards": 2}},
                                  "consistency": {consistency}}}]}}"#
            );
            validate(&resource(&spec), &ahead()).unwrap()
        };
        let after = |status: &Status, name: &str, consistency: &str| {
            preview(&table(name, consistency), status, |_| None).unwrap().tables.remove(name)
        };
        let mut status = at_rest(&["", "", ""], 4);
        let quorum =
            |write, read, resolve| Agreement { copies: 3, consistency: Consistency::Quorum { write, read, resolve } };
        let both = quorum(2, 2, Resolve::LastWriterWins);
        assert_eq!(both.to_string(), "3 copies, writes to 2, reads from 2, LastWriterWins");
        let new = |awaits_level| Some(TableChange::New { shards: 2, copies: both, awaits_level });
        assert_eq!(after(&status, "cart", r#"{"type": "Quorum"}"#), new(true));
        Arc::make_mut(&mut status.map).level.0 = FormatLevel::QUORUM;
        assert_eq!(after(&status, "cart", r#"{"type": "Quorum"}"#), new(false));
        assert_eq!(after(&status, "aircraft", r#"{"type": "Quorum"}"#), Some(TableChange::OtherConsistency));

        put_quorum_table(&mut status, "cart", &[&[1, 2, 3], &[1, 2, 3]]);
        assert_eq!(after(&status, "cart", r#"{"type": "Quorum"}"#), None);
        assert_eq!(after(&status, "cart", r#"{"type": "Leader"}"#), Some(TableChange::OtherConsistency));
        let lower = r#"{"type": "Quorum", "readQuorum": 1, "conflictResolution": "Siblings"}"#;
        let lower_too = quorum(2, 1, Resolve::Siblings);
        let expected = Some(TableChange::Copies { before: both, after: lower_too });
        assert_eq!(after(&status, "cart", lower), expected);
        let map = Arc::make_mut(&mut status.map);
        let table = map.table_named("cart").unwrap().clone();
        map.put_table(skerry_core::map::TableRecord { consistency: lower_too.consistency, ..table });
        let kept = Some(TableChange::Copies { before: lower_too, after: quorum(2, 2, Resolve::Siblings) });
        assert_eq!(after(&status, "cart", r#"{"type": "Quorum"}"#), kept, "siblings are not given up without a word");
    }
}
