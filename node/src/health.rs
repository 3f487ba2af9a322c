//! Tells the gRPC health service what the vitals say, after the worker was asked.

use std::sync::Arc;
use std::time::Duration;

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::inbox::Inbox;
use crate::vitals::Vitals;

/// Time between two looks at whether the node is ready, which gRPC's health service tells.
const PERIOD: Duration = Duration::from_millis(200);
/// Empty = the node as a whole.
const SERVICES: [&str; 4] = ["", "skerry.v1.KvService", "skerry.v1.MapService", "skerry.v1.AdminService"];

/// Goes on until it is aborted.
pub async fn keep_told(reporter: HealthReporter, vitals: Arc<Vitals>, inbox: Arc<Inbox>) {
    let mut told = None;
    loop {
        vitals.ask_worker(&inbox).await;
        let ready = vitals.ready().iter().all(|check| check.well);
        if told != Some(ready) {
            told = Some(ready);
            let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
            for service in SERVICES {
                reporter.set_service_status(service, status).await;
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}
