//! Records by name of table and key: each unary call is one operation for the worker. Many operations belong in a
//! session, which has no names and costs a fraction.

mod scan;

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use skerry_client::wire::{ReadOptions, Wire, write_options};
use skerry_core::command::{Command, Condition, Expected, Mutation, Read, ReadResult, Record, RequestId, WriteOptions};
use skerry_core::ids::TableId;
use skerry_core::key;
use skerry_core::map::{Fragmentation, Map};
use skerry_core::node::Answer;
use skerry_proto::v1;
use skerry_proto::v1::condition::Expected as WireExpected;
use skerry_proto::v1::kv_service_server::KvService;
use skerry_proto::v1::operation_error::Kind;
use tonic::{Request, Response, Status, Streaming};

use super::{Context, paced, session, status};
use crate::inbox::Ask;

/// Serves the key-value API: the clients' reads and writes.
#[derive(Debug, Clone)]
pub(super) struct Kv {
    pub(super) context: Arc<Context>,
}

/// A table as its name stands for it at one epoch.
#[derive(Debug, Clone, Copy)]
struct Table {
    id: TableId,
    fragmentation: Fragmentation,
}

impl Table {
    fn named(name: &str, map: &Map) -> Result<Self, Kind> {
        let unknown = || Kind::UnknownTable(v1::UnknownTable { table_id: 0, name: name.to_owned() });
        let record = map.table_named(name).ok_or_else(unknown)?;
        Ok(Self { id: record.id, fragmentation: record.fragmentation })
    }

    fn encode(self, key: Option<v1::Key>) -> Result<Bytes, Kind> {
        let key = key.ok_or_else(|| status::field("key"))?;
        key::encode(self.fragmentation, &key.partition, &key.sort).map_err(|error| status::key(&error))
    }

    fn record(self, record: Record) -> Result<v1::Record, Kind> {
        let decoded = key::decode(self.fragmentation, &record.key);
        let (partition, sort) = decoded.map_err(|_| status::unreadable(record.key))?;
        let key = Some(v1::Key { partition, sort });
        Ok(v1::Record { key, version: record.version.0, value: record.value, expires_ms: record.expires_ms })
    }
}

impl Kv {
    async fn write(&self, table: Table, (command, options): (Command, WriteOptions)) -> Result<u64, Kind> {
        let answer = self.ask(Ask::Write { table: table.id, command, options: Box::new(options) }).await?;
        match answer {
            Answer::Write(Ok(outcome)) => status::outcome(outcome, &self.context.map()),
            Answer::Write(Err(refusal)) => Err(status::refusal(refusal, &self.context.map())),
            Answer::Read(_) | Answer::Admin(_) => Err(status::ended()),
        }
    }

    async fn read(&self, table: Table, read: Read, asked: ((i32, u64), Option<u32>)) -> Result<ReadResult, Kind> {
        let options = ReadOptions::from_wire(asked).map_err(|error| status::malformed(&error))?;
        match self.ask(Ask::Read { table: table.id, read, options }).await? {
            Answer::Read(Ok(result)) => Ok(result),
            Answer::Read(Err(refusal)) => Err(status::refusal(refusal, &self.context.map())),
            Answer::Write(_) | Answer::Admin(_) => Err(status::ended()),
        }
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, Kind> {
        let answer = self.context.inbox.ask(ask).await.map_err(|refused| status::refused(&refused))?;
        answer.ok_or_else(status::ended)
    }

    fn header(&self) -> Option<v1::Header> {
        Some(self.context.header(true))
    }

    /// The answer's memory is counted until its client has taken it.
    fn respond<T: Message>(&self, done: Result<T, Kind>) -> Result<Response<T>, Status> {
        done.map(|answer| paced::counted(self.context.inbox.budget(), answer)).map_err(status::status)
    }

    async fn do_put(&self, request: v1::PutRequest) -> Result<v1::PutResponse, Kind> {
        let table = Table::named(&request.table, &self.context.map())?;
        let key = table.encode(request.key)?;
        let options = options(request.copies, [(key.clone(), request.context)], (request.again_ms, request.attempt))?;
        let put = Mutation::Put { key, value: request.value, expires_ms: request.expires_ms };
        let version = self.write(table, (command(request.request_id, Vec::new(), vec![put])?, options)).await?;
        Ok(v1::PutResponse { header: self.header(), version })
    }

    async fn do_get(&self, request: v1::GetRequest) -> Result<v1::GetResponse, Kind> {
        let table = Table::named(&request.table, &self.context.map())?;
        let key = table.encode(request.key)?;
        let asked = ((request.consistency, request.staleness_ms), request.copies);
        let (records, context) = match self.read(table, Read::Get { key }, asked).await? {
            ReadResult::Value(record) => (Vec::from_iter(record), Bytes::new()),
            ReadResult::Values { records, context, .. } => (records, context),
            ReadResult::Page { .. } => return Err(status::ended()),
        };
        let mut siblings = records.into_iter().map(|record| table.record(record)).collect::<Result<Vec<_>, _>>()?;
        let record = (!siblings.is_empty()).then(|| siblings.remove(0));
        Ok(v1::GetResponse { header: self.header(), record, siblings, context })
    }

    async fn do_delete(&self, request: v1::DeleteRequest) -> Result<v1::DeleteResponse, Kind> {
        let table = Table::named(&request.table, &self.context.map())?;
        let key = table.encode(request.key)?;
        let options = options(request.copies, [(key.clone(), request.context)], (request.again_ms, request.attempt))?;
        let delete = Mutation::Delete { key };
        let version = self.write(table, (command(request.request_id, Vec::new(), vec![delete])?, options)).await?;
        Ok(v1::DeleteResponse { header: self.header(), version })
    }

    async fn do_batch(&self, request: v1::BatchRequest) -> Result<v1::BatchResponse, Kind> {
        let table = Table::named(&request.table, &self.context.map())?;
        let conditions = request.conditions.into_iter().map(|c| condition(table, c)).collect::<Result<_, _>>()?;
        let (mut mutations, mut contexts) = (Vec::with_capacity(request.mutations.len()), Vec::new());
        for mut named in request.mutations {
            let context = std::mem::take(&mut named.context);
            let mutation = mutation(table, named)?;
            contexts.push((mutation.key().clone(), context));
            mutations.push(mutation);
        }
        let options = options(request.copies, contexts, (request.again_ms, request.attempt))?;
        let version = self.write(table, (command(request.request_id, conditions, mutations)?, options)).await?;
        Ok(v1::BatchResponse { header: self.header(), version })
    }
}

fn command(
    request: Option<v1::RequestId>,
    conditions: Vec<Condition>,
    mutations: Vec<Mutation>,
) -> Result<Command, Kind> {
    let request = request.map(RequestId::from_wire).transpose().map_err(|error| status::malformed(&error))?;
    Ok(Command { request, conditions, mutations })
}

fn options(
    copies: Option<u32>,
    contexts: impl IntoIterator<Item = (Bytes, Bytes)>,
    again: (Option<u64>, u32),
) -> Result<WriteOptions, Kind> {
    write_options(copies, contexts, again).map_err(|error| status::malformed(&error))
}

fn mutation(table: Table, mutation: v1::Mutation) -> Result<Mutation, Kind> {
    let key = table.encode(mutation.key)?;
    Ok(match mutation.value {
        Some(value) => Mutation::Put { key, value, expires_ms: mutation.expires_ms },
        None => Mutation::Delete { key },
    })
}

fn condition(table: Table, condition: v1::Condition) -> Result<Condition, Kind> {
    let key = table.encode(condition.key)?;
    let expected = match condition.expected.ok_or_else(|| status::field("expected"))? {
        WireExpected::Absent(_) => Expected::Absent,
        WireExpected::Version(version) => Expected::Version(skerry_core::time::Version(version)),
        WireExpected::Value(value) => Expected::Value(value),
    };
    Ok(Condition { key, expected })
}

#[tonic::async_trait]
impl KvService for Kv {
    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        self.respond(self.do_put(request.into_inner()).await)
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        self.respond(self.do_get(request.into_inner()).await)
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteResponse>, Status> {
        self.respond(self.do_delete(request.into_inner()).await)
    }

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<v1::ScanResponse>, Status> {
        self.respond(self.do_scan(request.into_inner()).await)
    }

    async fn batch(&self, request: Request<v1::BatchRequest>) -> Result<Response<v1::BatchResponse>, Status> {
        self.respond(self.do_batch(request.into_inner()).await)
    }

    type SessionStream = session::Results;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Ok(paced::lasting(session::open(self.context.clone(), request.into_inner())?))
    }
}
