//! One round of looking after a database, whoever carries it out: the operator on Kubernetes, the playground, the simulator.
//!
//! ```text
//! Memory::look ─► decide ─► Round ─► next_write ─► (the shell makes one write) ─► heard ─► next_write ─► … ─► report
//! ```
//!
//! The shell only observes, makes one write after the other as it is told, and says what became of each. Which writes there
//! are, in which order, what is left out while the resource is paused or cannot be, and what becomes of the others when one
//! fails is decided here. It may die between any two: the next round goes on from what is there.

mod agenda;
mod memory;

pub use agenda::{Agenda, Batch, Entry};
pub use memory::Memory;

use std::fmt;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use skerry_api::{DistributedDatabase, DistributedDatabaseStatus};
use skerry_core::ids::{Epoch, Incarnation, NodeId};
use skerry_core::node::Removal;
use skerry_core::system::AdminChange;

use crate::decide::Decision;
use crate::observed::Observed;
use crate::plan::{Plan, Record, Step};
use crate::planted::{Planted, is_planted};
use crate::status::{Outcome, status};
use crate::validate::Invalid;

/// No process is ended and no volume given up on what was seen so long ago: another may be away by now.
const LOOK_AGE_MAX: Duration = Duration::from_secs(10);

/// Reasons that are named of those for which a node cannot be removed yet.
const REASONS_MAX: usize = 3;

/// One write, as the place makes it where the database runs: on Kubernetes' objects, or on processes and folders.
pub trait Write: Clone + fmt::Debug {
    /// What of it is the database's own, in every place alike. `None` = it is the place's.
    fn order(&self) -> Option<Order>;

    /// What is lost by this write.
    fn gives_up(&self) -> GivesUp;
}

/// What is written down of the database, and what it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Write something down in the status.
    Record(Record),
    /// Make a change of the system shard.
    Change(AdminChange),
    /// Remove a node, under a certificate.
    Remove(NodeId, Incarnation),
}

/// What is lost by a write, for a while or for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivesUp {
    /// Nothing that does not come back.
    Nothing,
    /// A process: it is away for a while.
    Process,
    /// A volume, or what lies on it.
    Volume,
}

/// The next thing for the shell to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next<W> {
    /// Make this write, under this guard.
    Write(W, Guard),
    /// Write this down in the status, and nothing else of it. Refused if somebody else has changed the resource since.
    Record(Record),
    /// Change the system shard, with the fencing token and what it was decided on.
    Change(AdminChange, Option<Epoch>, Guard),
    /// Ask for a certificate, here and now: [`Answer::Removal`] is what to say then.
    Certify(NodeId, Incarnation, Guard),
}

/// What must hold right before a write. If it does not, the write is not made, and has failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Guard {
    /// The resource is still the one that was decided on: what follows cannot be taken back, and a person may want it
    /// otherwise by now.
    pub newest: bool,
    /// The look on which it was decided began no longer ago. `None` = however long ago.
    pub look_age_max: Option<Duration>,
}

impl Guard {
    fn of(write: &impl Write) -> Self {
        if is_planted(Planted::GuardLeftOut) {
            return Self::default();
        }
        let newest = match write.order() {
            Some(Order::Remove(..) | Order::Change(AdminChange::DropTable { .. })) => true,
            Some(Order::Record(_) | Order::Change(_)) | None => write.gives_up() == GivesUp::Volume,
        };
        Self { newest, look_age_max: (write.gives_up() != GivesUp::Nothing).then_some(LOOK_AGE_MAX) }
    }
}

/// What came of a write that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The write is made.
    Done,
    /// It is so, and was not before: until then, more may have been evicted than the look has seen.
    BudgetRenewed,
    /// What the steward says to the removal of a node.
    Removal(Removal),
}

/// A round that is being carried out.
#[derive(Debug, Clone)]
pub struct Round<W> {
    observed: Observed,
    decision: Result<Decision, Invalid>,
    agenda: Agenda<W>,
    under_way: UnderWay,
    /// What was written down by now.
    recorded: Vec<Record>,
}

/// What the shell was told to do, and has not answered.
#[derive(Debug, Clone, Default)]
enum UnderWay {
    #[default]
    Nothing,
    Write,
    Record(Record),
    /// The steward was asked for a certificate that this node may be removed.
    Certificate(NodeId),
    /// It was given: the removal is next.
    Certified(NodeId, Epoch),
}

impl<W: Write> Round<W> {
    /// Begins to carry out what was decided on what was observed.
    pub fn new(
        memory: &mut Memory,
        observed: Observed,
        decision: Result<Decision, Invalid>,
        agenda: Agenda<W>,
    ) -> Self {
        memory.decided(&decision);
        Self { observed, decision, agenda, under_way: UnderWay::Nothing, recorded: vec![] }
    }

    /// The next thing to do. `None` = all is done, or what is left is not to be done: now it is reported.
    pub fn next_write(&mut self) -> Option<Next<W>> {
        let under_way = std::mem::replace(&mut self.under_way, UnderWay::Write);
        if let UnderWay::Certified(node, epoch) = under_way {
            return Some(Next::Change(AdminChange::Remove(node), Some(epoch), Guard::default()));
        }
        let Some(write) = self.agenda.pop() else {
            self.under_way = UnderWay::Nothing;
            return None;
        };
        let guard = Guard::of(&write);
        Some(match write.order() {
            None => Next::Write(write, guard),
            Some(Order::Record(record)) => {
                self.under_way = UnderWay::Record(record.clone());
                Next::Record(record)
            }
            Some(Order::Change(change)) => Next::Change(change, self.plan_epoch(), guard),
            Some(Order::Remove(node, incarnation)) => {
                self.under_way = UnderWay::Certificate(node);
                Next::Certify(node, incarnation, guard)
            }
        })
    }

    /// Takes what became of the last thing that was to be done: `Err` says why it was not done, or may not have been.
    pub fn heard(&mut self, answer: Result<Answer, String>) {
        match (std::mem::take(&mut self.under_way), answer) {
            (UnderWay::Certificate(node), Ok(answer)) => match certified(node, &answer) {
                Ok(epoch) => self.under_way = UnderWay::Certified(node, epoch),
                Err(why) => self.agenda.failed(why),
            },
            (UnderWay::Record(record), Ok(_)) => self.recorded.push(record),
            (UnderWay::Record(_), Err(_)) if is_planted(Planted::RecordNotAwaited) => {}
            (_, Ok(answer)) => {
                if answer == Answer::BudgetRenewed {
                    self.agenda.take_nothing_down();
                }
            }
            (_, Err(why)) => self.agenda.failed(why),
        }
    }

    /// The first thing that failed, in words.
    pub fn failure(&self) -> Option<&str> {
        self.agenda.failure()
    }

    /// The resource, slots and database as this round has observed them.
    pub fn observed(&self) -> &Observed {
        &self.observed
    }

    /// What this round has decided, or why the spec is invalid.
    pub fn decision(&self) -> &Result<Decision, Invalid> {
        &self.decision
    }

    /// The status after the round. `database` is the resource as it was last read or written. What was written down stays
    /// so, whatever has failed afterwards.
    pub fn report(&self, database: &DistributedDatabase, now: &Time) -> DistributedDatabaseStatus {
        let mut told = status(database, &self.observed, &self.decision, self.outcome(), now);
        self.recorded.iter().for_each(|record| record.write_to(&mut told));
        told
    }

    fn outcome(&self) -> Outcome<'_> {
        Outcome { failure: self.failure(), changing: self.agenda.changing() }
    }

    /// The map that the plan was made on.
    pub fn plan_epoch(&self) -> Option<Epoch> {
        self.plan().and_then(|plan| plan.based_on.epoch)
    }

    fn plan(&self) -> Option<&Plan> {
        self.decision.as_ref().ok().map(|decision| &decision.plan)
    }
}

/// The epoch of the certificate; or why there is none. An answer that is not one is never a yes.
fn certified(node: NodeId, answer: &Answer) -> Result<Epoch, String> {
    let why = match answer {
        Answer::Removal(Removal::Safe(certificate)) => return Ok(certificate.epoch),
        _ if is_planted(Planted::AnyAnswerCertifies) => return Ok(Epoch(0)),
        Answer::Removal(Removal::NotYet(reasons)) => {
            let reasons: Vec<String> = reasons.iter().take(REASONS_MAX).map(ToString::to_string).collect();
            reasons.join(", ")
        }
        Answer::Removal(Removal::Unknown { shards }) => format!("{} shards did not answer", shards.len()),
        Answer::Done | Answer::BudgetRenewed => "the answer is no certificate".to_owned(),
    };
    Err(format!("{node} cannot be removed yet: {why}"))
}

/// Of a place without objects: a step is carried out as it is.
impl Write for Step {
    fn order(&self) -> Option<Order> {
        match self {
            Self::Change(change) => Some(Order::Change(change.clone())),
            Self::RemoveNode { node, incarnation } => Some(Order::Remove(*node, *incarnation)),
            Self::Record(record) => Some(Order::Record(record.clone())),
            Self::AddSlot { .. }
            | Self::Found { .. }
            | Self::RestartNode { .. }
            | Self::ReplaceVolume { .. }
            | Self::RemoveSlot { .. } => None,
        }
    }

    fn gives_up(&self) -> GivesUp {
        match self {
            // Where there are no objects, volumes are set aside and stay.
            Self::RestartNode { .. } | Self::ReplaceVolume { .. } | Self::RemoveSlot { .. } => GivesUp::Process,
            Self::Record(_) | Self::AddSlot { .. } | Self::Change(_) | Self::RemoveNode { .. } | Self::Found { .. } => {
                GivesUp::Nothing
            }
        }
    }
}

#[cfg(test)]
mod tests;
