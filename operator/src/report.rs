//! Writes the status, once for each look, and only if it has changed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use skerry_operator_core::Round;
use skerry_operator_core::kubernetes::ObjectWrite;

use crate::apply::{ApplyError, Writer};

/// The status could not be written; the next look writes it.
#[derive(Debug, thiserror::Error)]
#[error("failed to report")]
pub struct ReportError(#[from] ApplyError);

/// Reports what was seen, decided and done.
pub async fn report(mut writer: Writer<'_>, round: &Round<ObjectWrite>) -> Result<(), ReportError> {
    let told = round.report(writer.database(), &Time(Timestamp::now()));
    writer.record(|status| *status = told).await?;
    Ok(())
}
