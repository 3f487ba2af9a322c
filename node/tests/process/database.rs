//! The plainest client there can be: unary calls to one node after the other, following what they say of the leader.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use skerry_client::secret::Presented;
use skerry_proto::v1;
use skerry_proto::v1::admin_command::Change;
use skerry_proto::v1::admin_service_client::AdminServiceClient;
use skerry_proto::v1::identity_service_client::IdentityServiceClient;
use skerry_proto::v1::kv_service_client::KvServiceClient;
use skerry_proto::v1::system_reply::Reply;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::process::{PATIENCE, secrets};

/// Longest time of one attempt.
const ATTEMPT: Duration = Duration::from_secs(2);

pub struct Database {
    cluster: String,
    addresses: Vec<String>,
    channels: Mutex<HashMap<String, Channel>>,
    /// Of the table, where it was led last.
    leaders: Mutex<HashMap<String, String>>,
}

/// Why a call failed: the reason of its error, or the code.
pub fn reason(status: &Status) -> String {
    match status.get_details_error_info() {
        Some(info) => info.reason,
        None => format!("{:?}: {}", status.code(), status.message()),
    }
}

/// For orders to the node of these clients' port.
async fn orders(clients: Channel) -> Result<AdminServiceClient<InterceptedService<Channel, Presented>>, Status> {
    let node = IdentityServiceClient::new(clients.clone()).identify(v1::IdentifyRequest {}).await?.into_inner();
    if node.admin_port == 0 {
        return Ok(AdminServiceClient::with_interceptor(clients, Presented::default()));
    }
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", node.admin_port)).unwrap();
    let channel = endpoint.connect_timeout(ATTEMPT).timeout(ATTEMPT).connect().await;
    let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(AdminServiceClient::with_interceptor(channel, secrets().to_send().remove(0)))
}

/// True if the call certainly had no effect.
pub fn had_no_effect(status: &Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.reason != "OUTCOME_UNKNOWN")
}

impl Database {
    pub fn new(cluster: &str, addresses: Vec<String>) -> Self {
        let (channels, leaders) = (Mutex::default(), Mutex::default());
        Self { cluster: cluster.to_owned(), addresses, channels, leaders }
    }

    fn channel(&self, address: &str) -> Channel {
        let mut channels = self.channels.lock().unwrap();
        let endpoint = || Endpoint::from_shared(format!("http://{address}")).unwrap();
        let lazily = || endpoint().connect_timeout(ATTEMPT).timeout(ATTEMPT).tcp_nodelay(true).connect_lazy();
        channels.entry(address.to_owned()).or_insert_with(lazily).clone()
    }

    /// Connections belong to the runtime that made them: these are for another.
    pub fn forget_connections(&self) {
        self.channels.lock().unwrap().clear();
    }

    pub fn kv(&self, address: &str) -> KvServiceClient<Channel> {
        KvServiceClient::new(self.channel(address)).max_decoding_message_size(8 << 20)
    }

    /// Calls one node after the other until one does it, or says for good that it cannot.
    pub async fn call<T, F>(&self, what: &str, mut attempt: F) -> Result<T, Status>
    where
        F: AsyncFnMut(Channel) -> Result<T, Status>,
    {
        let deadline = Instant::now() + PATIENCE;
        let mut turn = 0;
        loop {
            let known = self.leaders.lock().unwrap().get(what).cloned();
            let address = known.unwrap_or_else(|| self.addresses[turn % self.addresses.len()].clone());
            let status = match attempt(self.channel(&address)).await {
                Ok(done) => {
                    self.leaders.lock().unwrap().insert(what.to_owned(), address);
                    return Ok(done);
                }
                Err(status) => status,
            };
            // A connection that ends in the middle of a call is an internal error to tonic.
            let transient = matches!(
                status.code(),
                Code::Unavailable
                    | Code::Unknown
                    | Code::Internal
                    | Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::Aborted
                    | Code::NotFound
            ) || reason(&status) == "OVERLOADED";
            if !transient || Instant::now() > deadline {
                return Err(status);
            }
            let leader = status.get_details_error_info().and_then(|info| info.metadata.get("leader_address").cloned());
            match leader.filter(|leader| !leader.is_empty() && *leader != address) {
                Some(leader) => drop(self.leaders.lock().unwrap().insert(what.to_owned(), leader)),
                None => {
                    self.leaders.lock().unwrap().remove(what);
                    turn += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    pub async fn admin(&self, change: Change) -> Result<Reply, String> {
        self.admin_at(change, None).await
    }

    /// Removes a node that drains, once it has a certificate. False = it has none yet.
    pub async fn remove(&self, node_id: u64, incarnation: u64) -> bool {
        let request = v1::CertifyRemovalRequest { node_id, incarnation };
        let asked =
            self.call("the system shard", async |channel| orders(channel).await?.certify_removal(request).await);
        let Some(v1::certify_removal_response::Removal::Safe(certificate)) = asked.await.unwrap().into_inner().removal
        else {
            return false;
        };
        self.admin_at(Change::Remove(v1::RemoveNode { node_id }), Some(certificate.epoch)).await.is_ok()
    }

    async fn admin_at(&self, change: Change, based_on_epoch: Option<u64>) -> Result<Reply, String> {
        let fence = v1::Fence { token: 1, based_on_epoch };
        let command = v1::AdminCommand { fence: Some(fence), change: Some(change) };
        let command = v1::SystemCommand { command: Some(v1::system_command::Command::Admin(command)) };
        let request = v1::ExecuteRequest { cluster_id: self.cluster.clone(), command: Some(command) };
        let response = self
            .call("the system shard", async |channel| orders(channel).await?.execute(request.clone()).await)
            .await
            .map_err(|status| reason(&status))?;
        match response.into_inner().result.unwrap() {
            v1::execute_response::Result::Reply(reply) => Ok(reply.reply.unwrap()),
            v1::execute_response::Result::Refusal(refusal) => Err(format!("{refusal:?}")),
        }
    }

    pub async fn status(&self) -> v1::StatusResponse {
        let status = self.call("the system shard", async |channel| {
            AdminServiceClient::new(channel).status(v1::StatusRequest {}).await
        });
        status.await.unwrap().into_inner()
    }

    /// Puts, and tries again until it is done. Returns the version.
    pub async fn put(&self, table: &str, key: &[u8], value: &[u8]) -> u64 {
        self.try_put(table, key, value).await.unwrap()
    }

    pub async fn try_put(&self, table: &str, key: &[u8], value: &[u8]) -> Result<u64, Status> {
        let request = put(table, key, value);
        let response = self.call(table, async |channel| KvServiceClient::new(channel).put(request.clone()).await);
        Ok(response.await?.into_inner().version)
    }

    pub async fn delete(&self, table: &str, key: &[u8]) -> Result<u64, Status> {
        let request =
            v1::DeleteRequest { table: table.to_owned(), key: Some(a_key(key)), ..v1::DeleteRequest::default() };
        let response = self.call(table, async |channel| KvServiceClient::new(channel).delete(request.clone()).await);
        Ok(response.await?.into_inner().version)
    }

    pub async fn batch(&self, request: v1::BatchRequest) -> Result<u64, Status> {
        let table = request.table.clone();
        let response = self.call(&table, async |channel| KvServiceClient::new(channel).batch(request.clone()).await);
        Ok(response.await?.into_inner().version)
    }

    pub async fn get(&self, table: &str, key: &[u8]) -> Option<v1::Record> {
        let request = get(table, key);
        let response = self.call(table, async |channel| {
            KvServiceClient::new(channel).max_decoding_message_size(8 << 20).get(request.clone()).await
        });
        response.await.unwrap().into_inner().record
    }

    /// Every record of the table, page by page.
    pub async fn scan(&self, mut request: v1::ScanRequest) -> Vec<v1::Record> {
        let mut records = Vec::new();
        let table = request.table.clone();
        loop {
            let page = self.call(&table, async |channel| KvServiceClient::new(channel).scan(request.clone()).await);
            let page = page.await.unwrap().into_inner();
            records.extend(page.records);
            if page.next_page_token.is_empty() {
                return records;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// The address of the node that serves this key.
    pub async fn leader_of(&self, table: &str, key: &[u8]) -> String {
        self.get(table, key).await;
        self.leaders.lock().unwrap().get(table).cloned().unwrap()
    }
}

/// The test's keys have no sort part.
pub fn a_key(key: &[u8]) -> v1::Key {
    v1::Key { partition: Bytes::copy_from_slice(key), sort: Bytes::new() }
}

pub fn put(table: &str, key: &[u8], value: &[u8]) -> v1::PutRequest {
    let value = Bytes::copy_from_slice(value);
    v1::PutRequest { table: table.to_owned(), key: Some(a_key(key)), value, ..v1::PutRequest::default() }
}

pub fn get(table: &str, key: &[u8]) -> v1::GetRequest {
    let consistency = v1::ReadConsistency::Linearizable.into();
    v1::GetRequest { table: table.to_owned(), key: Some(a_key(key)), consistency, ..v1::GetRequest::default() }
}

pub fn scan(table: &str) -> v1::ScanRequest {
    v1::ScanRequest { table: table.to_owned(), ..v1::ScanRequest::default() }
}
