//! The decision: validate, then what is desired, then what to do about it.

use skerry_api::DistributedDatabase;

use crate::desired::{Desired, desired, zone_counts};
use crate::environment::Environment;
use crate::observed::Observed;
use crate::plan::{Plan, plan};
use crate::validate::{Invalid, Validated, validate};

/// All that was decided, and on what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The resource after its checks.
    pub validated: Validated,
    /// The slots, tables and settings that the spec asks for.
    pub desired: Desired,
    /// The steps that lead there, and what they wait for.
    pub plan: Plan,
}

/// Decides. A resource that cannot be carried out is a decision too: nothing is done, and the reasons are told.
pub fn decide(
    database: &DistributedDatabase,
    environment: &Environment,
    observed: &Observed,
) -> Result<Decision, Invalid> {
    let validated = validate(database, environment)?;
    let slots = observed.slots.known().into_iter().flat_map(|slots| slots.values());
    let desired = desired(&validated, &zone_counts(slots.map(|slot| slot.zone.as_str())));
    let plan = plan(&validated, &desired, observed);
    Ok(Decision { validated, desired, plan })
}
