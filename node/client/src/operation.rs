//! One operation on one shard: route it, send it, and try again for as long as that is safe and may help.

use std::time::Duration;

use bytes::Bytes;
use skerry_core::client::attempts::Sent;
use skerry_core::client::issuing::Issuing;
use skerry_core::client::progress::{Progress, Step};
use skerry_core::command::RequestId;
use skerry_core::ids::{Epoch, NodeId, TableId};
use skerry_core::map::{Descriptor, ShardRecord};
use skerry_core::time::Version;
use skerry_proto::v1;
use skerry_proto::v1::session_item::Op;
use skerry_proto::v1::session_result::Result as Answer;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::client::{Client, Inner};
use crate::retry::{Fault, jittered};
use crate::routes::{Routes, Standing, any_replica, toward_leader};
use crate::session::Submission;
use crate::wire::{Denial, QuorumDenial, linearizable};

/// A node that is silent for so long may be cut off from the others: ask again, and elsewhere. Asking again is safe.
pub(crate) const ATTEMPT_MAX: Duration = Duration::from_millis(1_500);
/// After so many failures in a row the map may be what is wrong.
const TRIES_BEFORE_REFRESH: u32 = 4;
/// Whoever has not answered for so long until an operation's time was up is taken for silent: the next operation asks another
/// one first. Of a shorter operation, half of its time. If it was only slow, that costs one redirection.
const SILENT_MIN: Duration = Duration::from_millis(300);

/// What an operation needs of the node that it goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// A write, or a read that must be linearizable.
    Leader,
    /// A read that any replica may serve, whatever it has.
    AnyReplica,
    /// A read that any replica may serve that is fresh enough. Mostly that is the leader.
    FreshReplica,
}

/// An operation: where it goes, and what is sent.
pub(crate) struct Operation<F> {
    pub(crate) table: TableId,
    /// Encoded key by which the shard is found.
    pub(crate) key: Bytes,
    pub(crate) from: From,
    /// Bytes of the keys and values that are sent.
    pub(crate) bytes: usize,
    /// With which copy it begins, where any will do. `None` = it takes its turn.
    pub(crate) turn: Option<usize>,
    /// When the requests of a write are issued; `None` = a read.
    pub(crate) issuing: Option<Issuing>,
    /// What is sent to the shard. `None` = it does not all lie in this shard.
    pub(crate) op: F,
}

/// When an operation began, and until when it goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) began: Instant,
    pub(crate) until: Instant,
}

impl Times {
    /// From now on for so long.
    pub(crate) fn lasting(duration: Duration) -> Self {
        let began = Instant::now();
        Self { began, until: began + duration }
    }

    /// The time since the operation began.
    pub(crate) fn now(self) -> Duration {
        self.began.elapsed()
    }

    /// True if a node that was asked then is taken for silent now that time is up.
    pub(crate) fn is_silent_since(self, asked: Instant) -> bool {
        is_silent(self.until.saturating_duration_since(asked), self.until.saturating_duration_since(self.began))
    }
}

fn is_silent(waited: Duration, whole: Duration) -> bool {
    waited >= SILENT_MIN.min(whole / 2)
}

/// The outcome of an operation that succeeded.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    /// The end of the shard that answered.
    pub(crate) shard_end: Option<Bytes>,
    /// Attempts that may have taken effect.
    pub(crate) attempts: u32,
}

/// The end of an operation that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) why: Why,
    /// True if a write may have taken effect all the same.
    pub(crate) may_have_happened: bool,
    /// Attempts that may have taken effect.
    pub(crate) attempts: u32,
    /// Nothing has happened, and the write may be taken if it is sent in parts.
    pub(crate) in_parts: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// The keys are not in one shard.
    Scattered,
    /// The table was dropped.
    NoTable,
    /// The last attempt failed in a way that another attempt does not help.
    Fault(Fault),
    /// Time is up. `None` = during the first attempt.
    Deadline(Option<Fault>),
}

/// Why an attempt did not end well.
pub(crate) enum Attempted {
    Fault(Fault),
    Scattered,
    NoTable,
    OutOfTime,
}

impl<T: Into<Fault>> std::convert::From<T> for Attempted {
    fn from(fault: T) -> Self {
        Self::Fault(fault.into())
    }
}

impl Client {
    /// Sends an operation to its shard, again and again until it succeeds, cannot succeed, or the time is up.
    pub(crate) async fn run<F>(&self, operation: Operation<F>, times: Times) -> Result<Answered, Failed>
    where
        F: Fn(&Descriptor, Option<RequestId>) -> Option<Op>,
    {
        let is_write = operation.issuing.is_some();
        let turn = operation.turn.unwrap_or_else(|| self.inner.coordinators.next_turn());
        let issuing = operation.issuing.unwrap_or_default();
        let mut progress = Progress::beginning_at(turn, issuing);
        let new_id =
            |progress: &Progress| is_write.then(|| self.inner.request_ids.next(&progress.issuing, times.now()));
        let mut request = new_id(&progress);
        let mut last = None;
        let failed = |why, progress: &Progress| {
            let may_have_happened = is_write && progress.uncertain;
            Err(Failed { why, may_have_happened, attempts: progress.asked, in_parts: false })
        };
        loop {
            let fault = match self.inner.attempt(&operation, request, &mut progress, times).await {
                Ok(answered) => return Ok(answered),
                Err(Attempted::Fault(fault)) => fault,
                Err(Attempted::Scattered) => return failed(Why::Scattered, &progress),
                Err(Attempted::NoTable) => return failed(Why::NoTable, &progress),
                Err(Attempted::OutOfTime) => return failed(Why::Deadline(last), &progress),
            };
            match progress.after(fault.failure(), fault.may_have_happened(), times.now()) {
                Step::Stop => return failed(Why::Fault(fault), &progress),
                Step::InParts => {
                    return failed(Why::Fault(fault), &progress).map_err(|failed| Failed { in_parts: true, ..failed });
                }
                Step::Again { pause, fresh_id } => {
                    let again = Instant::now() + jittered(pause);
                    if again >= times.until {
                        return failed(Why::Deadline(Some(fault)), &progress);
                    }
                    if !pause.is_zero() {
                        sleep_until(again).await;
                    }
                    if fresh_id {
                        request = new_id(&progress);
                        progress.sent = Sent::default();
                    }
                }
            }
            last = Some(fault);
        }
    }
}

impl Inner {
    async fn attempt<F>(
        &self,
        operation: &Operation<F>,
        request: Option<RequestId>,
        progress: &mut Progress,
        times: Times,
    ) -> Result<Answered, Attempted>
    where
        F: Fn(&Descriptor, Option<RequestId>) -> Option<Op>,
    {
        let routes = self.routes();
        let Some(shard) = routes.map.route(operation.table, &operation.key) else {
            self.refresh();
            let dropped = routes.map.tables.get(&operation.table).is_some_and(|table| table.dropped);
            return Err(if dropped { Attempted::NoTable } else { Fault::NoRoute.into() });
        };
        let descriptor = &shard.descriptor;
        let Some(op) = (operation.op)(descriptor, request) else {
            return Err(Attempted::Scattered);
        };
        let op = if progress.leader_only { linearizable(op) } else { op };
        let item = v1::SessionItem { id: 0, table_id: operation.table.0, op: Some(op) };
        let shard_end = descriptor.end.clone();
        if shard.quorum.is_some() {
            // Boxed: it is large, and operations on the other tables would carry it along.
            let asked = Box::pin(self.ask_copies((&routes, shard), (item, operation.bytes), progress, times));
            let answer = asked.await?;
            return Ok(Answered { answer, shard_end, attempts: progress.asked });
        }
        let Some(node) = self.target(&routes, descriptor, operation.from, progress) else {
            self.refresh();
            return Err(Fault::NoRoute.into());
        };
        progress.ask();
        let asked = Instant::now();
        match self.ask(node, item, operation.bytes, (asked + ATTEMPT_MAX, times.until)).await {
            Ok(answer) => {
                self.coordinators.trust_copy(node, descriptor.shard);
                if operation.from != From::AnyReplica {
                    self.leaders.learn(descriptor.shard, node);
                }
                Ok(Answered { answer, shard_end, attempts: progress.asked })
            }
            Err(Attempted::Fault(fault)) => {
                self.learn_of_replica((&routes, shard), (node, operation.from), &fault, progress);
                progress.failed(fault.may_have_happened());
                Err(fault.into())
            }
            Err(other) => {
                if matches!(other, Attempted::OutOfTime) {
                    progress.uncertain = true;
                    if times.is_silent_since(asked) {
                        let silent = Fault::Silent { node };
                        self.learn_of_replica((&routes, shard), (node, operation.from), &silent, progress);
                    }
                }
                Err(other)
            }
        }
    }

    fn target(&self, routes: &Routes, descriptor: &Descriptor, from: From, progress: &Progress) -> Option<NodeId> {
        let shard = descriptor.shard;
        let of_leader = |node| Standing {
            failures: progress.in_vain(node),
            is_shunned: self.coordinators.is_shunned(node, shard, Instant::now()),
            is_far: false,
        };
        let standing = |node| Standing { is_far: !self.is_near(routes, node), ..of_leader(node) };
        let from = if progress.leader_only { From::Leader } else { from };
        match from {
            From::Leader => toward_leader(descriptor, self.leaders.get(shard), of_leader),
            From::AnyReplica => any_replica(descriptor, progress.turn, standing),
            // Only a leader knows how old what it shows is.
            From::FreshReplica => toward_leader(descriptor, self.leaders.get(shard), standing),
        }
    }

    /// True if the node is in the client's own zone.
    pub(crate) fn is_near(&self, routes: &Routes, node: NodeId) -> bool {
        routes.is_in_zone(node, self.config.zone.as_deref())
    }

    /// Sends to a node and waits for its answer, for so long with this node, and for so long at all.
    pub(crate) async fn ask(
        &self,
        node: NodeId,
        item: v1::SessionItem,
        bytes: usize,
        (with_node, until): (Instant, Instant),
    ) -> Result<Answer, Attempted> {
        let attempt_until = until.min(with_node);
        let (reply, answer) = oneshot::channel();
        let outlet = self.sessions.to(node);
        let submission = Submission { item, bytes, reply };
        if let Err(full) = outlet.try_send(submission) {
            let sent = timeout_at(attempt_until, outlet.send(full.into_inner())).await;
            if !matches!(sent, Ok(Ok(()))) {
                return Err(Fault::Unreached { node }.into());
            }
        }
        match timeout_at(attempt_until, answer).await {
            Ok(Ok(Ok(Answer::Error(error)))) => Err(Denial::from_wire(error)?.into()),
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(_))) => Err(Fault::Unreached { node }.into()),
            Ok(Err(_)) => Err(Fault::Lost { node }.into()),
            Err(_) if attempt_until == until => Err(Attempted::OutOfTime),
            Err(_) => Err(Fault::Silent { node }.into()),
        }
    }

    /// What a fault tells of a node that was asked as one with a copy of a shard with a leader.
    fn learn_of_replica(
        &self,
        (routes, shard): (&Routes, &ShardRecord),
        (node, from): (NodeId, From),
        fault: &Fault,
        progress: &mut Progress,
    ) {
        progress.asked_in_vain(node);
        let is_of_leader = from == From::Leader || progress.leader_only;
        let (descriptor, now) = (&shard.descriptor, Instant::now());
        match fault {
            Fault::Unreached { .. } | Fault::Lost { .. } | Fault::Denied(Denial::Closing) => {
                self.coordinators.shun(node, now);
            }
            // A leader may also be silent since no majority answers it.
            Fault::Silent { .. } if from != From::AnyReplica => {
                self.coordinators.shun_copy(node, descriptor.shard, now);
            }
            Fault::Silent { .. } => self.coordinators.shun(node, now),
            // It has no records, and names any other copy, which need not lead.
            Fault::Denied(Denial::NotLeader { leader, .. }) if from == From::AnyReplica => {
                self.coordinators.shun_copy(node, descriptor.shard, now);
                if leader.as_ref().is_some_and(|leader| !routes.map.nodes.contains_key(&leader.node)) {
                    self.refresh();
                }
                return;
            }
            // What it names is asked next.
            Fault::Denied(Denial::NotLeader { leader: Some(_), .. }) => progress.leader_only = true,
            // It leads no longer, or is not certain of it.
            Fault::Denied(Denial::TooStale { .. }) if is_of_leader => self.leaders.forget(descriptor.shard, node),
            Fault::Denied(_) | Fault::NoRoute | Fault::Answer(_) => {}
        }
        self.learn(routes, shard, node, fault, progress.tries);
    }

    /// What a fault tells of the database.
    pub(crate) fn learn(&self, routes: &Routes, shard: &ShardRecord, node: NodeId, fault: &Fault, tries: u32) {
        let is_newer = |epoch: Epoch| epoch > routes.map.epoch;
        let descriptor = &shard.descriptor;
        match fault {
            // Of a quorum shard it is a copy that may answer: the next try asks another one anyhow.
            Fault::Denied(Denial::NotLeader { leader: Some(_), .. }) if shard.quorum.is_some() => self.refresh(),
            Fault::Denied(Denial::NotLeader { shard, leader: Some(leader) }) => {
                self.leaders.learn(*shard, leader.node);
                if !routes.map.nodes.contains_key(&leader.node) {
                    self.refresh();
                }
            }
            Fault::Denied(Denial::WrongShard { epoch }) => {
                self.leaders.forget(descriptor.shard, node);
                if is_newer(*epoch) {
                    self.refresh();
                }
            }
            Fault::Denied(Denial::RequestTooOld { floor }) => {
                self.request_ids.see_of_key(Version(floor.0.saturating_add(1)), shard.quorum.is_some());
            }
            Fault::Denied(Denial::RequestTooNew { allowed, .. }) => self.request_ids.lower(*allowed),
            Fault::Denied(Denial::ConditionFailed { actual: Some(version), .. }) => self.request_ids.see(*version),
            // The map here has another number of copies.
            Fault::Denied(Denial::Quorum(QuorumDenial::ReadQuorum(_) | QuorumDenial::WriteQuorum(_))) => self.refresh(),
            Fault::Denied(Denial::NotLeader { leader: None, .. } | Denial::OutcomeUnknown { .. } | Denial::Closing)
            | Fault::Unreached { .. }
            | Fault::Lost { .. }
            | Fault::Silent { .. } => {
                self.leaders.forget(descriptor.shard, node);
                if tries >= TRIES_BEFORE_REFRESH {
                    self.refresh();
                }
            }
            Fault::Denied(_) | Fault::NoRoute | Fault::Answer(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
