//! What the system shard's leader does beside serving: it notes what shards have become, carries targets out, takes the
//! steps of quorum shards, has shards go on that need nobody's word for it, keeps the system shard on healthy nodes, spreads
//! leaders, and certifies removals.
//!
//! Plain decisions on values: the map at the leader's applied index and the reports heard so far go in, commands to
//! the system shard and messages to nodes come out. Nothing is remembered between rounds but the reports, so a new
//! leader goes on where the last one stopped. A round on a settled database decides nothing.

mod assign;
mod budget;
mod certificate;
mod claims;
mod copies;
mod fullness;
mod leaders;
mod level;
mod quorum;
mod record;
mod recovery;
mod reports;
mod room;
mod system_shard;

#[cfg(test)]
mod tests;

pub use assign::{ASSIGNMENTS_MAX, assign};
pub use certificate::{CERTIFICATION_MS, Certification, REASONS_MAX, copy_answer};
pub use leaders::{TRANSFERS_MAX, leaders};
pub use level::level;
pub use quorum::{STEPS_MAX, steps};
pub use record::{RECORDS_MAX, record};
pub use recovery::{
    LOST_SILENCE_MS, RECOVERIES_MAX, RecoveryPlan, RecoveryRefusal, Witness, adoptions, alone, decided, never_begun,
    recoveries, recovery,
};
pub use reports::{FRESH_MS, Reports, View};
pub use system_shard::{SILENCE_MS, system_shard};

use crate::system::SystemCommand;

/// Everything that a round proposes to the system shard, in order. To be called again only after these commands have
/// been applied or given up: a repeated proposal is refused as stale, so it does no harm, but no good either.
pub fn round(view: &View<'_>) -> Vec<SystemCommand> {
    let mut commands = record(view);
    commands.extend(adoptions(view));
    commands.extend(never_begun(view));
    commands.extend(system_shard(view));
    commands.extend(assign(view));
    // Where copies are assigned anew, the next round decides on the steps.
    let is_assigned = |step: &SystemCommand| commands.iter().any(|command| command.shard() == step.shard());
    let steps: Vec<_> = steps(view).into_iter().filter(|step| !is_assigned(step)).collect();
    commands.extend(steps);
    commands.extend(level(view));
    commands
}
