//! Holds the Lease, and says whether this operator may write. It stops believing so before anybody else may begin to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::runtime::events::{EventType, Recorder};
use kube::{Api, Client};
use skerry_api::DistributedDatabase;
use skerry_core::ids::ClusterId;
use skerry_operator_core::planted::{Planted, is_planted};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::events;
use crate::lease::{COMMON, DURATION, Move, Own, earlier, given_up, is_of_another, next, past};

/// Time between two looks at the Lease.
const PERIOD: Duration = Duration::from_secs(2);
/// Longest time that one request for the Lease may take.
const REQUEST_MAX: Duration = Duration::from_secs(3);
/// Between the end of this operator's belief and the earliest moment at which another may hold the Lease: for writes
/// that are on their way.
const MARGIN: Duration = Duration::from_secs(3);
/// So many databases are asked for whether an operator has ever looked at one.
const DATABASES_ASKED: u32 = 100;
/// Far more databases than one operator looks after.
const DATABASES_MAX: usize = 100_000;

/// The right to write, for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// Goes into every admin write; a database takes none with a lower one than it has seen.
    pub token: u64,
    until: Instant,
}

/// This operator may not write any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the Lease is lost: another operator may be acting")]
pub struct LeaseLost;

/// Says whether this operator may write. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Leadership {
    term: watch::Receiver<Option<Term>>,
    /// The highest token that a database has refused this operator for; 0 = none.
    fenced_by: Arc<AtomicU64>,
    /// The highest token that each database has taken from this operator, since it leads.
    taken: Arc<Mutex<HashMap<ClusterId, u64>>>,
}

impl Leadership {
    /// The token to write with. To be asked right before every write.
    pub fn token(&self) -> Result<u64, LeaseLost> {
        let term = *self.term.borrow();
        term.filter(|term| Instant::now() < term.until).map(|term| term.token).ok_or(LeaseLost)
    }

    /// A database has taken an order with this token.
    pub fn was_taken(&self, cluster: &ClusterId, token: u64) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() >= DATABASES_MAX {
            taken.clear();
        }
        let highest = taken.entry(cluster.clone()).or_default();
        *highest = token.max(*highest);
    }

    /// A database has seen this token, and takes no lower one. Whoever holds the Lease raises its own past that. Unless the
    /// database has taken a lower one from this operator while it led: then another one leads at the same time, with a
    /// Lease of its own, and of the two only one may be heard. Returns what a person is to do. `None` = nothing.
    pub fn is_fenced_by(&self, cluster: &ClusterId, token: u64) -> Option<String> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner).get(cluster).copied();
        let advice = if taken.is_some_and(|taken| taken < token) {
            "another operator, with a Lease of its own, gives the database orders: stop one of them, then restart the pods of the other".to_owned()
        } else if past(token, Timestamp::now()).is_none() {
            let next = token.saturating_add(1);
            format!(
                "no operator raises its Lease so far: if no other one is at work, set spec.leaseTransitions of the Lease to {next}"
            )
        } else {
            if self.fenced_by.fetch_max(token, Ordering::Relaxed) < token {
                warn!(token, "a database has seen a higher fencing token: the lease is to be raised past it");
            }
            return None;
        };
        warn!(%cluster, token, advice, "the database has seen a higher fencing token");
        Some(advice)
    }

    /// What the Lease is to be raised past. `None` = no database has refused this operator.
    pub fn fence(&self) -> Option<u64> {
        fence(&self.fenced_by)
    }

    /// Leadership that lasts, for tests and for those who run one operator alone.
    pub fn forever(token: u64) -> Self {
        let until = Instant::now() + Duration::from_secs(365 * 24 * 3_600);
        let (fenced_by, taken) = Default::default();
        Self { term: watch::channel(Some(Term { token, until })).1, fenced_by, taken }
    }

    /// Until this operator leads, or whoever holds the Lease for it has ended.
    pub async fn begun(&mut self) -> Option<Term> {
        let term = self.term.wait_for(Option::is_some).await.ok().and_then(|term| *term);
        // Another one may have led meanwhile.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clear();
        term
    }

    /// Until this operator no longer leads.
    pub async fn ended(&mut self) {
        loop {
            let until = match *self.term.borrow_and_update() {
                Some(term) if Instant::now() < term.until => term.until,
                _ => return,
            };
            tokio::select! {
                changed = self.term.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }
}

/// The highest token that a database has refused this operator for. `None` = none has.
fn fence(fenced_by: &AtomicU64) -> Option<u64> {
    Some(fenced_by.load(Ordering::Relaxed)).filter(|token| *token > 0)
}

/// Which Lease is sought, by whom and for what.
#[derive(Debug, Clone)]
pub struct LeaseConfig {
    /// Where the Lease is.
    pub namespace: String,
    /// Name of the Lease. Two operators of one Lease never act at the same time.
    pub name: String,
    /// Names this operator in the Lease: its pod.
    pub identity: String,
    /// Namespace whose databases it looks after. Empty = all.
    pub watched: String,
}

/// A Lease as it was last seen to change, and when.
type Sighting = Option<(Lease, Instant)>;

/// When a look was sent, and when its answer came. What was found was so at some time in between.
#[derive(Debug, Clone, Copy)]
struct Looked {
    asked: Instant,
    answered: Instant,
}

impl Looked {
    /// For how long something was so for certain, of which an earlier look was answered then: of a slow look nobody knows
    /// how old its answer was.
    fn since(self, answered: Instant) -> Duration {
        self.asked.saturating_duration_since(answered)
    }
}

/// Keeps the Lease, if it can be had, until it is told to stop; then it gives it up, so that the next one need not wait.
pub struct Keeper {
    leases: Api<Lease>,
    databases: Api<DistributedDatabase>,
    config: LeaseConfig,
    /// Tells people of it. `None` = nobody is told.
    recorder: Option<Recorder>,
    publish: watch::Sender<Option<Term>>,
    fenced_by: Arc<AtomicU64>,
    seen: Sighting,
    /// The Lease that all operators once had in common, where this one has its own.
    common: Sighting,
    /// Resource version of the Lease at the last look. `None` = there was none, or it is no number.
    version: Option<u64>,
    /// When the Lease was seen to have gone back while this operator did not lead. `None` = never.
    gone_back_at: Option<Instant>,
    /// Since when there is no Lease. `None` = there was one at the last look.
    missing: Option<Instant>,
    /// The Lease and the holder that this operator was last said to wait for.
    waits_for: Option<(String, String)>,
}

impl Keeper {
    /// Of this Lease.
    pub fn new(client: Client, config: LeaseConfig, recorder: Option<Recorder>) -> (Self, Leadership) {
        let (publish, term) = watch::channel(None);
        let databases = match config.watched.as_str() {
            "" => Api::all(client.clone()),
            watched => Api::namespaced(client.clone(), watched),
        };
        let leases = Api::namespaced(client, &config.namespace);
        let fenced_by = Arc::<AtomicU64>::default();
        let leadership = Leadership { term, fenced_by: Arc::clone(&fenced_by), taken: Arc::default() };
        let (seen, common, version, gone_back_at, missing, waits_for) = Default::default();
        let keeper = Self {
            leases,
            databases,
            config,
            recorder,
            publish,
            fenced_by,
            seen,
            common,
            version,
            gone_back_at,
            missing,
            waits_for,
        };
        (keeper, leadership)
    }

    /// Seeks and keeps the Lease until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken, beat: Arc<dyn Fn() + Send + Sync>) {
        let mut rounds = interval(PERIOD);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(rounds.tick()).await.is_some() {
            match timeout(2 * REQUEST_MAX, self.round()).await {
                Ok(Ok(())) => beat(),
                Ok(Err(error)) => warn!(%error, "failed to look after the lease"),
                Err(_) => warn!("the lease could not be looked after in time"),
            }
        }
        self.give_up().await;
    }

    async fn round(&mut self) -> Result<(), kube::Error> {
        let began = Instant::now();
        if let Some(holder) = self.earlier().await? {
            self.stand_by(COMMON, &holder).await;
            return Ok(());
        }
        let asked = Instant::now();
        let seen = self.leases.get_opt(&self.config.name).await?;
        let looked = Looked { asked, answered: Instant::now() };
        if seen.as_ref().is_some_and(|lease| self.went_back(lease)) {
            let is_held_by_none_else = |lease: &Lease| ["", &self.config.identity].contains(&holder(lease));
            if !self.leads() {
                self.gone_back_at = Some(looked.answered);
            } else if let Some(lease) = seen.filter(is_held_by_none_else) {
                // This operator led until now: nobody need be waited for.
                self.seen = began.checked_sub(DURATION).map(|before| (lease, before));
            }
            // A watch goes on from the version that it has seen last, and says nothing of what is below.
            self.publish.send_replace(None);
            warn!("Kubernetes' own store has gone back to an earlier state: the watches begin anew");
            return Ok(());
        }
        let unchanged = match &seen {
            Some(lease) => {
                self.missing = None;
                unchanged(&mut self.seen, lease, looked)
            }
            None => self.away(looked).await,
        };
        let own = Own { identity: &self.config.identity, leads: self.leads(), fenced_by: fence(&self.fenced_by) };
        let step = next(seen.as_ref(), own, unchanged, Timestamp::now());
        // Whoever holds a Lease that has gone back may be another than it says, and not know it yet.
        let may_be_held = self.gone_back_at.is_some_and(|at| looked.since(at) < DURATION);
        match step {
            Move::Take { .. } if may_be_held && !is_planted(Planted::GoneBackTakenAtOnce) => {
                self.stand_by(&self.config.name.clone(), "").await;
            }
            Move::Wait => {
                let holder = seen.as_ref().map(holder).unwrap_or_default().to_owned();
                self.stand_by(&self.config.name.clone(), &holder).await;
            }
            Move::Take { spec, token } => {
                let written = self.write(seen, *spec).await?;
                self.version = version(&written);
                self.seen = Some((written, began));
                self.waits_for = None;
                let until = began + DURATION - MARGIN;
                if self.publish.send_replace(Some(Term { token, until })).is_none_or(|term| term.token != token) {
                    info!(lease = self.config.name, token, "this operator leads");
                }
            }
        }
        Ok(())
    }

    /// The holder of the Lease that all operators once had in common, where that is a pod of an earlier release of this very
    /// operator, or may be: this one waits for it, and makes way for it.
    async fn earlier(&mut self) -> Result<Option<String>, kube::Error> {
        if self.config.name == COMMON || is_planted(Planted::EarlierReleaseIgnored) {
            return Ok(None);
        }
        let asked = Instant::now();
        let common = match self.leases.get_opt(COMMON).await {
            // The pods of the earlier release have the same rights. They hold it no more, and may not know it yet.
            Err(kube::Error::Api(refused)) if refused.code == 403 => Some(Lease::default()),
            common => common?,
        };
        let looked = Looked { asked, answered: Instant::now() };
        let unchanged = common.as_ref().map(|lease| unchanged(&mut self.common, lease, looked));
        if unchanged.is_none() {
            self.common = None;
        }
        let holder = earlier(common.as_ref(), &self.config.identity, unchanged.unwrap_or_default());
        Ok(holder.map(str::to_owned))
    }

    /// True if the Lease is of a version before the one that was seen: Kubernetes' store was restored from an older copy.
    fn went_back(&mut self, lease: &Lease) -> bool {
        let before = std::mem::replace(&mut self.version, version(lease));
        self.version.zip(before).is_some_and(|(now, before)| now < before) && !is_planted(Planted::WatchesGoOn)
    }

    /// Waits for who holds this Lease, and says so once.
    async fn stand_by(&mut self, lease: &str, holder: &str) {
        if self.publish.send_replace(None).is_some() {
            warn!("another operator leads");
        }
        let waits_for = (lease.to_owned(), holder.to_owned());
        if self.waits_for.as_ref() == Some(&waits_for) {
            return;
        }
        self.waits_for = Some(waits_for);
        if !is_of_another(holder, &self.config.identity) {
            return info!(lease, holder, "this operator stands by: it waits for the lease");
        }
        let databases = match self.config.watched.as_str() {
            "" => "any database".to_owned(),
            watched => format!("the databases of namespace {watched}"),
        };
        let note = format!(
            "{holder} of another release holds the Lease {lease}: unless it looks after {databases}, nobody does; give each \
             release a Lease of its own. {} waits",
            self.config.identity
        );
        let of = ObjectReference {
            api_version: Some("coordination.k8s.io/v1".to_owned()),
            kind: Some("Lease".to_owned()),
            name: Some(lease.to_owned()),
            namespace: Some(self.config.namespace.clone()),
            ..ObjectReference::default()
        };
        warn!(lease, holder, watched = self.config.watched, "another release holds the lease: nothing is looked after");
        events::publish(self.recorder.as_ref(), &of, EventType::Warning, ("LeaseOfAnotherRelease", note)).await;
    }

    /// For how long there was no Lease; as long as one lasts if nobody else can hold it: this operator does, or none was ever
    /// at work here.
    async fn away(&mut self, looked: Looked) -> Duration {
        self.seen = None;
        let leads = self.leads();
        let first = *self.missing.get_or_insert(looked.answered);
        if leads || !self.was_at_work().await { DURATION } else { looked.since(first) }
    }

    fn leads(&self) -> bool {
        self.publish.borrow().is_some_and(|term| Instant::now() < term.until)
    }

    /// True if an operator has looked at a database before, as far as is known: whoever looks writes its status.
    async fn was_at_work(&self) -> bool {
        let few = ListParams::default().limit(DATABASES_ASKED);
        let Ok(Ok(there)) = timeout(REQUEST_MAX, self.databases.list(&few)).await else { return true };
        let are_all = there.metadata.continue_.as_deref().unwrap_or_default().is_empty();
        !are_all || there.items.iter().any(|database| database.status.is_some())
    }

    async fn write(&self, seen: Option<Lease>, spec: LeaseSpec) -> Result<Lease, kube::Error> {
        let metadata = ObjectMeta { name: Some(self.config.name.clone()), ..ObjectMeta::default() };
        let is_there = seen.is_some();
        let mut lease = seen.unwrap_or_else(|| Lease { metadata, ..Lease::default() });
        lease.spec = Some(spec);
        // The version that was seen goes with it: of two that want it, one gets it.
        match is_there {
            true => self.leases.replace(&self.config.name, &PostParams::default(), &lease).await,
            false => self.leases.create(&PostParams::default(), &lease).await,
        }
    }

    async fn give_up(&mut self) {
        if self.publish.send_replace(None).is_none() {
            return;
        }
        let Some((mut lease, _)) = self.seen.take() else { return };
        // A write that is on its way is made, or not, before another operator begins.
        tokio::time::sleep(MARGIN).await;
        lease.spec = Some(given_up(&lease.spec.take().unwrap_or_default(), Timestamp::now()));
        match timeout(REQUEST_MAX, self.leases.replace(&self.config.name, &PostParams::default(), &lease)).await {
            Ok(Ok(_)) => info!("the lease is given up"),
            Ok(Err(error)) => warn!(%error, "failed to give the lease up: it runs out by itself"),
            Err(_) => warn!("the lease could not be given up in time: it runs out by itself"),
        }
    }
}

/// For how long a Lease has looked the same.
fn unchanged(sighting: &mut Sighting, lease: &Lease, looked: Looked) -> Duration {
    match sighting {
        Some((before, since)) if before.spec == lease.spec => looked.since(*since),
        Some(_) | None => {
            *sighting = Some((lease.clone(), looked.answered));
            Duration::ZERO
        }
    }
}

/// Who holds a Lease. Empty = nobody does.
fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

/// The number of its resource version, which rises with every write to Kubernetes' store.
fn version(lease: &Lease) -> Option<u64> {
    lease.metadata.resource_version.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a slow look has found may have been written at its end.
    #[test]
    fn lease_has_looked_the_same_since_the_answer_that_showed_it_first() {
        let began = Instant::now();
        let looked = |asked, answered| Looked {
            asked: began + Duration::from_millis(asked),
            answered: began + Duration::from_millis(answered),
        };
        let (mut sighting, lease) = (None, Lease::default());
        assert_eq!(unchanged(&mut sighting, &lease, looked(0, 5_800)), Duration::ZERO);
        assert_eq!(unchanged(&mut sighting, &lease, looked(7_800, 9_900)), Duration::from_millis(2_000));
        assert_eq!(unchanged(&mut sighting, &lease, looked(5_000, 5_900)), Duration::ZERO);
    }
}
