//! The shard map for clients and the operator: as this node has it, and every change as it comes.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use prost::Message;
use skerry_client::wire::Wire;
use skerry_core::ids::Epoch;
use skerry_proto::v1::map_service_server::MapService;
use skerry_proto::v1::{GetMapRequest, GetMapResponse, WatchMapRequest, WatchMapResponse};
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

use super::{Context, paced, status};
use crate::budget::{Kind, Share};
use crate::inbox::Refused;

/// Serves the map API: the shard map that this node knows.
#[derive(Debug, Clone)]
pub(super) struct MapPages {
    pub(super) context: Arc<Context>,
}

impl MapPages {
    /// Refuses an answer that finds no room. It is as large as the map, and one connection may ask for a thousand.
    fn check_room(&self, answer: &impl Message) -> Result<(), Status> {
        let budget = self.context.inbox.budget();
        // Whoever has no map finds nobody who has room: it is given for as long as deletes are taken.
        match budget.acquire(Kind::Answers, answer.encoded_len(), Share::More) {
            Some(_counted_from_here_on) => Ok(()),
            None => {
                let refused = Refused::NoMemory { used: budget.used(), limit: budget.limit() };
                Err(status::status(status::refused(&refused)))
            }
        }
    }
}

#[tonic::async_trait]
impl MapService for MapPages {
    async fn get_map(&self, _request: Request<GetMapRequest>) -> Result<Response<GetMapResponse>, Status> {
        let answer = GetMapResponse { map: Some(self.context.map().since(Epoch(0)).into_wire()) };
        self.check_room(&answer)?;
        Ok(paced::counted(self.context.inbox.budget(), answer))
    }

    type WatchMapStream = Pin<Box<dyn Stream<Item = Result<WatchMapResponse, Status>> + Send>>;

    async fn watch_map(&self, request: Request<WatchMapRequest>) -> Result<Response<Self::WatchMapStream>, Status> {
        let mut have = Epoch(request.into_inner().have_epoch);
        self.check_room(&WatchMapResponse { delta: Some(self.context.map().since(have).into_wire()) })?;
        let mut first = true;
        // The stream skips what the client was too slow for: each answer is what changed since the one before.
        let deltas = WatchStream::new(self.context.map.clone()).filter_map(move |map| {
            let news = first || map.epoch > have;
            first = false;
            let delta = news.then(|| map.since(have));
            have = have.max(map.epoch);
            std::future::ready(delta.map(|delta| Ok(WatchMapResponse { delta: Some(delta.into_wire()) })))
        });
        let closing = self.context.closing.clone();
        Ok(Response::new(Box::pin(deltas.take_until(closing.cancelled_owned()))))
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;
    use skerry_core::ids::{ClusterId, Incarnation, NodeId};
    use skerry_core::map::Map;
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;
    use tonic::Code;

    use super::*;
    use crate::budget::Budget;
    use crate::inbox::inbox_within;
    use crate::metrics::Metrics;
    use crate::peers::Sender;

    #[tokio::test]
    async fn a_map_for_which_there_is_no_memory_is_refused_and_given_once_there_is() {
        let (inbox, _receiver) = inbox_within(Budget::new(1_000));
        let (cluster, node, incarnation) = (ClusterId("shop".to_owned()), NodeId(1), Incarnation(1));
        let mut map = Map::default();
        map.cluster = cluster.clone();
        let (_keep, map) = watch::channel(Arc::new(map));
        let context = Context {
            inbox: Arc::new(inbox),
            map,
            stamp: Arc::default(),
            sender: Arc::new(Sender { cluster, node, incarnation }),
            sessions: Arc::default(),
            connections: Arc::default(),
            metrics: Metrics::new(&mut Registry::default()),
            closing: CancellationToken::new(),
            sessions_max: 1,
        };
        let pages = MapPages { context: Arc::new(context) };
        let budget = pages.context.inbox.budget().clone();
        let full = budget.charge(Kind::Answers, 1_250);
        let get = async || pages.get_map(Request::new(GetMapRequest::default())).await.map(drop);
        let watch = async || pages.watch_map(Request::new(WatchMapRequest::default())).await.map(drop);
        for refused in [get().await, watch().await] {
            assert_eq!(refused.map_err(|status| status.code()), Err(Code::ResourceExhausted));
        }
        drop(full);
        get().await.unwrap();
        watch().await.unwrap();
        assert_eq!(budget.used(), 0);
    }
}
