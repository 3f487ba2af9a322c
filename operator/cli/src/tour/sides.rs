//! Two sides that cannot reach each other: first two of three zones are gone, then the third one. Each side goes on with
//! carts that one copy may take; afterwards every cart has what both sides have put in, and all copies are equal.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, stream};
use skerry_client::{Client, Key, PutOptions, ReadOptions, Values};
use skerry_core::history::Rule;
use skerry_core::ids::NodeId;
use skerry_core::map::{Fragmentation, NodeState};
use skerry_workload::{QuorumCounts, QuorumTable, QuorumWorkload, TestedKey, tested_keys};

use super::phase::Stage;
use crate::failure::{Explain, Failure, Outcome};
use crate::output::{Output, Paint};
use crate::progress::Progress;
use crate::view::size;

/// Any two copies take a write, the later one counts.
pub(super) const POSITIONS: &str = "positions";
/// One copy takes a write; what was written at the same time is kept.
pub(super) const CARTS: &str = "carts";
/// Carts into which both sides put something.
const SHARED: usize = 24;
/// What each side puts into a cart.
const FIRST: &str = "from the first zone";
const OTHERS: &str = "from the other zones";
/// Carts that are written at a time.
const AT_A_TIME: usize = 8;
/// All copies are equal within this time after the last zone has returned.
const EQUAL_WITHIN: Duration = Duration::from_secs(60);
/// A side that was just started takes writes within this time.
const TAKES_WITHIN: Duration = Duration::from_secs(30);

/// What was done with the quorum tables, and found.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sides {
    /// What readers and writers did with each table in all phases.
    pub(crate) counts: Vec<(String, QuorumCounts)>,
    /// What cannot have happened, in words.
    pub(crate) violations: Vec<String>,
    /// Carts into which both sides have put something.
    pub(crate) carts: u64,
    /// How many of them have both afterwards.
    pub(crate) whole_carts: u64,
    /// Until all copies were equal, after the last zone had returned.
    pub(crate) equal_after: Duration,
}

impl Sides {
    /// True if nothing was lost, came back or differs.
    pub(crate) fn is_good(&self) -> bool {
        self.violations.is_empty() && self.whole_carts == self.carts
    }

    /// What was checked, what was found, and whether it is well.
    pub(crate) fn checks(&self) -> Vec<(&'static str, String, bool)> {
        let sum = |of: fn(&QuorumCounts) -> u64| self.counts.iter().map(|(_, counts)| of(counts)).sum::<u64>();
        let (acknowledged, reads, unanswered) = (sum(|c| c.acknowledged), sum(|c| c.reads), sum(|c| c.unanswered));
        let (repeated, violations) = (sum(|c| c.repeated), self.violations.len() as u64);
        let carts = format!("{} of {}", size::count(self.whole_carts), size::count(self.carts));
        let longest = self.counts.iter().map(|(_, counts)| counts.longest).max().unwrap_or_default();
        vec![
            ("quorum tables: writes acknowledged", size::count(acknowledged), acknowledged > 0),
            ("quorum tables: reads, each checked", size::count(reads), reads > 0),
            ("quorum tables: writes sent more than once", size::count(repeated), true),
            (
                "quorum tables: unanswered",
                format!("{}, longest wait {}", size::count(unanswered), size::time(longest)),
                true,
            ),
            ("quorum tables: lost, returned or stale", size::count(violations), violations == 0),
            ("carts with what both sides put in", carts, self.whole_carts == self.carts),
            ("all copies equal after the zones' return", size::time(self.equal_after), true),
        ]
    }
}

/// The quorum tables of the quickstart, with the keys that the load uses.
pub(super) fn tables(run: u32) -> Vec<QuorumTable> {
    let of = |name: &str, fragmentation, rule, is_overlapping| {
        let keys = tested_keys(&[(name.to_owned(), fragmentation)], run);
        QuorumTable { rule, is_overlapping, keys }
    };
    vec![
        of(POSITIONS, Fragmentation::Range, Rule::LastWriter, true),
        of(CARTS, Fragmentation::Hash, Rule::Siblings, false),
    ]
}

/// Takes the zones away and lets them return. The load has stopped.
pub(super) async fn run(
    stage: &Stage<'_>,
    client: &Client,
    workload: &QuorumWorkload,
    output: &Output,
) -> Outcome<Sides> {
    output.say(&output.paint_message(Paint::Strong, "\nNow two of three zones are gone, then the third"));
    let mut progress = Progress::told(output, "two sides that cannot reach each other");
    let map = client.map();
    let there = map.nodes.values().filter(|node| node.state != NodeState::Removed);
    let nodes: Vec<NodeId> = there.map(|node| node.id).collect();
    let Some((first, others)) = nodes.split_first() else { return Err(Failure::new("the database has no nodes")) };
    // Nodes that were just started need a moment.
    let client = &client.with_deadline(TAKES_WITHIN);
    let empty: Vec<_> = (0..SHARED).map(|number| (number, Values::default())).collect();
    fill(client, &empty, "ticket").await?;
    let seen = read(client).await?;

    stage.kill_nodes(others).await?;
    let took = fill(client, &seen, FIRST).await?;
    let mut violations = not_shown(client, FIRST).await?;
    progress
        .say(&format!("    {first} alone takes and shows {SHARED} carts, each written within {}", size::time(took)));
    stage.kill_nodes(&[*first]).await?;
    stage.start_nodes(others).await?;
    let took = fill(client, &seen, OTHERS).await?;
    progress.say(&format!("    the other zones take the same carts, each written within {}", size::time(took)));
    stage.start_nodes(&[*first]).await?;
    stage.settle_again(&mut progress).await?;

    progress.tell("waiting until all copies are equal");
    let carts: Vec<_> = (0..SHARED).map(|number| TestedKey { table: CARTS.to_owned(), key: cart(number) }).collect();
    let equal_after = workload.await_equal(&carts, EQUAL_WITHIN).await.map_err(|not| Failure::new(not.to_string()))?;
    let whole = read(client).await?.iter().filter(|(_, values)| has_both(values)).count();
    violations.extend(workload.violations().into_iter().flat_map(|(_, found)| found));
    let equal = size::time(equal_after);
    progress.done(&format!("{whole} of {SHARED} carts have what both sides put in, all copies equal after {equal}"));
    Ok(Sides { counts: workload.counts(), violations, carts: SHARED as u64, whole_carts: whole as u64, equal_after })
}

fn cart(number: usize) -> Key {
    Key::new(format!("passenger-{number:02}"))
}

/// Puts something into every cart, with what was seen of it; gives the longest that one of them took.
async fn fill(client: &Client, seen: &[(usize, Values)], what: &'static str) -> Outcome<Duration> {
    let put = async |(number, values): (usize, Values)| {
        let begun = Instant::now();
        let options = PutOptions { context: values.context, ..PutOptions::default() };
        let written = client.put_with(CARTS, cart(number), Bytes::from_static(what.as_bytes()), options).await;
        written.map(|_| begun.elapsed())
    };
    let mut puts = stream::iter(seen.to_vec()).map(put).buffer_unordered(AT_A_TIME);
    let mut longest = Duration::ZERO;
    while let Some(took) = puts.next().await {
        longest = longest.max(took.doing(format!("failed to put something {what} into a cart"))?);
    }
    Ok(longest)
}

async fn read(client: &Client) -> Outcome<Vec<(usize, Values)>> {
    let read = async |number: usize| {
        client.get_values(CARTS, cart(number), ReadOptions::default()).await.map(|values| (number, values))
    };
    let read: Vec<_> = stream::iter(0..SHARED).map(read).buffered(AT_A_TIME).collect().await;
    read.into_iter().collect::<Result<_, _>>().doing("failed to read the carts")
}

/// Carts that do not show what was just put into them, in words; the node that was asked is the only one.
async fn not_shown(client: &Client, what: &'static str) -> Outcome<Vec<String>> {
    let missing = |(number, values): &(usize, Values)| {
        (!has(values, what)).then(|| format!("cart {number} does not show what was just put into it {what}"))
    };
    Ok(read(client).await?.iter().filter_map(missing).collect())
}

fn has_both(values: &Values) -> bool {
    has(values, FIRST) && has(values, OTHERS)
}

fn has(values: &Values, what: &str) -> bool {
    values.records.iter().any(|record| record.value == what.as_bytes())
}
