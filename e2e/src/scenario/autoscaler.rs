//! A horizontal pod autoscaler on the scale subresource: it finds its target, and what it would do is done through the same door.

use anyhow::{Result, ensure};
use serde_json::json;

use super::await_condition::{await_condition, once};
use super::judge::CHANGE_GOAL;
use super::kube::DATABASE;
use super::objects::NAME;
use super::stage::{LONG, Stage};
use super::value::{condition, is_true, number, text};

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    stage.start(3, 3)?;
    stage.kube.apply(&json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": NAME },
        "spec": {
            "scaleTargetRef": { "apiVersion": "skerry.io/v1alpha1", "kind": "DistributedDatabase", "name": NAME },
            "minReplicas": 3,
            "maxReplicas": 5,
            "metrics": [{
                "type": "Resource",
                "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 80 } },
            }],
        },
    }))?;
    await_condition("the autoscaler to find its target", LONG, || {
        let autoscaler = stage.kube.get_known("horizontalpodautoscaler", NAME)?;
        let able = condition(&autoscaler, "AbleToScale").map_or("", |c| text(c, "/message"));
        // Without metrics it does not scale by itself; what it says then also tells whether the selector is of use.
        let active = condition(&autoscaler, "ScalingActive").map_or("", |c| text(c, "/reason"));
        let has_selector = !active.is_empty() && active != "InvalidSelector";
        let is_able = is_true(&autoscaler, "AbleToScale") && has_selector;
        Ok(once(is_able && number(&autoscaler, "/status/currentReplicas") == Some(3), format!("{able}; {active}")))
    })?;
    stage.say("the autoscaler has found its target");
    let scale = stage.kube.run(&["get", DATABASE, NAME, "--subresource=scale", "-o", "json"])?;
    let scale: serde_json::Value = serde_json::from_str(&scale)?;
    let selector = text(&scale, "/status/selector").to_owned();
    let selected = stage.kube.list("pods", &selector)?.len();
    ensure!(!selector.is_empty() && selected == 3, "the selector {selector:?} finds {selected} pods");

    for replicas in [4, 3] {
        let summary = stage.phase(&format!("autoscaled to {replicas}"), |stage| {
            let patch = json!({ "spec": { "replicas": replicas } }).to_string();
            stage.kube.run(&["patch", DATABASE, NAME, "--subresource=scale", "--type=merge", "-p", &patch])?;
            stage.await_ready("the wanted number of nodes").map(drop)
        })?;
        stage.expect_fewest_moves(&summary)?;
        stage.expect_pause(&summary, CHANGE_GOAL)?;
    }
    stage.finish()
}
