//! No operator at all: the database serves on, and a node whose pod is killed comes back by itself.

use anyhow::Result;

use super::await_condition::{await_condition, once};
use super::judge::CRASH_GOAL;
use super::operator;
use super::stage::{LONG, Stage};
use super::value::{is_true, name, text};

const KILLED: &str = "db-zone-c-0";

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    stage.start(3, 3)?;
    let before = text(&stage.kube.get_known("pod", KILLED)?, "/metadata/uid").to_owned();
    let summary = stage.phase("no operator", |stage| {
        operator::take_away(&stage.kube)?;
        stage.say("the operator is gone");
        stage.await_writes(200)?;
        stage.kube.kill_pod(KILLED)?;
        await_condition("the killed pod to be back", LONG, || {
            let pods = stage.pods()?;
            let back =
                pods.iter().any(|p| name(p) == KILLED && text(p, "/metadata/uid") != before && is_true(p, "Ready"));
            Ok(once(back, format!("{} of 3 pods ready", pods.iter().filter(|p| is_true(p, "Ready")).count())))
        })?;
        stage.await_writes(200)
    })?;
    stage.expect_pause(&summary, CRASH_GOAL)?;
    stage.phase("the operator is back", |stage| {
        operator::bring_back(&stage.kube)?;
        stage.await_ready("the database to be ready").map(drop)
    })?;
    stage.finish()
}
