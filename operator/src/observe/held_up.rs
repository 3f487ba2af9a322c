//! Why a pod does not run, in the words of the scheduler or of its host.

use k8s_openapi::api::core::v1::{ContainerStateWaiting, Pod};
use skerry_operator_core::Running;

/// What every container waits for that is about to start.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];
/// What a container waits for that has ended, or never began: at that moment nothing of it runs. Of any other reason that
/// is not certain.
const FAILING: [&str; 11] = [
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "PreCreateHookError",
    "RegistryUnavailable",
    "RunContainerError",
];

/// Whether it runs, and why not. `None` = it does or is about to, or nobody has said why not.
pub(super) fn held_up(pod: &Pod) -> (Running, Option<String>) {
    let Some(status) = pod.status.as_ref() else { return (Running::Maybe, None) };
    let mut conditions = status.conditions.iter().flatten();
    if let Some(no_host) = conditions.find(|c| c.type_ == "PodScheduled" && c.status == "False") {
        let why = no_host.message.as_deref().unwrap_or("the scheduler does not say why");
        return (Running::Unplaced, Some(format!("no host takes it: {why}")));
    }
    let mut containers = status.container_statuses.iter().flatten();
    let told = containers.find_map(|c| waits_for(c.state.as_ref()?.waiting.as_ref()?));
    told.map_or((Running::Maybe, None), |(running, why)| (running, Some(why)))
}

fn waits_for(waiting: &ContainerStateWaiting) -> Option<(Running, String)> {
    let reason = waiting.reason.clone().filter(|reason| !STARTING.contains(&reason.as_str()))?;
    let running = if FAILING.contains(&reason.as_str()) { Running::Failing } else { Running::Maybe };
    Some((running, waiting.message.as_ref().map_or_else(|| reason.clone(), |message| format!("{reason}: {message}"))))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(status: Value) -> (Running, Option<String>) {
        held_up(&serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap())
    }

    #[test]
    fn pod_without_host_says_so_with_the_words_of_the_scheduler() {
        let scheduled = |status: &str, message: &str| {
            told(json!({"conditions": [{"type": "PodScheduled", "status": status, "message": message}]}))
        };
        let why = "0/5 nodes are available: 5 node(s) didn't match Pod's node affinity/selector";
        assert_eq!(scheduled("False", why), (Running::Unplaced, Some(format!("no host takes it: {why}"))));
        assert_eq!(scheduled("True", ""), (Running::Maybe, None));
    }

    #[test]
    fn container_that_cannot_start_says_so_and_one_that_is_about_to_does_not() {
        let waiting = |reason: &str| {
            let state = json!({"waiting": {"reason": reason, "message": "no such image"}});
            told(json!({"containerStatuses": [{"name": "node", "image": "", "imageID": "", "ready": false,
                        "restartCount": 0, "state": state}]}))
        };
        assert_eq!(waiting("ErrImagePull"), (Running::Failing, Some("ErrImagePull: no such image".to_owned())));
        assert_eq!(waiting("ContainerCreating"), (Running::Maybe, None));
        assert_eq!(waiting("NeverHeardOf"), (Running::Maybe, Some("NeverHeardOf: no such image".to_owned())));
    }
}
