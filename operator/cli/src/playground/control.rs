//! How another process talks to the supervisor: one JSON line each way over a socket in the state folder. The supervisor
//! alone touches its processes, so nothing is ever killed by a process id that somebody else has by now.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A request is a few words; more than this is not one.
const LINE_BYTES_MAX: u64 = 4 << 10;
/// Requests that wait for the supervisor; each comes from a person.
const QUEUE_MAX: usize = 16;
/// Stopping several nodes may take as long as the slowest is given.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// The last answers are a line each, to processes on this machine.
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);

/// What is wanted of the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Request {
    /// Kill a node at once, named by slot or node id.
    Kill {
        /// Name of the node's slot, or the node's id.
        node: String,
        /// Leave it down until it is started.
        stay_down: bool,
    },
    /// Start a node that was to stay down.
    Start {
        /// Name of the node's slot, or the node's id.
        node: String,
    },
    /// Stop all nodes, then end the supervisor.
    Down,
}

/// What the supervisor says: what it did, or why not.
pub(crate) type Reply = Result<String, String>;

/// A request and where its answer goes.
pub(crate) type Call = (Request, oneshot::Sender<Reply>);

/// Sends requests from within the supervisor's own process.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    calls: mpsc::Sender<Call>,
}

impl Control {
    /// Both ends of a channel to the supervisor: one sends requests, the other receives them.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Call>) {
        let (calls, receiver) = mpsc::channel(QUEUE_MAX);
        (Self { calls }, receiver)
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, request: Request) -> Reply {
        let (sender, answer) = oneshot::channel();
        let gone = || "the playground has ended".to_owned();
        self.calls.send((request, sender)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// The listening end; removes its file when dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens. The caller holds the folder's lock, so a file that is there is left over.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self { listener: UnixListener::bind(path)?, path: path.to_owned() })
    }

    /// Answers until nobody takes requests any more, and returns when what was answered by then has been sent.
    pub(crate) async fn serve(self, control: Control) {
        let mut answers = JoinSet::new();
        loop {
            tokio::select! {
                () = control.calls.closed() => break,
                Some(_) = answers.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let control = control.clone();
                        answers.spawn(async move {
                            if let Err(error) = answer(stream, &control).await {
                                tracing::debug!(%error, "a request was broken off");
                            }
                        });
                    }
                    // Out of file descriptors: some will be free again.
                    Err(error) => {
                        tracing::warn!(%error, "failed to take a request");
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                },
            }
        }
        // Whoever asked may hold the line without a word.
        let _in_time = timeout(FAREWELL_LIMIT, answers.join_all()).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _gone_already = std::fs::remove_file(&self.path);
    }
}

async fn answer(stream: UnixStream, control: &Control) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
    let reply = match serde_json::from_str(&line) {
        Ok(request) => control.ask(request).await,
        Err(error) => Err(format!("not a request: {error}")),
    };
    let mut text = serde_json::to_string(&reply)?;
    text.push('\n');
    write.write_all(text.as_bytes()).await
}

/// Asks a supervisor in another process.
pub(crate) async fn ask(path: &Path, request: &Request) -> io::Result<Reply> {
    let exchange = async {
        let (read, mut write) = UnixStream::connect(path).await?.into_split();
        let mut text = serde_json::to_string(request)?;
        text.push('\n');
        write.write_all(text.as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(read).read_line(&mut line).await?;
        Ok(serde_json::from_str(&line)?)
    };
    timeout(ANSWER_LIMIT, exchange).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_cross_the_socket_and_come_back_answered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        std::fs::write(&path, "left over").unwrap();
        let (control, mut calls) = Control::channel();
        let server = tokio::spawn(Listener::bind(&path).unwrap().serve(control));
        let supervisor = async {
            let (request, answer) = calls.recv().await.unwrap();
            answer.send(Err(format!("no node {request:?}"))).unwrap();
        };
        let request = Request::Kill { node: "n9".into(), stay_down: true };
        let (_, reply) = tokio::join!(supervisor, ask(&path, &request));
        assert_eq!(reply.unwrap(), Err(format!("no node {request:?}")));
        drop(calls);
        server.await.unwrap();
        assert!(!path.try_exists().unwrap());
    }

    #[tokio::test]
    async fn last_answer_is_sent_before_the_server_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (control, mut calls) = Control::channel();
        let server = tokio::spawn(Listener::bind(&path).unwrap().serve(control));
        let supervisor = async {
            let (_, answer) = calls.recv().await.unwrap();
            drop(calls);
            answer.send(Ok("all nodes are down".to_owned())).unwrap();
            server.await.unwrap();
        };
        let (_, reply) = tokio::join!(supervisor, ask(&path, &Request::Down));
        assert_eq!(reply.unwrap(), Ok("all nodes are down".to_owned()));
    }
}
