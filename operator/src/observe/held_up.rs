//! Why a pod does not run, in the words of the scheduler or of its host.

use k8s_openapi::api::core::v1::{ContainerStateWaiting, Pod};

/// What every container waits for that is about to start.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// `None` = it runs or is about to, or nobody has said why not.
pub(super) fn held_up(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    if let Some(no_host) = conditions.find(|c| c.type_ == "PodScheduled" && c.status == "False") {
        return Some(format!(
            "no host takes it: {}",
            no_host.message.as_deref().unwrap_or("the scheduler does not say why")
        ));
    }
    let mut containers = status.container_statuses.iter().flatten();
    containers.find_map(|c| waits_for(c.state.as_ref()?.waiting.as_ref()?))
}

fn waits_for(waiting: &ContainerStateWaiting) -> Option<String> {
    let reason = waiting.reason.clone().filter(|reason| !STARTING.contains(&reason.as_str()))?;
    Some(waiting.message.as_ref().map_or_else(|| reason.clone(), |message| format!("{reason}: {message}")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(status: Value) -> Option<String> {
        held_up(&serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap())
    }

    #[test]
    fn pod_without_host_says_so_with_the_words_of_the_scheduler() {
        let scheduled = |status: &str, message: &str| {
            told(json!({"conditions": [{"type": "PodScheduled", "status": status, "message": message}]}))
        };
        let why = "0/5 nodes are available: 5 node(s) didn't match Pod's node affinity/selector";
        assert_eq!(scheduled("False", why), Some(format!("no host takes it: {why}")));
        assert_eq!(scheduled("True", ""), None);
    }

    #[test]
    fn container_that_cannot_start_says_so_and_one_that_is_about_to_does_not() {
        let waiting = |reason: &str| {
            let state = json!({"waiting": {"reason": reason, "message": "no such image"}});
            told(json!({"containerStatuses": [{"name": "node", "image": "", "imageID": "", "ready": false,
                        "restartCount": 0, "state": state}]}))
        };
        assert_eq!(waiting("ErrImagePull").as_deref(), Some("ErrImagePull: no such image"));
        assert_eq!(waiting("ContainerCreating"), None);
    }
}
