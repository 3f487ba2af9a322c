//! Connections to hosts by their names: the look-up and the connection each have a time of their own, so that a slow name
//! server is not taken for a node that is down.
//!
//! A name with a dot is looked up as it is first, and only then, or if that takes long, with the domains of the search list:
//! in a pod every name with fewer than five dots would walk that list, one slow look-up after the other. The names of a cluster's own services
//! end in `.svc` and are whole with the cluster's domain, which the search list of every pod tells.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint, Error};

/// A name server that is up answers sooner, a slow one too: it is asked three times at most.
const LOOK_UP_MAX: Duration = Duration::from_secs(3);
/// After so long the next name is looked up beside the one before: of names outside of a cluster its name server asks
/// others, which may be silent.
const HEAD_START: Duration = Duration::from_millis(500);
/// A host that is up takes a connection sooner.
pub const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Addresses of one name that are tried. A node has one of each kind.
const ADDRESSES_MAX: usize = 4;
/// Of names within a cluster, before the cluster's own domain.
const SERVICES: &str = "svc";
/// The file that names the domains to search for short host names.
const RESOLV_CONF: &str = "/etc/resolv.conf";

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type LookUp = dyn Fn(String, u16) -> Pending<io::Result<Vec<SocketAddr>>> + Send + Sync;

/// Why a connection to a node could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// It names no host and port.
    #[error("{0} names no host and port")]
    Address(Uri),
    /// Nobody knows the name, or nobody can be asked.
    #[error("failed to look {host} up")]
    LookUp {
        /// The name as it was given, before anything was added to it.
        host: String,
        /// What the last one who was asked said.
        #[source]
        source: io::Error,
    },
    /// The name servers did not answer in time.
    #[error("the look-up of {host} has had no answer within {} ms", LOOK_UP_MAX.as_millis())]
    LookUpTime {
        /// The name as it was given, before anything was added to it.
        host: String,
    },
    /// No address took a connection.
    #[error("failed to connect to {address}")]
    Connect {
        /// The last of the name's addresses that was tried.
        address: SocketAddr,
        /// What the operating system says of it.
        #[source]
        source: io::Error,
    },
    /// Nobody answers at an address.
    #[error("no connection to {address} within {} ms", CONNECT_MAX.as_millis())]
    ConnectTime {
        /// The first of the name's addresses where nobody answered.
        address: SocketAddr,
    },
}

impl DialError {
    /// True if trying again in a moment would most likely end the same way: nobody listens there, or nobody knows the name.
    /// False where somebody may only be slow.
    pub fn is_plain(&self) -> bool {
        match self {
            Self::Address(_) | Self::LookUp { .. } => true,
            Self::Connect { source, .. } => source.kind() == io::ErrorKind::ConnectionRefused,
            Self::LookUpTime { .. } | Self::ConnectTime { .. } => false,
        }
    }
}

/// Connects within bounded time. The name is looked up anew each time, also when the channel connects again by itself:
/// whoever has it now is meant.
pub async fn channel(endpoint: Endpoint) -> Result<Channel, Error> {
    endpoint
        .tcp_nodelay(true)
        .connect_with_connector(Dial { look_up: Arc::new(by_system), look_up_max: LOOK_UP_MAX })
        .await
}

/// Makes the connections of a channel.
#[derive(Clone)]
struct Dial {
    look_up: Arc<LookUp>,
    look_up_max: Duration,
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dial")
    }
}

impl Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = DialError;
    type Future = Pending<Result<TokioIo<TcpStream>, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dial = self.clone();
        Box::pin(async move {
            let (Some(host), Some(port)) = (uri.host(), uri.port_u16()) else { return Err(DialError::Address(uri)) };
            Ok(TokioIo::new(dial.connect(host, port).await?))
        })
    }
}

impl Dial {
    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = match host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => match timeout(self.look_up_max, self.find(host, port)).await {
                Ok(found) => found.map_err(|source| DialError::LookUp { host: host.to_owned(), source })?,
                Err(_) => return Err(DialError::LookUpTime { host: host.to_owned() }),
            },
        };
        let mut failed = None;
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            match timeout(CONNECT_MAX, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // A connection that is slower for it is one all the same.
                    let _slower = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(source)) => failed = Some(worse(failed, DialError::Connect { address, source })),
                Err(_) => failed = Some(worse(failed, DialError::ConnectTime { address })),
            }
        }
        let none = || DialError::LookUp { host: host.to_owned(), source: io::ErrorKind::NotFound.into() };
        Err(failed.unwrap_or_else(none))
    }

    async fn find(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut failed = io::Error::from(io::ErrorKind::NotFound);
        let (mut names, mut asked) = (names(host, search_list()).into_iter(), FuturesUnordered::new());
        loop {
            asked.extend(names.next().map(|name| (self.look_up)(name, port)));
            let answer = if names.len() == 0 {
                asked.next().await
            } else {
                let Ok(answer) = timeout(HEAD_START, asked.next()).await else { continue };
                answer
            };
            match answer {
                Some(Ok(addresses)) if !addresses.is_empty() => return Ok(addresses),
                Some(Ok(_)) => {}
                Some(Err(error)) => failed = error,
                None => return Err(failed),
            }
        }
    }
}

/// What is told of a host, some of whose addresses failed already: where somebody may only be slow, that.
fn worse(before: Option<DialError>, failed: DialError) -> DialError {
    before.filter(|before| !before.is_plain()).unwrap_or(failed)
}

fn by_system(name: String, port: u16) -> Pending<io::Result<Vec<SocketAddr>>> {
    Box::pin(async move { Ok(lookup_host((name.as_str(), port)).await?.collect()) })
}

/// The names to look up for a host, in this order.
fn names(host: &str, search: &[String]) -> Vec<String> {
    let whole = match host.rsplit_once('.') {
        None | Some((_, "")) => None,
        Some((_, SERVICES)) => {
            let domain = search.iter().find_map(|domain| domain.strip_prefix(SERVICES)?.strip_prefix('.'));
            domain.map(|domain| format!("{host}.{}.", domain.trim_end_matches('.')))
        }
        Some(_) => Some(format!("{host}.")),
    };
    whole.into_iter().chain([host.to_owned()]).collect()
}

fn search_list() -> &'static [String] {
    static LIST: OnceLock<Vec<String>> = OnceLock::new();
    LIST.get_or_init(|| parse_search(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default()))
}

/// The domains of the file's last `search` line; none if there is no such line.
fn parse_search(resolv_conf: &str) -> Vec<String> {
    let mut lines = resolv_conf.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("search")).then(|| words.map(str::to_owned).collect())
    });
    lines.next_back().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::net::TcpListener;

    use super::*;

    const IN_A_POD: &str =
        "nameserver 10.96.0.10\nsearch sales.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n";

    fn dial(look_up: impl Fn(String) -> Pending<io::Result<Vec<SocketAddr>>> + Send + Sync + 'static) -> Dial {
        Dial { look_up: Arc::new(move |name, _| look_up(name)), look_up_max: LOOK_UP_MAX }
    }

    #[test]
    fn names_are_whole_so_that_no_search_list_is_walked() {
        let search = parse_search(IN_A_POD);
        let first = |host| names(host, &search).remove(0);
        assert_eq!(first("shop-a-0.shop-nodes.sales.svc"), "shop-a-0.shop-nodes.sales.svc.cluster.local.");
        assert_eq!(first("db.example.com"), "db.example.com.");
        assert_eq!(names("db.example.com.", &search), ["db.example.com."]);
        assert_eq!(names("localhost", &search), ["localhost"]);
        // Whoever relies on the search list still finds what they mean.
        assert_eq!(names("db.corp", &search), ["db.corp.", "db.corp"]);
        // Outside of a pod nobody knows the cluster's domain.
        assert_eq!(names("shop.sales.svc", &parse_search("search corp\n")), ["shop.sales.svc"]);
    }

    #[tokio::test]
    async fn a_look_up_that_takes_longer_than_a_connection_may_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let slow = dial(move |_| {
            Box::pin(async move {
                tokio::time::sleep(CONNECT_MAX + Duration::from_millis(200)).await;
                Ok(vec![at])
            })
        });
        assert_eq!(slow.connect("slow.example", at.port()).await.unwrap().peer_addr().unwrap(), at);
    }

    #[tokio::test]
    async fn a_look_up_that_never_ends_is_given_up_and_told_from_a_name_that_nobody_knows() {
        let impatient = Duration::from_millis(20);
        let silent = Dial { look_up_max: impatient, ..dial(|_| Box::pin(std::future::pending())) };
        let error = silent.connect("silent.example", 1).await.unwrap_err();
        assert!(matches!(error, DialError::LookUpTime { .. }) && !error.is_plain(), "{error}");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let unknown = dial(move |name| {
            log.lock().unwrap().push(name);
            Box::pin(async { Err(io::Error::other("no such name")) })
        });
        let error = unknown.connect("no.example", 1).await.unwrap_err();
        assert!(matches!(error, DialError::LookUp { .. }) && error.is_plain(), "{error}");
        assert_eq!(*asked.lock().unwrap(), ["no.example.", "no.example"]);
    }

    #[tokio::test]
    async fn the_next_address_of_a_name_is_tried_where_nobody_listens_at_the_first() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let two = dial(move |_| Box::pin(async move { Ok(vec![free, at]) }));
        assert_eq!(two.connect("two.example", 1).await.unwrap().peer_addr().unwrap(), at);
        let error = two.connect("[127.0.0.1]", free.port()).await.unwrap_err();
        assert!(matches!(error, DialError::Connect { .. }) && error.is_plain(), "{error}");
    }

    #[tokio::test]
    async fn a_name_that_the_search_list_knows_is_found_though_others_are_silent_about_it_as_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let cut_off = dial(move |name| match name.ends_with('.') {
            true => Box::pin(std::future::pending()),
            false => Box::pin(async move { Ok(vec![at]) }),
        });
        assert_eq!(cut_off.connect("node-0.nodes", 1).await.unwrap().peer_addr().unwrap(), at);
    }

    #[tokio::test]
    async fn a_host_of_which_one_address_may_only_be_slow_is_not_told_to_be_down() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        // Its queue is full: whoever comes now is not answered.
        let full = tokio::net::TcpSocket::new_v4().unwrap();
        full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = full.listen(1).unwrap();
        let slow = full.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = timeout(Duration::from_millis(200), TcpStream::connect(slow)).await {
            waiting.push(stream.unwrap());
        }
        let two = dial(move |_| Box::pin(async move { Ok(vec![slow, free]) }));
        let error = two.connect("two.example", 1).await.unwrap_err();
        assert!(matches!(error, DialError::ConnectTime { .. }) && !error.is_plain(), "{error}");
    }
}
