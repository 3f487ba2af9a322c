//! Where the operator works: the API server and the databases' stewards, in this process, and the operator in another.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use prost::Message;
use skerry_client::wire::status_into_wire;
use skerry_core::node::Status;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::ground::Shared;
use crate::measured::Used;
use crate::server::router;

/// What the stewards say, and how often they were asked.
#[derive(Debug, Default)]
pub struct Stewards {
    answers: BTreeMap<String, Vec<u8>>,
    pub asked: usize,
}

/// The simulated Kubernetes and databases that the operator sees.
pub struct Place {
    pub ground: Shared,
    pub stewards: Arc<Mutex<Stewards>>,
    url: String,
}

impl Place {
    /// Serves the Kubernetes API with these objects.
    pub async fn serve(ground: Shared) -> Self {
        let stewards = Arc::new(Mutex::new(Stewards::default()));
        let asked = Router::new().route("/stewards/{cluster}", get(answer)).with_state(stewards.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = asked.merge(router(ground.clone()));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { ground, stewards, url }
    }

    /// What the steward of this database says from now on.
    pub fn says(&self, cluster: &str, status: Status) {
        let answer = status_into_wire(status).encode_to_vec();
        self.stewards.lock().unwrap().answers.insert(cluster.to_owned(), answer);
    }

    /// Starts an operator as a process of its own that looks at this place.
    pub fn operator(&self, how: &str) -> Operator {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([how, &self.url]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let tell = process.stdin.take().unwrap();
        let told = BufReader::new(process.stdout.take().unwrap()).lines();
        Operator { process, tell, told }
    }
}

async fn answer(
    State(stewards): State<Arc<Mutex<Stewards>>>,
    Path(cluster): Path<String>,
) -> Result<Vec<u8>, StatusCode> {
    let mut stewards = stewards.lock().unwrap();
    stewards.asked += 1;
    stewards.answers.get(&cluster).cloned().ok_or(StatusCode::NOT_FOUND)
}

/// The operator's process. It ends when this is dropped.
pub struct Operator {
    process: Child,
    tell: ChildStdin,
    told: Lines<BufReader<ChildStdout>>,
}

impl Operator {
    pub fn used(&self) -> Used {
        Used::by(self.process.id().unwrap())
    }

    /// Has it look once. Returns what that has used.
    pub async fn look(&mut self) -> Used {
        let before = self.used();
        self.tell.write_all(b"look\n").await.unwrap();
        let told = self.told.next_line().await.unwrap();
        assert_eq!(told.as_deref(), Some("done"));
        let after = self.used();
        Used { cpu: after.cpu - before.cpu, ..after }
    }
}
