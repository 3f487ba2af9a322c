//! The longer of the texts in which waits are told.

use std::collections::BTreeSet;
use std::fmt;

use skerry_core::ids::{Incarnation, NodeId, ShardId};
use skerry_core::level::FormatLevel;

use super::Loss;
use crate::validate::AcceptedLoss;

/// So many losses are named one by one in what is told of them: with more, all of the node's start.
const ACCEPTED_ONE_BY_ONE_MAX: usize = 16;

pub(super) fn loss_to_accept(
    f: &mut fmt::Formatter<'_>,
    (slot, loss): (&str, Loss),
    node: Option<(NodeId, Incarnation)>,
    shards: &[ShardId],
) -> fmt::Result {
    let lost = node.map_or_else(String::new, |(node, _)| format!(" --lost {node}"));
    let which = named(shards);
    match loss {
        Loss::OfSilent => write!(
            f,
            "{slot} is silent or does not take part now, and may alone have writes of {which} that were acknowledged: as many \
             copies as a write needs do not take part, and it has not said that all others have what it took. Bring it back; \
             or, if it is gone for good, run skerry recover{lost}"
        )?,
        Loss::OfVolume => write!(
            f,
            "the volume of {slot} is lost, and {which} had a copy on it and has no leader, or has lost as many copies as a \
             write needs: run skerry recover{lost}"
        )?,
        Loss::OfWrites => write!(
            f,
            "{slot} takes writes of {which}, and others do not have the last of those yet that it has acknowledged: its volume \
             is replaced at a moment at which they have all"
        )?,
    }
    if shards.contains(&ShardId::SYSTEM) {
        return Ok(());
    }
    let Some((node, start)) = node else { return Ok(()) };
    // The text of a status is cut where it is longer, and what is accepted has to be said as a whole.
    let are_few = shards.len() <= ACCEPTED_ONE_BY_ONE_MAX;
    let of_each = shards.iter().map(|shard| Some(*shard)).filter(|_| are_few);
    let losses = of_each.chain((!are_few).then_some(None)).map(|shard| AcceptedLoss { shard, node, start }.to_string());
    let (annotation, losses) = (skerry_api::ACCEPT_LOSS, losses.collect::<Vec<_>>().join(","));
    write!(f, "; or give up what is not recovered: set the annotation {annotation} to \"{losses}\"")?;
    if are_few { Ok(()) } else { write!(f, ", which also gives up what {slot} turns out to be the last to have had") }
}

pub(super) fn level(
    f: &mut fmt::Formatter<'_>,
    tables: &[String],
    enabled: FormatLevel,
    older: &[String],
    unheard: &[String],
) -> fmt::Result {
    let needed = FormatLevel::QUORUM;
    let (noun, tables) = (if tables.len() == 1 { "table" } else { "tables" }, few(tables));
    write!(f, "{noun} {tables} to be made: Quorum tables need format level {needed}, and the database has {enabled}")?;
    match (older, unheard) {
        ([], []) => f.write_str("; every node can have it: it is about to be enabled"),
        (older, []) => write!(f, "; {} to run a later release: see spec.image", few(older)),
        ([], unheard) => write!(f, "; {} to say what release they run", few(unheard)),
        (older, unheard) => write!(
            f,
            "; {} to run a later release: see spec.image; {} to say what release they run",
            few(older),
            few(unheard)
        ),
    }
}

/// The first few of these, and how many more there are.
fn few(names: &[String]) -> String {
    const NAMED_MAX: usize = 5;
    let first = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

pub(super) fn growing(
    f: &mut fmt::Formatter<'_>,
    volumes: &[(String, String, Option<String>)],
    size: &str,
) -> fmt::Result {
    let told = |(slot, has, why): &(String, String, Option<String>)| match why {
        Some(why) => format!("{slot} has {has} ({why})"),
        None => format!("{slot} has {has} (see kubectl describe pvc)"),
    };
    let volumes: Vec<String> = volumes.iter().map(told).collect();
    write!(f, "volumes to grow to {size}: {}; spec.storage.size may be taken back to status.volumeSize", few(&volumes))
}

pub(super) fn late(
    f: &mut fmt::Formatter<'_>,
    slots: &[(String, Option<String>)],
    held: &[NodeId],
    why: Option<&str>,
) -> fmt::Result {
    let said = |why: &Option<String>| why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
    let slots: Vec<String> = slots.iter().map(|(slot, why)| format!("{slot}{}", said(why))).collect();
    write!(f, "{} to join, for long: ", slots.join(", "))?;
    match why {
        Some(why) => write!(f, "nothing is placed without: {why}")?,
        None => f.write_str("the rest goes on without")?,
    }
    match held {
        [] => Ok(()),
        held => {
            let held: Vec<String> = held.iter().map(ToString::to_string).collect();
            write!(f, "; {} cannot leave before", held.join(", "))
        }
    }
}

/// The first few, and how many more there are.
pub(in crate::plan) fn named(shards: &[ShardId]) -> String {
    const NAMED_MAX: usize = 3;
    let unique: BTreeSet<&ShardId> = shards.iter().collect();
    let names: Vec<String> = unique.iter().take(NAMED_MAX).map(|shard| format!("shard {shard}")).collect();
    match unique.len().saturating_sub(NAMED_MAX) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
