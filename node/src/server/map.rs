//! The shard map for clients and the operator: as this node has it, and every change as it comes.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use skerry_client::wire::Wire;
use skerry_core::ids::Epoch;
use skerry_proto::v1::map_service_server::MapService;
use skerry_proto::v1::{GetMapRequest, GetMapResponse, WatchMapRequest, WatchMapResponse};
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

use super::{Context, paced};

/// Serves the map API: the shard map that this node knows.
#[derive(Debug, Clone)]
pub(super) struct MapPages {
    pub(super) context: Arc<Context>,
}

#[tonic::async_trait]
impl MapService for MapPages {
    async fn get_map(&self, _request: Request<GetMapRequest>) -> Result<Response<GetMapResponse>, Status> {
        let map = self.context.map().since(Epoch(0)).into_wire();
        Ok(paced::counted(self.context.inbox.budget(), GetMapResponse { map: Some(map) }))
    }

    type WatchMapStream = Pin<Box<dyn Stream<Item = Result<WatchMapResponse, Status>> + Send>>;

    async fn watch_map(&self, request: Request<WatchMapRequest>) -> Result<Response<Self::WatchMapStream>, Status> {
        let mut have = Epoch(request.into_inner().have_epoch);
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
