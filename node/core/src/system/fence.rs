//! Which fencing tokens can be: the highest is kept for ever, so one that no later operator reaches would keep them all out.

use super::{SystemCommand, SystemRefusal, SystemState};
use crate::planted::{Planted, is_planted};
use crate::time::Now;

/// A token may be so far above the highest that was seen: more hand-overs between operators than there ever are.
const JUMP_MAX: u64 = 1_000_000;
const MINUTE_MS: u64 = 60_000;

impl SystemState {
    /// Refuses a command whose token is far above the highest seen and far above the minutes since 1970, at which the
    /// tokens of a new Lease begin.
    ///
    /// Asked before a command is proposed, since its answer depends on a clock; what was proposed is not looked at again.
    pub(crate) fn refuse_token(&self, command: &SystemCommand, now: Now) -> Option<SystemRefusal> {
        let SystemCommand::Admin { fence, .. } = command else { return None };
        let allowed = self.token.saturating_add(JUMP_MAX).max(2 * (now.wall_ms / MINUTE_MS));
        let is_refused = fence.token > allowed && !is_planted(Planted::TokenUnbounded);
        is_refused.then_some(SystemRefusal::TokenTooHigh { token: fence.token, allowed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ClusterId;
    use crate::map::MoveLimits;
    use crate::system::{AdminChange, Fence, NewNode};

    /// Minutes since 1970 at some time in the year 2026.
    const MINUTES: u64 = 29_500_000;

    fn order(token: u64) -> SystemCommand {
        let change = AdminChange::SetLimits(MoveLimits { moves_per_node: 3, ..MoveLimits::default() });
        SystemCommand::Admin { fence: Fence { token, based_on: None }, change }
    }

    fn state() -> SystemState {
        let first = NewNode { volume: "v1".into(), address: "a:1".into(), zone: String::new() };
        SystemState::bootstrap(ClusterId("shop".into()), &first)
    }

    fn at(minutes: u64) -> Now {
        Now { monotonic_ms: 0, wall_ms: minutes * MINUTE_MS }
    }

    #[test]
    fn a_token_is_bounded_by_the_highest_seen_and_by_the_clock() {
        let mut state = state();
        let refused = |state: &SystemState, token| state.refuse_token(&order(token), at(MINUTES)).is_some();
        assert!(!refused(&state, MINUTES) && !refused(&state, 2 * MINUTES));
        assert!(refused(&state, 2 * MINUTES + 1) && refused(&state, u64::MAX));
        state.apply(&order(2 * MINUTES)).unwrap();
        assert!(!refused(&state, 2 * MINUTES + JUMP_MAX) && refused(&state, 2 * MINUTES + JUMP_MAX + 1));
        // What is there already is no reason to refuse who has it.
        state.apply(&order(u64::MAX)).unwrap();
        assert!(!refused(&state, u64::MAX));
    }

    #[test]
    fn a_clock_that_stands_at_its_beginning_leaves_the_jump() {
        assert!(state().refuse_token(&order(JUMP_MAX), at(0)).is_none());
        let refused = state().refuse_token(&order(JUMP_MAX + 1), at(0));
        assert_eq!(refused, Some(SystemRefusal::TokenTooHigh { token: JUMP_MAX + 1, allowed: JUMP_MAX }));
    }

    #[cfg(feature = "planted")]
    #[test]
    fn without_the_bound_one_order_keeps_every_later_operator_out() {
        crate::planted::plant(Some(Planted::TokenUnbounded));
        let mut state = state();
        assert_eq!(state.refuse_token(&order(u64::MAX), at(MINUTES)), None);
        crate::planted::plant(None);
        state.apply(&order(u64::MAX)).unwrap();
        assert!(matches!(state.apply(&order(MINUTES)), Err(SystemRefusal::Fenced { .. })));
    }
}
