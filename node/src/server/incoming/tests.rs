//! Clients that do not read, on real connections.

use std::future::poll_fn;

use skerry_client::Secrets;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::*;
use crate::budget::{Budget, Kind};
use crate::keyring::Keyring;
use crate::server::paced::Pace;
use crate::server::{Admission, Ports, builder};
use crate::session::Connections;

const ENOUGH: Duration = Duration::from_secs(30);
/// Less than the transport keeps of one answer.
const ANSWER_BYTES: usize = 200 << 10;
/// Together more than the system keeps for a client that does not read.
const ANSWERS: u32 = 400;

/// What the protocol says before the first request, of a client with a window of so many bytes for each answer.
fn opening(window: u32) -> Vec<u8> {
    let settings = [[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4].as_slice(), &window.to_be_bytes()].concat();
    let window = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0xff, 0, 0];
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings, &window].concat()
}

/// `GET http://x/`, whole.
fn request(number: u32) -> Vec<u8> {
    let fields = [0x82, 0x86, 0x84, 1, 1, b'x'];
    let stream = (2 * number + 1).to_be_bytes();
    [[0, 0, 6, 1, 5].as_slice(), &stream, &fields].concat()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waited = timeout(ENOUGH, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

/// Asks for answers of so many bytes, and never reads one.
async fn ask_and_do_not_read(window: u32, answer_bytes: usize) {
    let (budget, connections) = (Budget::new(1 << 30), Arc::new(Connections::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let places = Places::refusing(8);
    let mut routes = Routes::default();
    let router = std::mem::take(routes.axum_router_mut());
    *routes.axum_router_mut() = router.fallback(async move || vec![7_u8; answer_bytes]);
    let stop = CancellationToken::new();
    let server = builder()
        .layer(Pace { budget: budget.clone(), connections: connections.clone() })
        .add_routes(routes)
        .serve_with_incoming_shutdown(
            Incoming::new(listener, places.clone()).into_stream(),
            stop.clone().cancelled_owned(),
        );
    let server = tokio::spawn(server);
    let mut client = TcpStream::connect(at).await.unwrap();
    let asked: Vec<u8> = (0..ANSWERS).flat_map(request).collect();
    client.write_all(&[opening(window), asked].concat()).await.unwrap();
    let most = answer_bytes * ANSWERS as usize / 2;
    until("what the transport has is counted", || budget.used_by(Kind::Answers) > most).await;
    until("who does not read is closed", || connections.look(true, Duration::ZERO) == 1).await;
    until("all comes back", || budget.used() == 0 && places.count() == 0).await;
    stop.cancel();
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_the_transport_has_for_a_client_that_does_not_read_counts_and_comes_back_when_it_is_closed() {
    ask_and_do_not_read(0x7fff_ffff, ANSWER_BYTES).await;
}

#[tokio::test]
async fn what_a_closed_window_keeps_in_the_transport_counts_though_all_the_answers_are_over() {
    for window in [0, 1] {
        ask_and_do_not_read(window, 16_000).await;
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_what_it_is_sent_is_closed_though_it_is_not_read_from() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let mut guarded = Incoming::new(listener, Places::refusing(1)).next().await;
    let block = vec![0; 1 << 20];
    let fill = async |guarded: &mut Guarded| {
        poll_fn(|context| {
            while let Poll::Ready(written) = Pin::new(&mut *guarded).poll_write(context, &block) {
                if let Err(error) = written {
                    return Poll::Ready(Some(error.kind()));
                }
            }
            Poll::Ready(None)
        })
        .await
    };
    // What is on its way to the client makes room for a moment.
    while fill(&mut guarded).await.is_none() && guarded.blocked.is_none_or(|since| since.elapsed().as_millis() < 200) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let long_ago = Instant::now() - SILENCE_MAX;
    (guarded.blocked, guarded.last) = (Some(long_ago), Instant::now());
    guarded.alarm.as_mut().reset(Instant::now());
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(fill(&mut guarded).await, None, "it has just said something");
    (guarded.blocked, guarded.last) = (Some(long_ago), long_ago);
    guarded.alarm.as_mut().reset(Instant::now());
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(fill(&mut guarded).await, Some(io::ErrorKind::TimedOut));
    drop(client);
}

/// Nodes and strangers may come from one address: of one machine, or through one that stands between.
#[tokio::test]
async fn who_has_shown_the_secret_keeps_its_place_beside_strangers_of_its_own_address() {
    const SECRET: &[u8] = b"0123456789abcdef";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, SECRET).unwrap();
    let places = Places::replacing(2);
    let mut admission = Admission {
        keyring: Arc::new(Keyring::open(Some(file)).unwrap()),
        older_peers: false,
        places: Ports { clients: places.clone(), peers: places.clone(), admin: places.clone() },
        sessions_max: 1,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let mut incoming = Incoming::new(listener, places);
    let mut clients = Vec::new();
    let mut next = async || {
        clients.push(TcpStream::connect(at).await.unwrap());
        incoming.next().await
    };
    let (link, stranger) = (next().await, next().await);
    let from = |guarded: &Guarded| {
        let mut request = Request::new(());
        request.extensions_mut().insert(guarded.connect_info());
        request
    };
    assert!(admission.call(from(&stranger)).is_err());
    let mut shown = Secrets::parse(SECRET).unwrap().to_send().remove(0);
    admission.call(shown.call(from(&link)).unwrap()).unwrap();
    let more = [next().await, next().await];
    let told = [&link, &stranger, &more[0], &more[1]].map(|guarded| guarded.place.end().is_told());
    assert_eq!(told, [false, true, true, false]);
}
