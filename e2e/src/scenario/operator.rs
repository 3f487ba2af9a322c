//! The operator itself: installed, upgraded, taken away and killed.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::OPERATOR_NAMESPACE;
use super::await_condition::{await_condition, once};
use super::kube::Kube;
use super::stage::Setup;
use super::value::{is_true, name, number, text};

/// The release, and by it the operator's deployment.
const RELEASE: &str = "skerry";
/// The Lease by which one of the operator's pods acts.
const LEASE: &str = "skerry-operator";
/// Another release, which nobody needs.
const SECOND_RELEASE: &str = "second";
/// Label selector of the operator's pods.
const PODS: &str = "app.kubernetes.io/component=operator";
/// Its pods start at once, but all hosts share one machine.
const START_WITHIN: Duration = Duration::from_secs(120);

/// Installs the chart, or upgrades what is there, and waits until the operator is ready.
pub fn install(kube: &Kube<'_>, setup: &Setup, more: &[&str]) -> Result<()> {
    let kube = kube.within(OPERATOR_NAMESPACE);
    let chart = setup.repository.join("charts/skerry");
    let images = format!("image.tag={0},nodeImage.tag={0}", setup.tag);
    let mut args = vec!["upgrade", "--install", RELEASE, path(&chart)?, "--create-namespace", "--set", &images];
    args.extend(more);
    // A scenario that failed may have scaled it away.
    if kube.get("deployment", RELEASE)?.is_some_and(|there| number(&there, "/spec/replicas") == Some(0)) {
        kube.scale("deployment", RELEASE, 2)?;
    }
    kube.helm(START_WITHIN, &args)?;
    await_operator(&kube)
}

/// Tries to install the chart once more, as another release in this namespace, and gives why that was refused.
pub(super) fn refused_second(kube: &Kube<'_>, setup: &Setup, namespace: &str) -> Result<String> {
    let chart = setup.repository.join("charts/skerry");
    let images = format!("image.tag={0},nodeImage.tag={0},crds.create=false", setup.tag);
    let args = ["install", SECOND_RELEASE, path(&chart)?, "--set", &images];
    kube.within(namespace).helm_refused(START_WITHIN, &args)
}

/// Sets the Lease's transitions back, as a restore of Kubernetes' own store does, and waits until its holder goes by that. Gives
/// what they were.
pub(super) fn set_back(kube: &Kube<'_>, by: i64) -> Result<i64> {
    let kube = kube.within(OPERATOR_NAMESPACE);
    let before = transitions(&kube)?;
    kube.patch("lease", LEASE, &json!({ "spec": { "leaseTransitions": before - by } }))?;
    let renewed = |lease: &Value| text(lease, "/spec/renewTime").to_owned();
    let at = renewed(&kube.get_known("lease", LEASE)?);
    await_condition("the Lease to be renewed as it is now", START_WITHIN, || {
        let lease = kube.get_known("lease", LEASE)?;
        Ok(once(renewed(&lease) != at, format!("{:?}", number(&lease, "/spec/leaseTransitions"))))
    })?;
    Ok(before)
}

/// The Lease's transitions, which are the operator's fencing token.
pub(super) fn transitions(kube: &Kube<'_>) -> Result<i64> {
    let lease = kube.within(OPERATOR_NAMESPACE).get_known("lease", LEASE)?;
    number(&lease, "/spec/leaseTransitions").context("the Lease has no transitions")
}

/// Takes the release away, and waits until none of its pods is left.
pub(super) fn uninstall(kube: &Kube<'_>) -> Result<()> {
    let kube = kube.within(OPERATOR_NAMESPACE);
    kube.helm(START_WITHIN, &["uninstall", RELEASE])?;
    await_none(&kube)
}

/// Scales the operator to no pods.
pub(super) fn take_away(kube: &Kube<'_>) -> Result<()> {
    let kube = kube.within(OPERATOR_NAMESPACE);
    kube.scale("deployment", RELEASE, 0)?;
    await_none(&kube)
}

/// Brings it back, with one pod that acts and one that stands by.
pub(super) fn bring_back(kube: &Kube<'_>) -> Result<()> {
    let kube = kube.within(OPERATOR_NAMESPACE);
    kube.scale("deployment", RELEASE, 2)?;
    await_operator(&kube)
}

/// Kills the pod that acts, by force. Gives its name.
pub(super) fn kill_acting(kube: &Kube<'_>) -> Result<String> {
    let (acting, _) = find_acting(kube)?;
    kube.within(OPERATOR_NAMESPACE).kill_pod(&acting)?;
    Ok(acting)
}

/// The pod that acts, and its host.
pub(super) fn find_acting(kube: &Kube<'_>) -> Result<(String, String)> {
    let kube = kube.within(OPERATOR_NAMESPACE);
    let acting = acting(&kube)?.context("no operator acts")?;
    let pod = kube.get_known("pod", &acting)?;
    Ok((acting, text(&pod, "/spec/nodeName").to_owned()))
}

/// Waits until a pod acts that is not this one.
pub(super) fn await_other(kube: &Kube<'_>, former: &str) -> Result<()> {
    let kube = kube.within(OPERATOR_NAMESPACE);
    await_condition("another operator to act", START_WITHIN, || {
        let acting = acting(&kube)?;
        Ok(once(acting.as_deref().is_some_and(|a| a != former), format!("{acting:?} acts")))
    })
}

/// The pod that the lease names, if it is there.
fn acting(kube: &Kube<'_>) -> Result<Option<String>> {
    let text_of = |lease: &Value| text(lease, "/spec/holderIdentity").to_owned();
    let mut holders = kube.list("leases", "")?.iter().map(text_of).filter(|h| !h.is_empty()).collect::<Vec<_>>();
    ensure!(holders.len() <= 1, "several leases are held: {holders:?}");
    let pods = kube.list("pods", PODS)?;
    Ok(holders.pop().filter(|holder| pods.iter().any(|pod| name(pod) == holder)))
}

fn await_operator(kube: &Kube<'_>) -> Result<()> {
    await_condition("the operator to be ready", START_WITHIN, || {
        let deployment = kube.get_known("deployment", RELEASE)?;
        let at = |path| number(&deployment, path).unwrap_or(0);
        let wanted = at("/spec/replicas");
        let is_current = at("/status/observedGeneration") == at("/metadata/generation")
            && at("/status/updatedReplicas") == wanted
            && at("/status/replicas") == wanted;
        let pods = kube.list("pods", PODS)?;
        let ready = pods.iter().filter(|pod| is_true(pod, "Ready")).count();
        let stand = format!("{ready} of {wanted} pods ready: {:?}", pods.iter().map(name).collect::<Vec<_>>());
        Ok(once(is_current && i64::try_from(ready) == Ok(wanted) && acting(kube)?.is_some(), stand))
    })
}

fn await_none(kube: &Kube<'_>) -> Result<()> {
    await_condition("the operator to be gone", START_WITHIN, || {
        let pods = kube.list("pods", PODS)?;
        Ok(once(pods.is_empty(), format!("{:?}", pods.iter().map(name).collect::<Vec<_>>())))
    })
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("the repository's path is not plain text")
}
