//! What a look at the Lease tells this operator to do. A plain function on values; `leadership` carries it out.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use skerry_operator_core::planted::{Planted, is_planted};

/// A holder that has not renewed for so long has lost the Lease.
pub const DURATION: Duration = Duration::from_secs(10);

/// A Lease was given up within this, or else it may have come back with Kubernetes' restored store, and another operator hold
/// it that does not know so yet. Clocks of several hosts tell it: one that is wrong costs time, and no more.
const WRITTEN_LATELY: Duration = Duration::from_secs(60);

/// Seconds that a Lease is held which nobody holds.
const GIVEN_UP_SECONDS: i32 = 1;

/// Name of the Lease that all operators had in common before each Helm release got its own.
pub const COMMON: &str = "skerry-operator";

/// What to do about the Lease.
#[derive(Debug, Clone, PartialEq)]
pub enum Move {
    /// Hold it: write this, on the very Lease that was seen. `token` is what it makes this holder's.
    Take {
        /// The Lease's spec to write.
        spec: Box<LeaseSpec>,
        /// Fencing token of the new term. It rises with each holder.
        token: u64,
    },
    /// Another operator holds the Lease: wait.
    Wait,
}

/// What an operator knows of itself.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// Its name in the Lease: that of its pod.
    pub identity: &'a str,
    /// True if this very process holds the Lease, and has renewed it in time.
    pub leads: bool,
    /// The highest token that a database has refused it for: a Lease may have come back as it was long before, with
    /// Kubernetes' own store. `None` = none has.
    pub fenced_by: Option<u64>,
}

/// What is to be done on this Lease. `None` = there is none. `unchanged` is for how long, on this operator's own clock,
/// it has looked the same, or was not there: clocks of others are not trusted. Whatever does not say that its holder has given
/// it up, and lately, may have one who goes on for a moment: it may be deleted, edited by hand, or come back with Kubernetes'
/// restored store. So a process waits also for a Lease that names it, and begins with a token of its own.
pub fn next(seen: Option<&Lease>, own: Own<'_>, unchanged: Duration, now: Timestamp) -> Move {
    let Own { identity, leads, fenced_by } = own;
    let spec = seen.and_then(|lease| lease.spec.as_ref());
    let holder = spec.and_then(|s| s.holder_identity.as_deref()).filter(|h| !h.is_empty());
    let before = spec.and_then(|s| s.lease_transitions).unwrap_or_else(|| first_transition(now));
    let past_fence = fenced_by.and_then(|token| past(token, now)).unwrap_or(0);
    let is_free = spec.is_some_and(|spec| is_given_up(spec) && is_written_lately(spec, now));
    match holder {
        Some(holder) if holder == identity && leads => {
            take(identity, before.max(past_fence), spec.and_then(|s| s.acquire_time.clone()), now)
        }
        Some(_) if unchanged < DURATION => Move::Wait,
        None if unchanged < DURATION && !is_free => Move::Wait,
        Some(_) | None => take(identity, before.saturating_add(1).max(past_fence), None, now),
    }
}

/// The spec of a Lease whose holder gives it up. It says so by a term that has no length to speak of, as Kubernetes' own
/// client does: a name that is gone for another reason may be of a holder who goes on for a moment.
pub fn given_up(spec: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(GIVEN_UP_SECONDS),
        renew_time: Some(MicroTime(now)),
        ..spec.clone()
    }
}

fn is_given_up(spec: &LeaseSpec) -> bool {
    spec.lease_duration_seconds == Some(GIVEN_UP_SECONDS)
}

fn is_written_lately(spec: &LeaseSpec, now: Timestamp) -> bool {
    let age = spec.renew_time.as_ref().map(|written| now.duration_since(written.0).unsigned_abs());
    age.is_some_and(|age| age <= WRITTEN_LATELY) || is_planted(Planted::RestoredTakenAtOnce)
}

/// Who leads by the Lease that all operators once had in common, or may soon: a pod of this operator's own Deployment that
/// was started by an earlier release, and does not look at the Lease of this one. `None` = nobody who concerns this operator.
/// `unchanged` is for how long, on this operator's own clock, that Lease has looked the same.
pub fn earlier<'a>(common: Option<&'a Lease>, identity: &str, unchanged: Duration) -> Option<&'a str> {
    let spec = common?.spec.as_ref();
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    // One that was given up is taken by whoever looks first, which may be such a pod.
    let is_own = holder.is_empty() || !is_of_another(holder, identity);
    (is_own && unchanged < DURATION).then_some(holder)
}

/// True if both are names of pods, of two Deployments.
pub fn is_of_another(holder: &str, identity: &str) -> bool {
    deployment(holder).zip(deployment(identity)).is_some_and(|(holder, own)| holder != own)
}

/// The Deployment of a pod, by the pod's name, which ends with those of its ReplicaSet and of itself.
fn deployment(pod: &str) -> Option<&str> {
    pod.rsplitn(3, '-').nth(2).filter(|name| !name.is_empty())
}

/// The lowest transition past a token. `None` = no Lease is raised so far: it is that of many databases, of which those that
/// have seen no such token take it for a mistake, and would take no order any more.
pub fn past(token: u64, now: Timestamp) -> Option<i32> {
    let first = first_transition(now);
    // They take twice the minutes since 1970; the rest is for the holders to come.
    i32::try_from(token).ok().filter(|token| *token < first.saturating_add(first / 2)).map(|token| token + 1)
}

/// A Lease that is made anew begins at the minutes since 1970: past every token of one that was deleted, as holders do not
/// change every minute.
fn first_transition(now: Timestamp) -> i32 {
    i32::try_from(now.as_second() / 60).unwrap_or(i32::MAX)
}

fn take(identity: &str, transitions: i32, acquired: Option<MicroTime>, now: Timestamp) -> Move {
    let spec = LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        lease_transitions: Some(transitions),
        acquire_time: Some(acquired.unwrap_or(MicroTime(now))),
        renew_time: Some(MicroTime(now)),
        ..LeaseSpec::default()
    };
    Move::Take { spec: Box::new(spec), token: u64::try_from(transitions).unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds since 1970 at some time in the year 2026.
    const NOW: i64 = 1_780_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn lease(holder: &str, transitions: i32) -> Lease {
        let spec = LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_transitions: Some(transitions),
            renew_time: Some(MicroTime(at(NOW))),
            ..LeaseSpec::default()
        };
        Lease { spec: Some(spec), ..Lease::default() }
    }

    fn free(transitions: i32) -> Lease {
        let held = lease("a", transitions);
        Lease { spec: held.spec.map(|spec| given_up(&spec, at(NOW))), ..held }
    }

    const LEADER: Own<'static> = Own { identity: "a", leads: true, fenced_by: None };

    fn own(identity: &str) -> Own<'_> {
        Own { identity, leads: false, fenced_by: None }
    }

    fn token(step: Move) -> Option<u64> {
        match step {
            Move::Take { token, .. } => Some(token),
            Move::Wait => None,
        }
    }

    #[test]
    fn holder_renews_under_its_token_and_the_next_one_gets_a_higher() {
        assert_eq!(token(next(Some(&lease("a", 7)), LEADER, Duration::ZERO, at(NOW))), Some(7));
        assert_eq!(token(next(Some(&lease("a", 7)), own("b"), DURATION, at(NOW))), Some(8));
        assert_eq!(token(next(Some(&free(7)), own("b"), Duration::ZERO, at(NOW))), Some(8));
    }

    /// The name was written or taken out by hand, or is of the process before in this pod.
    #[test]
    fn lease_that_nobody_has_given_up_is_waited_for_whomever_it_names_and_led_with_a_token_of_its_own() {
        let short = DURATION - Duration::from_millis(1);
        for holder in ["a", "", "b"] {
            assert_eq!(next(Some(&lease(holder, 7)), own("a"), short, at(NOW)), Move::Wait, "{holder:?}");
            assert_eq!(token(next(Some(&lease(holder, 7)), own("a"), DURATION, at(NOW))), Some(8), "{holder:?}");
        }
    }

    /// It is as it was when Kubernetes' store was copied, and whoever held it since may not know it yet.
    #[test]
    fn lease_that_was_given_up_long_ago_is_waited_for() {
        let short = DURATION - Duration::from_millis(1);
        for now in [NOW - 61, NOW + 61] {
            assert_eq!(next(Some(&free(7)), own("a"), short, at(now)), Move::Wait);
        }
        assert_eq!(token(next(Some(&free(7)), own("a"), DURATION, at(NOW + 61))), Some(8));
    }

    #[test]
    fn lease_that_changes_is_never_taken() {
        assert_eq!(next(Some(&lease("a", 7)), own("b"), DURATION - Duration::from_millis(1), at(0)), Move::Wait);
    }

    #[test]
    fn holder_whom_a_database_refuses_for_a_higher_token_raises_its_own_past_that() {
        let fenced =
            |lease: &Lease, by| token(next(Some(lease), Own { fenced_by: Some(by), ..LEADER }, DURATION, at(NOW)));
        assert_eq!(fenced(&lease("a", 7), 11), Some(12));
        assert_eq!(fenced(&lease("a", 12), 11), Some(12));
        assert_eq!(fenced(&lease("b", 3), 11), Some(12));
        assert_eq!(
            next(Some(&lease("b", 3)), Own { fenced_by: Some(11), ..own("a") }, Duration::ZERO, at(0)),
            Move::Wait
        );
    }

    /// It kept the operator out of every other database, for ever.
    #[test]
    fn no_database_raises_the_token_past_what_the_others_take() {
        let minutes = u64::try_from(NOW / 60).unwrap();
        let raised =
            |by| token(next(Some(&lease("a", 7)), Own { fenced_by: Some(by), ..LEADER }, DURATION, at(NOW))).unwrap();
        assert_eq!(raised(minutes), minutes + 1);
        for by in [2 * minutes, 1 << 30, i32::MAX as u64, u64::MAX] {
            assert_eq!(raised(by), 7, "{by}");
        }
    }

    #[test]
    fn lease_that_was_deleted_does_not_set_the_token_back() {
        let before = token(next(None, own("a"), DURATION, at(60_000))).unwrap();
        assert!(token(next(None, own("b"), DURATION, at(60_060))).unwrap() > before);
    }

    #[test]
    fn lease_that_is_not_there_is_waited_for_as_long_as_one_that_is_held() {
        assert_eq!(next(None, own("a"), DURATION - Duration::from_millis(1), at(60_000)), Move::Wait);
    }

    #[test]
    fn transitions_that_a_person_has_raised_are_the_holders_own() {
        assert_eq!(
            token(next(Some(&lease("a", 40_000_000)), Own { fenced_by: Some(7), ..LEADER }, Duration::ZERO, at(NOW))),
            Some(40_000_000)
        );
    }

    #[test]
    fn an_earlier_release_of_the_same_deployment_is_waited_for_and_no_other_is() {
        let own = "shop-skerry-5d9c7b6f4-x2x4z";
        let seen = |holder: &str, unchanged| earlier(Some(&lease(holder, 1)), own, unchanged).map(str::to_owned);
        let old = "shop-skerry-7f8d6c5b4-abcde";
        assert_eq!(seen(old, Duration::ZERO).as_deref(), Some(old));
        assert_eq!(seen("", Duration::ZERO).as_deref(), Some(""), "another of them may take it");
        assert_eq!(seen("nobody", Duration::ZERO).as_deref(), Some("nobody"), "it is not known whose it is");
        for holder in [old, "", "nobody"] {
            assert_eq!(seen(holder, DURATION), None, "{holder}: whoever had it has ended");
        }
        for holder in ["skerry-7f8d6c5b4-abcde", "shop-skerry-b-7f8d6c5b4-abcde"] {
            assert_eq!(seen(holder, Duration::ZERO), None, "{holder}");
        }
        assert_eq!(earlier(Some(&Lease::default()), own, Duration::ZERO), Some(""), "it is not known who holds it");
        assert_eq!(earlier(None, own, Duration::ZERO), None);
    }
}
