//! The node processes of a playground: starts those that should run, starts again what crashed, stops what must go.
//! Which nodes there are is not decided here.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use skerry_operator_core::Process;

use super::backoff::Backoff;
use super::process::{Launch, NodeProcess, log_tail};

/// Lines of a node's log in a message about its end.
const TAIL_LINES: usize = 3;

/// The processes of all nodes, by slot.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    nodes: BTreeMap<String, Local>,
}

#[derive(Debug)]
struct Local {
    launch: Launch,
    state: State,
    backoff: Backoff,
    why_down: Option<String>,
    /// When it last ceased to do well, or was added.
    down_since: Instant,
}

#[derive(Debug)]
enum State {
    Running { process: NodeProcess, since: Instant },
    Waiting { until: Instant },
    StaysDown,
}

/// State of a node's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ProcessState {
    /// The process runs.
    Running {
        /// Id of the process.
        pid: u32,
    },
    /// It ended, and will be started again.
    Restarting {
        /// How many times in a row the process has ended.
        crashes: u32,
        /// How the process ended the last time, in words.
        why: String,
    },
    /// It was killed and told to stay down.
    StaysDown,
}

impl Fleet {
    /// Adds a node; [`Self::tend`] starts it. One that is there stays as it is.
    pub(crate) fn add(&mut self, slot: &str, launch: Launch, now: Instant) {
        let new = || Local {
            launch,
            state: State::Waiting { until: now },
            backoff: Backoff::default(),
            why_down: None,
            down_since: now,
        };
        self.nodes.entry(slot.to_owned()).or_insert_with(new);
    }

    /// Stops a node and forgets it.
    pub(crate) async fn remove(&mut self, slot: &str) -> io::Result<()> {
        match self.nodes.remove(slot) {
            Some(Local { state: State::Running { mut process, .. }, .. }) => process.stop().await,
            _ => Ok(()),
        }
    }

    /// Notices what ended and starts what is due; gives what happened, in words.
    pub(crate) fn tend(&mut self, now: Instant) -> Vec<String> {
        self.nodes.iter_mut().filter_map(|(slot, local)| local.tend(slot, now)).collect()
    }

    /// `kill -9`. A node that is down already is only told whether to stay so.
    pub(crate) async fn kill(&mut self, slot: &str, stay_down: bool) -> io::Result<()> {
        let Some(local) = self.nodes.get_mut(slot) else { return Ok(()) };
        if let State::Running { process, since } = &mut local.state {
            process.kill().await?;
            let (since, now) = (*since, Instant::now());
            let until = local.ended(since, now);
            local.why_down = Some("killed on request".to_owned());
            local.state = State::Waiting { until };
        }
        if stay_down {
            local.state = State::StaysDown;
        }
        Ok(())
    }

    /// Starts a node that stays down, or waits, now.
    pub(crate) fn start(&mut self, slot: &str, now: Instant) {
        if let Some(local) = self.nodes.get_mut(slot)
            && !matches!(local.state, State::Running { .. })
        {
            local.state = State::Waiting { until: now };
        }
    }

    /// How a slot's process stands. `None` = there is none.
    pub(crate) fn state(&self, slot: &str) -> Option<ProcessState> {
        let local = self.nodes.get(slot)?;
        Some(match &local.state {
            State::Running { process, .. } => ProcessState::Running { pid: process.pid() },
            State::Waiting { .. } => ProcessState::Restarting {
                crashes: local.backoff.crashes(),
                why: local.why_down.clone().unwrap_or_default(),
            },
            State::StaysDown => ProcessState::StaysDown,
        })
    }

    /// How the process of a slot does, as the plan sees it.
    pub(crate) fn process(&self, slot: &str, now: Instant) -> Process {
        let Some(local) = self.nodes.get(slot) else { return Process::begun(None, Duration::ZERO) };
        let running = match &local.state {
            State::Running { since, .. } => Some(now.duration_since(*since)),
            State::Waiting { .. } | State::StaysDown => None,
        };
        Process::begun(running, now.duration_since(local.down_since))
    }

    /// Stops all at once, and waits until they are gone.
    pub(crate) async fn stop_all(&mut self) -> io::Result<()> {
        let nodes = std::mem::take(&mut self.nodes);
        let stops = nodes.into_values().map(|local| async move {
            match local.state {
                State::Running { mut process, .. } => process.stop().await,
                State::Waiting { .. } | State::StaysDown => Ok(()),
            }
        });
        join_all(stops).await.into_iter().collect()
    }
}

impl Local {
    /// Notes the end of a process that was started then; gives the time of the next start.
    fn ended(&mut self, since: Instant, now: Instant) -> Instant {
        if Process::begun(Some(now.duration_since(since)), Duration::ZERO).ready {
            self.down_since = now;
        }
        self.backoff.ended(since, now)
    }

    fn tend(&mut self, slot: &str, now: Instant) -> Option<String> {
        match &mut self.state {
            State::Running { process, since } => {
                let ended = match process.ended() {
                    Ok(None) => return None,
                    Ok(Some(status)) => status.to_string(),
                    Err(error) => error.to_string(),
                };
                let tail = log_tail(&self.launch.log, TAIL_LINES);
                let since = *since;
                let until = self.ended(since, now);
                self.state = State::Waiting { until };
                let words = if tail.is_empty() { String::new() } else { format!(". Its last words:\n{tail}") };
                let told = format!("{slot} ended ({ended}); it starts again{words}");
                self.why_down = Some(ended);
                Some(told)
            }
            State::Waiting { until } if *until <= now => match NodeProcess::start(&self.launch) {
                Ok(process) => {
                    let told = format!("{slot} runs as process {}", process.pid());
                    self.state = State::Running { process, since: now };
                    Some(told)
                }
                Err(error) => {
                    let until = self.backoff.ended(now, now);
                    self.state = State::Waiting { until };
                    self.why_down = Some(error.to_string());
                    Some(format!("failed to start {slot}: {error}"))
                }
            },
            State::Waiting { .. } | State::StaysDown => None,
        }
    }
}
