//! Writes the status, once for each look, and only if it has changed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use skerry_operator_core::{Decision, Invalid, status};

use crate::apply::{ApplyError, Writer};
use crate::observe::Sight;

/// The status could not be written; the next look writes it.
#[derive(Debug, thiserror::Error)]
#[error("failed to report")]
pub struct ReportError(#[from] ApplyError);

/// Reports what was seen, decided and done.
pub async fn report(
    mut writer: Writer<'_>,
    seen: &Sight,
    decision: &Result<Decision, Invalid>,
    failure: Option<&str>,
) -> Result<(), ReportError> {
    let now = Time(Timestamp::now());
    let told = status(writer.database(), &seen.observed, decision, failure, &now);
    writer.record(|status| *status = told).await?;
    Ok(())
}
