//! The scenarios: what a user of the operator does and what befalls a cluster, each on a database of its own, with the checker
//! beside it.
//!
//! A scenario changes only its own namespace, the lab's hosts and the operator; it may leave hosts down when it fails: `mend`
//! starts them again. Whatever is waited for has a limit, and clients' answers are checked from the start to the end.

mod await_condition;
mod checker;
mod clumsy_hands;
mod command_line;
mod dump;
mod hosts;
mod judge;
mod kube;
mod objects;
mod operator;
mod report;
mod retag;
mod stage;
mod value;

mod autoscaler;
mod back_doors;
mod bad_edits;
mod broken_image;
mod drain_host;
mod force_deleted_pod;
mod full_disk;
mod host_crash_and_return;
mod host_cut_off;
mod host_lost;
mod image_change;
mod import_flights;
mod install_and_ready;
mod majority_lost;
mod operator_gone;
mod operator_killed_midway;
mod refused_specs;
mod replication_factor;
mod rolling_restart;
mod scale_out_and_in;
mod upgrade_and_reinstall;
mod zone_crash_and_return;

use anyhow::Result;

pub use await_condition::{interrupt, is_interrupted};
pub use dump::{dump, last_warnings};
pub use hosts::{mend, remove};
pub use kube::Kube;
pub use operator::install;
pub use report::{Outcome, markdown, table};
pub use retag::retag;
pub use stage::{Setup, Stage};

/// Namespace that the operator is installed in.
pub const OPERATOR_NAMESPACE: &str = "skerry-system";

/// One end-to-end test: what it is called, what it shows, and the code that does it.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Name of the scenario.
    pub name: &'static str,
    /// What the scenario shows, as a claim.
    pub claim: &'static str,
    /// True if nothing may run beside it: it breaks hosts, or changes the operator. Others keep to their own namespace.
    pub is_alone: bool,
    /// Runs the scenario. An error = it failed.
    pub run: fn(&mut Stage<'_>) -> Result<()>,
}

/// All of them; those that take the least time come first.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "install_and_ready",
        claim: "the quickstart is ready within a minute, and its columns say so",
        is_alone: false,
        run: install_and_ready::run,
    },
    Scenario {
        name: "refused_specs",
        claim: "what cannot be is refused with a reason, and leaves the database as it was",
        is_alone: false,
        run: refused_specs::run,
    },
    Scenario {
        name: "bad_edits",
        claim: "a spec that cannot run says why, costs clients nothing, and is corrected by editing it",
        is_alone: false,
        run: bad_edits::run,
    },
    Scenario {
        name: "back_doors",
        claim: "nobody takes nodes or volumes away behind the operator's back, unless the glass is broken",
        is_alone: false,
        run: back_doors::run,
    },
    Scenario {
        name: "clumsy_hands",
        claim: "a deleted Service, a resource deleted without what it owned, and a Lease from a backup cost nothing",
        is_alone: true,
        run: clumsy_hands::run,
    },
    Scenario {
        name: "autoscaler",
        claim: "an autoscaler finds its target and scales it",
        is_alone: false,
        run: autoscaler::run,
    },
    Scenario {
        name: "force_deleted_pod",
        claim: "a pod deleted by force comes back with its volume",
        is_alone: false,
        run: force_deleted_pod::run,
    },
    Scenario {
        name: "drain_host",
        claim: "a host can be drained, one at a time",
        is_alone: true,
        run: drain_host::run,
    },
    Scenario {
        name: "rolling_restart",
        claim: "a restart goes node by node",
        is_alone: false,
        run: rolling_restart::run,
    },
    Scenario {
        name: "image_change",
        claim: "another image is rolled out node by node",
        is_alone: false,
        run: image_change::run,
    },
    Scenario {
        name: "broken_image",
        claim: "an image that is not there stops at the first node, and is corrected",
        is_alone: false,
        run: broken_image::run,
    },
    Scenario {
        name: "replication_factor",
        claim: "copies go from 3 to 5 and back",
        is_alone: false,
        run: replication_factor::run,
    },
    Scenario {
        name: "scale_out_and_in",
        claim: "nodes go from 3 to 5 and back, also midway, with the fewest moves",
        is_alone: false,
        run: scale_out_and_in::run,
    },
    Scenario {
        name: "operator_gone",
        claim: "without an operator clients go on",
        is_alone: true,
        run: operator_gone::run,
    },
    Scenario {
        name: "operator_killed_midway",
        claim: "another operator ends what the first began",
        is_alone: true,
        run: operator_killed_midway::run,
    },
    Scenario {
        name: "upgrade_and_reinstall",
        claim: "an upgrade of the operator restarts no node; an uninstall leaves databases as they are",
        is_alone: true,
        run: upgrade_and_reinstall::run,
    },
    Scenario {
        name: "host_crash_and_return",
        claim: "a host that crashes and returns loses nothing",
        is_alone: true,
        run: host_crash_and_return::run,
    },
    Scenario {
        name: "zone_crash_and_return",
        claim: "a zone that crashes and returns loses nothing",
        is_alone: true,
        run: zone_crash_and_return::run,
    },
    Scenario {
        name: "host_lost",
        claim: "a host that is gone for good is replaced; with a majority gone the database goes on from what is left",
        is_alone: true,
        run: host_lost::run,
    },
    Scenario {
        name: "host_cut_off",
        claim: "a host that is cut off, also one way only, holds nobody up",
        is_alone: true,
        run: host_cut_off::run,
    },
    Scenario {
        name: "full_disk",
        claim: "a disk that is suddenly full stops its node and the puts of its shards, not reads, until there is room",
        is_alone: true,
        run: full_disk::run,
    },
    Scenario {
        name: "import_flights",
        claim: "a year of flights is imported into both kinds of table, and found there",
        is_alone: false,
        run: import_flights::run,
    },
];
