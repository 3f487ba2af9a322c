//! A retry with the same request id takes effect once, also at a new leader.

use skerry_core::time::Version;
use skerry_proto::v1;
use skerry_proto::v1::kv_service_client::KvServiceClient;

use crate::cluster::Cluster;
use crate::database::put;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retried_request_takes_effect_once_across_a_change_of_leader() {
    let mut cluster = Cluster::start(3);
    cluster.table("sales", 1).await;
    let database = cluster.database();
    let issued = Version(database.put("sales", b"k", b"0").await).next(0).0;
    let mut request = put("sales", b"k", b"1");
    request.request_id = Some(v1::RequestId { issued, client: 7, sequence: 1 });
    let send = || database.call("sales", async |channel| KvServiceClient::new(channel).put(request.clone()).await);
    let first = send().await.unwrap().into_inner().version;
    let between = database.put("sales", b"k", b"2").await;
    assert_eq!(send().await.unwrap().into_inner().version, first, "the same answer again");

    let leader = cluster.leader("sales").await;
    cluster.nodes[leader].kill();
    assert_eq!(send().await.unwrap().into_inner().version, first, "also from the next leader");
    let record = database.get("sales", b"k").await.unwrap();
    assert_eq!((record.version, &record.value[..]), (between, &b"2"[..]));
}
