//! Unary calls to the system shard's leader: whoever is asked and does not lead tells where the leader is.

use std::collections::VecDeque;
use std::time::Duration;

use skerry_core::client::progress::pause;
use skerry_proto::v1::admin_service_client::AdminServiceClient;
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tracing::debug;

use crate::channel;
use crate::door::Door;
use crate::retry::jittered;
use crate::secret::{Presented, Secrets};

/// A leader that is silent for so long may be cut off from the others.
const CALL_MAX: Duration = Duration::from_secs(3);
/// Hints that are followed in a row before the next candidate is asked.
const HOPS_MAX: u32 = 3;
/// A status of a large database.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// What to do after a failed call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The leader is at this `host:port`: ask there.
    Leader(String),
    /// Ask again, this node or another one.
    Again {
        /// True if the call may have had its effect.
        may_have_happened: bool,
    },
    /// Give up: asking again does not help.
    Stop,
}

/// The end of a call that did not succeed.
#[derive(Debug)]
pub(crate) struct CallFailed {
    /// The last answer. `None` = there was none.
    pub(crate) status: Option<Box<Status>>,
    /// True if the deadline has passed; else the status is final.
    pub(crate) out_of_time: bool,
    pub(crate) may_have_happened: bool,
}

impl CallFailed {
    /// Of a call that changes nothing.
    pub(crate) fn of_read(self) -> Self {
        Self { may_have_happened: false, ..self }
    }
}

/// The end of a call that was answered.
#[derive(Debug)]
pub(crate) struct Settled<T> {
    pub(crate) answer: T,
    /// True if an earlier try may have had its effect: a refusal says nothing about that one.
    pub(crate) may_have_happened: bool,
}

/// The client of one call, with what the call is allowed by.
pub(crate) type Leader = AdminServiceClient<InterceptedService<Channel, Presented>>;

/// On which port a call is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Via<'a> {
    /// The port for clients.
    Clients,
    /// That for orders, with one of these.
    Admin(&'a Secrets),
}

/// What became of one try at one address.
enum Try<T> {
    Done(T),
    Failed(Status),
    /// There was no connection: nothing was sent.
    Unreached,
    Silent,
}

/// Asks one candidate after the other, and wherever they point to, until one answers.
///
/// `call` gives a future that borrows nothing of it, so that whoever waits may be moved between threads.
pub(crate) async fn call_leader<T, Answered>(
    candidates: impl Fn() -> Vec<String>,
    via: Via<'_>,
    deadline: Duration,
    call: impl Fn(Leader) -> Answered,
) -> Result<Settled<T>, CallFailed>
where
    Answered: Future<Output = Result<T, Status>>,
{
    let until = Instant::now() + deadline;
    let mut failed = CallFailed { status: None, out_of_time: true, may_have_happened: false };
    let (mut next, mut hint, mut hops, mut rounds) = (VecDeque::from(candidates()), None::<String>, 0, 0);
    loop {
        if hint.is_none() {
            // Two that point at each other keep nobody from following a third.
            hops = 0;
        }
        let Some(address) = hint.take().or_else(|| next.pop_front()) else {
            let again = Instant::now() + jittered(pause(rounds));
            if again >= until {
                return Err(failed);
            }
            sleep_until(again).await;
            rounds += 1;
            next = candidates().into();
            continue;
        };
        let status = match attempt(&address, via, until, &call).await {
            Try::Done(answer) => return Ok(Settled { answer, may_have_happened: failed.may_have_happened }),
            Try::Failed(status) => status,
            silence @ (Try::Unreached | Try::Silent) => {
                failed.may_have_happened |= matches!(silence, Try::Silent);
                if Instant::now() >= until {
                    return Err(failed);
                }
                continue;
            }
        };
        debug!(address, %status, "the system shard's leader is elsewhere or not ready");
        match verdict(&status) {
            Verdict::Leader(leader) if hops < HOPS_MAX => {
                hops += 1;
                hint = Some(leader);
            }
            Verdict::Leader(_) => {}
            Verdict::Again { may_have_happened } => failed.may_have_happened |= may_have_happened,
            // While a secret is replaced, another one may know it.
            Verdict::Stop if status.code() == Code::Unauthenticated && !next.is_empty() => {}
            Verdict::Stop => failed.out_of_time = false,
        }
        failed.status = Some(Box::new(status));
        if !failed.out_of_time {
            return Err(failed);
        }
    }
}

/// One try: with one secret after the other, until the node knows one.
async fn attempt<T, Answered>(address: &str, via: Via<'_>, until: Instant, call: &impl Fn(Leader) -> Answered) -> Try<T>
where
    Answered: Future<Output = Result<T, Status>>,
{
    let (channel, secrets) = match via {
        Via::Clients => match timeout_at(until, channel::connect(address)).await {
            Ok(Ok(channel)) => (channel, Secrets::default()),
            Ok(Err(_)) | Err(_) => return Try::Unreached,
        },
        Via::Admin(secrets) => match timeout_at(until, channel::open(address, Door::Admin, secrets)).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => {
                debug!(address, %error, "node is not reached");
                return Try::Unreached;
            }
            Err(_) => return Try::Unreached,
        },
    };
    let call_until = until.min(Instant::now() + CALL_MAX);
    let answered = secrets.present(|presented| {
        let client = AdminServiceClient::with_interceptor(channel.clone(), presented);
        call(client.max_decoding_message_size(ANSWER_BYTES_MAX))
    });
    match timeout_at(call_until, answered).await {
        Ok(Ok(answer)) => Try::Done(answer),
        Ok(Err(status)) => Try::Failed(status),
        Err(_) => Try::Silent,
    }
}

/// Decides from the status of a failed call what to do next.
pub(crate) fn verdict(status: &Status) -> Verdict {
    if let Some(info) = status.get_details_error_info() {
        match info.reason.as_str() {
            "NOT_LEADER" => {
                let leader = info.metadata.get("leader_address").filter(|address| !address.is_empty());
                return leader.map_or(Verdict::Again { may_have_happened: false }, |l| Verdict::Leader(l.clone()));
            }
            "OUTCOME_UNKNOWN" => return Verdict::Again { may_have_happened: true },
            "OVERLOADED" | "CLOSING" | "BLANK" | "OPENING" | "REMOVED" => {
                return Verdict::Again { may_have_happened: false };
            }
            _ => return Verdict::Stop,
        }
    }
    match status.code() {
        // The transport's own words for a connection that broke.
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal | Code::DeadlineExceeded => {
            Verdict::Again { may_have_happened: true }
        }
        _ => Verdict::Stop,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn status(reason: &str, leader: &str) -> Status {
        let metadata = HashMap::from([("leader_address".to_owned(), leader.to_owned())]);
        let details = ErrorDetails::with_error_info(reason, "skerry.io", metadata);
        Status::with_error_details(Code::Unavailable, "", details)
    }

    #[test]
    fn a_hint_is_followed_and_without_one_others_are_asked() {
        assert_eq!(verdict(&status("NOT_LEADER", "a:1")), Verdict::Leader("a:1".into()));
        assert_eq!(verdict(&status("NOT_LEADER", "")), Verdict::Again { may_have_happened: false });
    }

    #[tokio::test]
    async fn a_node_that_does_not_know_the_secret_yet_keeps_no_other_from_being_asked() {
        let nodes = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = nodes.each_ref().map(|node| node.local_addr().unwrap().to_string()).to_vec();
        let (candidates, calls) = (|| addresses.clone(), std::cell::Cell::new(0));
        let stranger_at_first = |_: Leader| {
            calls.set(calls.get() + 1);
            let answer = if calls.get() == 1 { Err(Status::unauthenticated("")) } else { Ok(()) };
            async { answer }
        };
        let deadline = Duration::from_secs(5);
        call_leader(candidates, Via::Clients, deadline, stranger_at_first).await.unwrap();
        let stranger = |_: Leader| async { Err::<(), _>(Status::unauthenticated("")) };
        let failed = call_leader(candidates, Via::Clients, deadline, stranger).await.unwrap_err();
        assert!(!failed.out_of_time, "nobody knows it");
    }

    #[tokio::test]
    async fn nodes_that_point_at_each_other_keep_no_third_from_telling_where_the_leader_is() {
        let nodes = [(); 4].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let [one, two, third, leader] = nodes.each_ref().map(|node| node.local_addr().unwrap().to_string());
        nodes[3].set_nonblocking(true).unwrap();
        let calls = std::cell::Cell::new(0);
        let said = |_: Leader| {
            calls.set(calls.get() + 1);
            // The two are asked in turn, as far as hints are followed; then the third.
            let points_to = if calls.get() > HOPS_MAX + 1 {
                &leader
            } else if calls.get() % 2 == 1 {
                &two
            } else {
                &one
            };
            let answer = if nodes[3].accept().is_ok() { Ok(()) } else { Err(status("NOT_LEADER", points_to)) };
            async { answer }
        };
        let candidates = || vec![one.clone(), third.clone()];
        call_leader(candidates, Via::Clients, Duration::from_secs(5), said).await.unwrap();
        assert_eq!(calls.get(), HOPS_MAX + 3);
    }

    #[tokio::test]
    async fn an_answer_after_a_try_of_which_nobody_knows_says_so() {
        let node = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = node.local_addr().unwrap().to_string();
        let settled = async |first: Option<Status>| {
            let calls = std::cell::Cell::new(0);
            let call = |_: Leader| {
                calls.set(calls.get() + 1);
                let (is_first, first) = (calls.get() == 1, first.clone());
                async move {
                    match (is_first, first) {
                        (true, Some(status)) => Err(status),
                        // Silent for longer than anybody waits.
                        (true, None) => std::future::pending().await,
                        (false, _) => Ok("refused"),
                    }
                }
            };
            call_leader(|| vec![address.clone()], Via::Clients, Duration::from_secs(30), call).await.unwrap()
        };
        for first in [None, Some(status("OUTCOME_UNKNOWN", "")), Some(Status::unavailable("broken"))] {
            let told = settled(first.clone()).await;
            assert!(told.may_have_happened && told.answer == "refused", "{first:?}");
        }
        assert!(!settled(Some(status("NOT_LEADER", ""))).await.may_have_happened, "that one did nothing");
    }

    #[test]
    fn only_what_may_pass_is_asked_again() {
        assert_eq!(verdict(&status("OUTCOME_UNKNOWN", "")), Verdict::Again { may_have_happened: true });
        assert_eq!(verdict(&status("BLANK", "")), Verdict::Again { may_have_happened: false });
        assert_eq!(verdict(&Status::unavailable("")), Verdict::Again { may_have_happened: true });
        assert_eq!(verdict(&status("MALFORMED", "")), Verdict::Stop);
        assert_eq!(verdict(&Status::failed_precondition("")), Verdict::Stop);
        assert_eq!(verdict(&Status::unimplemented("")), Verdict::Stop);
        assert_eq!(verdict(&Status::unauthenticated("")), Verdict::Stop);
    }
}
