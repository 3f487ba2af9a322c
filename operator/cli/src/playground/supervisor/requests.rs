//! What others ask of a supervisor.

use std::time::Instant;

use super::Supervisor;
use crate::playground::control::{Call, Request};
use crate::playground::report::Phase;

impl Supervisor {
    /// Carries out one request and answers it.
    pub(super) async fn answer(&mut self, (request, answer): Call) {
        let reply = match request {
            Request::Kill { node, stay_down } => match self.slot_named(&node) {
                Some(slot) => match self.fleet.kill(&slot, stay_down).await {
                    Ok(()) if stay_down => Ok(format!("{slot} is killed, and stays down")),
                    Ok(()) => Ok(format!("{slot} is killed; it starts again")),
                    Err(error) => Err(format!("failed to kill {slot}: {error}")),
                },
                None => Err(format!("there is no node {node:?} here")),
            },
            Request::Start { node } => match self.slot_named(&node) {
                Some(slot) => {
                    self.fleet.start(&slot, Instant::now());
                    Ok(format!("{slot} starts"))
                }
                None => Err(format!("there is no node {node:?} here")),
            },
            // Handled where the loop ends.
            Request::Down => Err("the playground is going down".to_owned()),
        };
        if let Ok(told) = &reply {
            self.tell(told.clone());
            // Whoever asked must not find the report of before.
            if let Err(error) = self.report(Phase::Working, told.clone(), None) {
                self.tell(format!("failed to report: {error}"));
            }
        }
        let _nobody_waits = answer.send(reply);
    }

    /// By slot, or by node id as `n3` or `3`.
    fn slot_named(&self, name: &str) -> Option<String> {
        if self.kept.slots.contains_key(name) {
            return Some(name.to_owned());
        }
        let id: u64 = name.strip_prefix('n').unwrap_or(name).parse().ok()?;
        let report = self.reports.borrow();
        report.nodes.iter().find(|n| n.node == Some(id)).map(|n| n.slot.clone())
    }
}
