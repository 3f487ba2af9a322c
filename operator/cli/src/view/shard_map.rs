//! The shard map as a picture: a row for each node, grouped by zone, a column for each shard, and below it what moves.

use std::collections::BTreeMap;

use skerry_core::ids::{NodeId, ShardId, TableId};
use skerry_core::map::{NodeRecord, NodeState, Role};
use skerry_core::node::Status;
use skerry_operator_core::{ShardNow, is_heard, shards_now};

use super::{quorum, size};
use crate::output::Paint;

/// How the picture may be drawn.
pub(crate) struct Style<'a> {
    /// False if only letters may be used.
    pub(crate) unicode: bool,
    /// Width of the terminal, in columns.
    pub(crate) width: usize,
    /// Paints a text, or returns it as it is where there are no colours.
    pub(crate) paint: &'a dyn Fn(Paint, &str) -> String,
}

/// What a shard has on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    Nothing,
    Leader,
    Copy,
    /// A learner, or a voter to be.
    Arriving,
    /// A copy that is no longer wanted here.
    Leaving,
    /// A copy that is wanted here and was not begun.
    ToCome,
}

const LEGEND: [(Cell, &str); 6] = [
    (Cell::Leader, "leader"),
    (Cell::Copy, "copy"),
    (Cell::Arriving, "arriving"),
    (Cell::ToCome, "to come"),
    (Cell::Leaving, "leaving"),
    (Cell::Nothing, "none"),
];

impl Cell {
    fn mark(self, style: &Style<'_>) -> String {
        let (pretty, letter, paint) = match self {
            Self::Nothing => ("·", ".", Paint::Faint),
            Self::Leader => ("●", "L", Paint::Good),
            Self::Copy => ("○", "o", Paint::Good),
            Self::Arriving => ("◐", "+", Paint::Busy),
            Self::Leaving => ("◌", "-", Paint::Busy),
            Self::ToCome => ("∙", "*", Paint::Busy),
        };
        (style.paint)(paint, if style.unicode { pretty } else { letter })
    }

    fn of(shard: &ShardNow<'_>, node: NodeId) -> Self {
        let wanted = shard.record.target.contains(&node);
        let Some(member) = shard.descriptor.members.iter().find(|m| m.replica.node == node) else {
            return if wanted { Self::ToCome } else { Self::Nothing };
        };
        match member.role {
            Role::Learner | Role::Incoming => Self::Arriving,
            Role::Outgoing => Self::Leaving,
            Role::Voter if shard.leader() == Some(node) => Self::Leader,
            Role::Voter if wanted => Self::Copy,
            Role::Voter => Self::Leaving,
        }
    }
}

/// A run of one table's shards that stands under one heading.
struct Column<'a> {
    heading: String,
    shards: Vec<ShardNow<'a>>,
}

impl Column<'_> {
    fn width(&self) -> usize {
        self.heading.chars().count().max(self.shards.len())
    }
}

/// Draws the map of shards and nodes as text.
pub(crate) fn draw(status: &Status, style: &Style<'_>) -> String {
    let nodes = nodes_by_zone(status);
    let labels: Vec<[String; 3]> = nodes.iter().map(|n| label(status, n)).collect();
    let widths: Vec<usize> = (0..3).map(|i| labels.iter().map(|l| l[i].chars().count()).max().unwrap_or(0)).collect();
    let margin = widths.iter().sum::<usize>() + 6;

    let mut text = String::new();
    for band in
        bands(columns(status, style.width.saturating_sub(margin).max(16)), style.width - margin.min(style.width))
    {
        let headings: Vec<String> = band.iter().map(|c| pad(&c.heading, c.width())).collect();
        text.push_str(&format!("{}{}\n", " ".repeat(margin), headings.join("  ").trim_end()));
        for (node, label) in nodes.iter().zip(&labels) {
            let heard = is_heard(status, node.id) && node.state == NodeState::Active;
            let state = pad(&label[2], widths[2]);
            let state = (style.paint)(if heard { Paint::Good } else { Paint::Bad }, &state);
            text.push_str(&format!("{}  {}  {state}  ", pad(&label[0], widths[0]), pad(&label[1], widths[1])));
            let cells: Vec<String> = band.iter().map(|c| cells(c, node.id, style)).collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        text.push('\n');
    }
    let legend: Vec<String> = LEGEND.iter().map(|(cell, name)| format!("{} {name}", cell.mark(style))).collect();
    text.push_str(&legend.join("  "));
    for line in moves(status) {
        text.push_str(&format!("\n{line}"));
    }
    text
}

/// What moves, one line a shard.
fn moves(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    for shard in shards_now(status) {
        let nodes = |wanted: &dyn Fn(Cell) -> bool| -> Vec<String> {
            let known = status.map.nodes.keys();
            known.filter(|n| wanted(Cell::of(&shard, **n))).map(ToString::to_string).collect()
        };
        let arriving = nodes(&|c| c == Cell::Arriving);
        let to_come = nodes(&|c| c == Cell::ToCome);
        // A leader that is to go counts as leaving here, though the picture shows it as what it is.
        let members = shard.descriptor.members.iter().map(|m| m.replica.node);
        let leaving: Vec<String> =
            members.filter(|n| !shard.record.target.contains(n)).map(|n| n.to_string()).collect();
        let record = shard.record;
        let moves = !(arriving.is_empty() && to_come.is_empty() && leaving.is_empty());
        if !moves && shard.stage().is_none() {
            continue;
        }
        let coming: Vec<String> = arriving.iter().chain(&to_come).cloned().collect();
        let way = match (leaving.is_empty(), coming.is_empty()) {
            (true, _) => format!("→ {}", coming.join(", ")),
            (_, true) => format!("{} →", leaving.join(", ")),
            _ => format!("{} → {}", leaving.join(", "), coming.join(", ")),
        };
        let way = [Some(way).filter(|_| moves), quorum::changing_quorums(record)];
        let way = way.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let (sent, all) = shard.report.map_or((0, 0), |r| r.moving);
        let progress = match (all, shard.stage(), arriving.is_empty()) {
            (0, Some(stage), _) => quorum::stage_words(stage).to_owned(),
            (0, None, true) => "waiting".to_owned(),
            (0, None, false) => "catching up".to_owned(),
            _ => format!("{} % of {}", (sent.min(all) * 100) / all, size::bytes(all)),
        };
        let table = table_name(status, record.descriptor.table);
        let told = [way, progress].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
        lines.push(format!("{} {table}: {told}", record.descriptor.shard));
    }
    lines
}

fn cells(column: &Column<'_>, node: NodeId, style: &Style<'_>) -> String {
    let mut text: String = column.shards.iter().map(|s| Cell::of(s, node).mark(style)).collect();
    text.push_str(&" ".repeat(column.width() - column.shards.len()));
    text
}

fn nodes_by_zone(status: &Status) -> Vec<&NodeRecord> {
    let mut nodes: Vec<&NodeRecord> = status.map.nodes.values().filter(|n| n.state != NodeState::Removed).collect();
    nodes.sort_by_key(|n| (n.zone.as_str(), n.id));
    nodes
}

fn label(status: &Status, node: &NodeRecord) -> [String; 3] {
    let state = match (is_heard(status, node.id), node.state) {
        (false, _) => "silent",
        (true, NodeState::Draining) => "draining",
        (true, _) => "up",
    };
    [node.zone.clone(), node.id.to_string(), state.to_owned()]
}

fn table_name(status: &Status, table: TableId) -> &str {
    if table == TableId::SYSTEM { "system" } else { status.map.tables.get(&table).map_or("?", |t| t.name.as_str()) }
}

/// Each table's shards in key order, cut where they are wider than the terminal.
fn columns(status: &Status, width: usize) -> Vec<Column<'_>> {
    let mut by_table: BTreeMap<TableId, Vec<ShardNow<'_>>> = BTreeMap::new();
    for shard in shards_now(status) {
        by_table.entry(shard.record.descriptor.table).or_default().push(shard);
    }
    let mut columns = Vec::new();
    for (table, mut shards) in by_table {
        shards.sort_by(|a, b| a.record.descriptor.start.cmp(&b.record.descriptor.start));
        let name =
            if shards[0].record.descriptor.shard == ShardId::SYSTEM { "system" } else { table_name(status, table) };
        let whole = shards.len() <= width;
        for (i, part) in shards.chunks(width).enumerate() {
            let first = i * width + 1;
            let heading = if whole { name.to_owned() } else { format!("{name} {first}-{}", first + part.len() - 1) };
            columns.push(Column { heading, shards: part.to_vec() });
        }
    }
    columns
}

/// As many columns side by side as the terminal is wide.
fn bands(columns: Vec<Column<'_>>, width: usize) -> Vec<Vec<Column<'_>>> {
    let mut bands: Vec<Vec<Column<'_>>> = Vec::new();
    let mut left = 0;
    for column in columns {
        match bands.last_mut() {
            Some(band) if column.width() + 2 <= left => {
                left -= column.width() + 2;
                band.push(column);
            }
            _ => {
                left = width.saturating_sub(column.width());
                bands.push(vec![column]);
            }
        }
    }
    bands
}

fn pad(text: &str, width: usize) -> String {
    format!("{text:width$}")
}

#[cfg(test)]
mod tests {
    use skerry_core::ids::{Generation, ReplicaId};
    use skerry_core::map::NodeState::{Active, Draining, Removed};
    use skerry_core::map::{Member, QuorumChange, QuorumRecord, Quorums, Replica};
    use skerry_core::quorum::layout::Stage;
    use skerry_core::quorum::shown::Resolve;

    use super::*;
    use skerry_operator_core::testing::{node, shard, status};

    fn picture(status: &Status, width: usize) -> String {
        draw(status, &Style { unicode: false, width, paint: &|_, text| text.to_owned() })
    }

    fn moving_status() -> Status {
        let nodes = vec![
            node(1, "zone-a", Active),
            node(2, "zone-b", Active),
            node(3, "zone-c", Draining),
            node(4, "zone-a", Active),
            node(5, "zone-b", Removed),
        ];
        let mut moving = shard(3, 2, &[2, 1, 3], &[1, 2, 4]);
        moving
            .1
            .descriptor
            .members
            .push(Member { replica: Replica { node: NodeId(4), id: ReplicaId(9) }, role: Role::Learner });
        moving.1.moving = (1 << 20, 4 << 20);
        let waiting = shard(4, 2, &[3, 1, 2], &[1, 2, 4]);
        status(
            nodes,
            vec![
                shard(0, 0, &[1, 2, 3], &[1, 2, 3]),
                shard(1, 1, &[1, 2, 3], &[1, 2, 3]),
                shard(2, 1, &[2, 3, 1], &[1, 2, 3]),
                moving,
                waiting,
            ],
        )
    }

    #[test]
    fn picture_shows_nodes_by_zone_leaders_and_moves() {
        let expected = [
            "                      system  aircraft  by-carrier",
            "zone-a  n1  up        L       Lo        oo",
            "zone-a  n4  up        .       ..        +*",
            "zone-b  n2  up        o       oL        Lo",
            "zone-c  n3  draining  o       oo        -L",
            "",
            "L leader  o copy  + arriving  * to come  - leaving  . none",
            "s3 by-carrier: n3 → n4, 25 % of 4.0 MiB",
            "s4 by-carrier: n3 → n4, waiting",
        ];
        assert_eq!(picture(&moving_status(), 100).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_quorum_shards_change_is_told_by_its_stage_also_where_no_copy_moves() {
        let nodes = vec![node(1, "a", Active), node(2, "b", Active), node(3, "c", Active)];
        let quorums = |write| Quorums { write, read: 2 };
        let changing = |next, stage| {
            let change = QuorumChange { next, stage, began: Generation(2), reads_since: Generation(2) };
            Some(QuorumRecord {
                current: quorums(2),
                change: Some(change),
                resolve: Resolve::default(),
                is_unsure: false,
            })
        };
        let mut altered = shard(1, 1, &[1, 2, 3], &[1, 2, 3]);
        altered.0.quorum = changing(quorums(3), Stage::ReadNew);
        let mut moving = shard(2, 1, &[1, 2], &[1, 3]);
        moving.0.quorum = changing(quorums(2), Stage::WriteBoth);
        let mut status = status(nodes, vec![altered, moving]);
        status.shards.clear();
        let drawn = picture(&status, 100);
        let told: Vec<_> = drawn.lines().filter(|line| line.starts_with('s')).collect();
        let expected = [
            "s1 aircraft: W=2 R=2 → W=3 R=2, 2 of 3, ReadNew: new copies are read",
            "s2 aircraft: n2 → n3, 1 of 3, WriteBoth: new copies are written to and copy",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn wide_tables_are_cut_into_bands() {
        let nodes = vec![node(1, "a", Active)];
        let shards = (1..=20).map(|id| shard(id, 1, &[1], &[1])).collect();
        let drawn = picture(&status(nodes, shards), 27);
        assert!(drawn.contains("aircraft 1-16\na  n1  up  LLLLLLLLLLLLLLLL\n"), "{drawn}");
        assert!(drawn.contains("aircraft 17-20\na  n1  up  LLLL\n"), "{drawn}");
    }

    #[test]
    fn node_that_is_not_heard_of_is_silent() {
        let mut status = moving_status();
        status.nodes.retain(|(r, _)| r.node != NodeId(2));
        assert!(picture(&status, 100).contains("zone-b  n2  silent    o"));
    }
}
