//! What to do so that a database becomes what its resource says: plain functions on values.
//!
//! ```text
//! DistributedDatabase ─► validate ─► desired ─► plan ◄─ Observed
//!                                                │
//!                                     steps for the shell, and status
//! ```
//!
//! This room reads nothing and waits for nothing: the shell observes, calls [`decide`], carries the steps out in order,
//! and reports. It may do so as often as it likes, and die in between: the next plan goes on from what is there.
#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]

pub mod bootstrap;
mod decide;
mod desired;
mod environment;
mod eviction;
mod forecast;
mod health;
mod hosts;
pub mod kubernetes;
mod look_history;
mod observed;
mod plan;
pub mod planted;
mod round;
mod status;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tolerance;
mod under_way;
mod validate;
pub mod words;

pub use decide::{Decision, decide};
pub use desired::{Desired, DesiredTable, ZoneCounts, desired, desired_slots, zone_counts};
pub use environment::Environment;
pub use eviction::one_may_go;
pub use forecast::{Change, Forecast, Moves, forecast};
pub use health::{ShardNow, does_without, is_heard, needing, shards_now, unrest};
pub use look_history::{LookHistory, Watched};
pub use observed::{ClaimTemplate, Observed, Process, Running, Seen, Slot, SlotVolume};
pub use plan::{
    Agreement, BasedOn, Loss, Notes, Plan, Preview, PreviewError, Record, Seat, Step, TableChange, Until, Wait, plan,
    preview,
};
pub use round::{Agenda, Answer, Batch, Entry, GivesUp, Guard, Memory, Next, Order, Round, Write};
pub use status::{Outcome, condition, status, stopped};
pub use tolerance::Tolerance;
pub use under_way::UnderWay;
pub use validate::{AcceptedLoss, Approval, Invalid, Layout, Refusal, ReplaceRequest, Table, Validated, validate};
