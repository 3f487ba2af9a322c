//! Holds the Lease, and says whether this operator may write. It stops believing so before anybody else may begin to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::{Api, Client};
use skerry_api::DistributedDatabase;
use skerry_core::ids::ClusterId;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::lease::{DURATION, Move, next, past};

/// Name of the Lease that operators hold to lead.
pub const LEASE: &str = "skerry-operator";
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
    /// Lease of its own, and of the two only one may be heard.
    pub fn is_fenced_by(&self, cluster: &ClusterId, token: u64) {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner).get(cluster).copied();
        if taken.is_some_and(|taken| taken < token) {
            warn!(%cluster, token, "another operator, with a Lease of its own, gives the database orders: stop one of them");
            return;
        }
        if past(token, Timestamp::now()).is_none() {
            warn!(%cluster, token, "the database has seen a fencing token that no Lease is raised to");
            return;
        }
        if self.fenced_by.fetch_max(token, Ordering::Relaxed) < token {
            warn!(token, "a database has seen a higher fencing token: the lease is to be raised past it");
        }
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

/// Keeps the Lease, if it can be had, until it is told to stop; then it gives it up, so that the next one need not wait.
#[derive(Debug)]
pub struct Keeper {
    leases: Api<Lease>,
    databases: Api<DistributedDatabase>,
    identity: String,
    publish: watch::Sender<Option<Term>>,
    fenced_by: Arc<AtomicU64>,
    /// The Lease as it was last seen to change, and when.
    seen: Option<(Lease, Instant)>,
    /// Since when there is no Lease. `None` = there was one at the last look.
    missing: Option<Instant>,
}

impl Keeper {
    /// Of the Lease in this namespace, for whoever looks after the databases of `watched`, or of all namespaces if that is empty.
    pub fn new(client: Client, namespace: &str, watched: &str, identity: &str) -> (Self, Leadership) {
        let (publish, term) = watch::channel(None);
        let databases = match watched {
            "" => Api::all(client.clone()),
            watched => Api::namespaced(client.clone(), watched),
        };
        let leases = Api::namespaced(client, namespace);
        let (identity, fenced_by) = (identity.to_owned(), Arc::<AtomicU64>::default());
        let leadership = Leadership { term, fenced_by: Arc::clone(&fenced_by), taken: Arc::default() };
        (Self { leases, databases, identity, publish, fenced_by, seen: None, missing: None }, leadership)
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
        let seen = self.leases.get_opt(LEASE).await?;
        let unchanged = match &seen {
            Some(lease) => self.unchanged(lease, began),
            None => self.away(began).await,
        };
        match next(seen.as_ref(), &self.identity, unchanged, fence(&self.fenced_by), Timestamp::now()) {
            Move::Wait => {
                if self.publish.send_replace(None).is_some() {
                    warn!("another operator leads");
                }
            }
            Move::Take { spec, token } => {
                let written = self.write(seen, *spec).await?;
                self.seen = Some((written, began));
                let until = began + DURATION - MARGIN;
                if self.publish.send_replace(Some(Term { token, until })).is_none_or(|term| term.token != token) {
                    info!(token, "this operator leads");
                }
            }
        }
        Ok(())
    }

    /// For how long the Lease has looked the same.
    fn unchanged(&mut self, lease: &Lease, now: Instant) -> Duration {
        self.missing = None;
        match &self.seen {
            Some((before, since)) if before.spec == lease.spec => now - *since,
            Some(_) | None => {
                self.seen = Some((lease.clone(), now));
                Duration::ZERO
            }
        }
    }

    /// For how long there was no Lease; as long as one lasts if nobody else can hold it: this operator does, or none was ever
    /// at work here.
    async fn away(&mut self, now: Instant) -> Duration {
        self.seen = None;
        let leads = self.publish.borrow().is_some_and(|term| Instant::now() < term.until);
        let first = *self.missing.get_or_insert(now);
        if leads || !self.was_at_work().await { DURATION } else { now - first }
    }

    /// True if an operator has looked at a database before, as far as is known: whoever looks writes its status.
    async fn was_at_work(&self) -> bool {
        let few = ListParams::default().limit(DATABASES_ASKED);
        let Ok(Ok(there)) = timeout(REQUEST_MAX, self.databases.list(&few)).await else { return true };
        let are_all = there.metadata.continue_.as_deref().unwrap_or_default().is_empty();
        !are_all || there.items.iter().any(|database| database.status.is_some())
    }

    async fn write(&self, seen: Option<Lease>, spec: LeaseSpec) -> Result<Lease, kube::Error> {
        let metadata = ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() };
        let is_there = seen.is_some();
        let mut lease = seen.unwrap_or_else(|| Lease { metadata, ..Lease::default() });
        lease.spec = Some(spec);
        // The version that was seen goes with it: of two that want it, one gets it.
        match is_there {
            true => self.leases.replace(LEASE, &PostParams::default(), &lease).await,
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
        lease.spec.get_or_insert_default().holder_identity = Some(String::new());
        match timeout(REQUEST_MAX, self.leases.replace(LEASE, &PostParams::default(), &lease)).await {
            Ok(Ok(_)) => info!("the lease is given up"),
            Ok(Err(error)) => warn!(%error, "failed to give the lease up: it runs out by itself"),
            Err(_) => warn!("the lease could not be given up in time: it runs out by itself"),
        }
    }
}
