//! What is written down of a database when it is first met: its name among its nodes and volumes, and the image of the nodes.
//! Neither changes with the operator, but for an image that no node has ever run.

use skerry_api::{CLUSTER_ID, DATABASE_LABEL, DistributedDatabase, DistributedDatabaseStatus, Replacement};

use crate::observed::{Observed, Running, Seen, Slot};
use crate::planted::{Planted, is_planted};
use crate::validate::ReplaceRequest;

/// As the schema bounds a slot's name.
const SLOT_CHARS_MAX: usize = 63;

/// The status to begin with. `None` = it was written down before.
pub fn identity(database: &DistributedDatabase, node_image: &str) -> Option<DistributedDatabaseStatus> {
    let mut status = database.status.clone().unwrap_or_default();
    if status.cluster_id.is_some() && status.image.is_some() {
        return None;
    }
    let metadata = &database.metadata;
    let adopted = metadata.annotations.as_ref().and_then(|annotations| annotations.get(CLUSTER_ID)).cloned();
    // What is taken up was founded before.
    status.founded |= adopted.is_some();
    // A status that was lost does not say what was replaced before: what is asked for by now may be done.
    let asked = ReplaceRequest::of(database).filter(|_| status.cluster_id.is_none()).map(|request| request.slot);
    let asked = asked.filter(|slot| slot.chars().count() <= SLOT_CHARS_MAX);
    let as_done = |slot| Replacement { slot, node: None, volume: None, done_by: None };
    status.replacement = status.replacement.or(asked.map(as_done));
    status.cluster_id = status.cluster_id.or(adopted).or(metadata.uid.clone());
    status.image = status.image.or_else(|| Some(node_image.to_owned()));
    status.selector = Some(format!("{DATABASE_LABEL}={}", metadata.name.as_deref().unwrap_or_default()));
    Some(status)
}

/// The image to write down instead of the one that is: this operator's own, where the other may be one that cannot be had,
/// from a registry that was mistyped when the operator was installed. `None` = it stays.
///
/// The image of a database stays once a node has run it: from when one was told to found the database, and while any pod
/// runs, or may.
pub fn another_image(database: &DistributedDatabase, observed: &Observed, node_image: &str) -> Option<String> {
    let Seen::Known(slots) = &observed.slots else { return None };
    let written = database.status.as_ref()?.image.as_deref()?;
    // A release before this one did not write down who was told.
    let was_told = observed.founding.as_ref().map_or(!slots.is_empty(), |founding| !founding.told.is_empty());
    let is_used =
        !is_planted(Planted::ImageOfTheOperator) && (observed.founded || was_told || slots.values().any(may_run));
    (written != node_image && !is_used).then(|| node_image.to_owned())
}

fn may_run(slot: &Slot) -> bool {
    let process = &slot.process;
    process.ready || process.ending || process.running == Running::Maybe
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;
    use skerry_api::{Founder, Founding, REPLACE};

    use super::*;
    use crate::observed::{Process, SlotVolume};
    use crate::planted::plant;
    use crate::testing::resource;

    fn made(annotations: &[(&str, &str)]) -> DistributedDatabase {
        let mut database = resource("{}");
        database.metadata.uid = Some("uid-1".to_owned());
        let annotations = annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        database.metadata.annotations = Some(annotations.collect());
        database
    }

    #[test]
    fn a_database_gets_its_name_and_image_once_and_one_that_is_taken_up_was_founded_before() {
        let mut new = made(&[]);
        let first = identity(&new, "node:1").unwrap();
        assert_eq!((first.cluster_id.as_deref(), first.founded), (Some("uid-1"), false));
        assert_eq!(
            (first.image.as_deref(), first.selector.as_deref()),
            (Some("node:1"), Some("skerry.io/database=shop"))
        );
        new.status = Some(first);
        assert_eq!(identity(&new, "node:2"), None);
        let adopted = identity(&made(&[(CLUSTER_ID, "old")]), "node:1").unwrap();
        assert_eq!((adopted.cluster_id.as_deref(), adopted.founded), (Some("old"), true));
    }

    #[test]
    fn what_is_to_be_replaced_counts_as_done_where_a_status_was_lost() {
        for annotation in ["shop-1", " shop-1/n7 "] {
            let replacement = identity(&made(&[(REPLACE, annotation)]), "node:1").unwrap().replacement.unwrap();
            assert_eq!((replacement.slot.as_str(), replacement.node, replacement.volume), ("shop-1", None, None));
        }
        let mut kept = made(&[(REPLACE, "shop-1")]);
        kept.status = Some(DistributedDatabaseStatus { cluster_id: Some("c".into()), ..Default::default() });
        assert_eq!(identity(&kept, "node:1").unwrap().replacement, None, "the status was not lost");
    }

    /// With a pod that runs so, of a database of which one or none was told to found it.
    fn seen(running: Running, told: &[&str]) -> Observed {
        let process = Process { ready: false, running, ..Process::STEADY };
        let slot = Slot {
            zone: "a".into(),
            address: "a:1".into(),
            process,
            volume: SlotVolume::default(),
            held_up: None,
            host: None,
        };
        let told = told.iter().map(|slot| Founder { slot: (*slot).into(), volume: "claim".into() }).collect();
        let kept = DistributedDatabaseStatus { founding: Some(Founding { told }), ..Default::default() };
        let slots = Seen::Known([("shop-a-0".to_owned(), slot)].into());
        Observed { slots, ..Observed::kept_by(kept, Time(Timestamp::from_second(0).unwrap())) }
    }

    /// Of a chart with a mistyped registry: it stayed for ever, however the operator was installed afterwards.
    #[test]
    fn an_image_that_no_node_has_run_follows_the_operator_and_any_other_stays() {
        let mut database = made(&[]);
        database.status = identity(&database, "typo/node:1");
        let another = |observed: &Observed, image: &str| another_image(&database, observed, image);
        let stuck = seen(Running::Failing, &[]);
        assert_eq!(another(&stuck, "node:1").as_deref(), Some("node:1"));
        assert_eq!(another(&stuck, "typo/node:1"), None, "it is the same");
        for running in [Running::Unplaced, Running::Replaced] {
            assert!(another(&seen(running, &[]), "node:1").is_some(), "{running:?}");
        }
        let none = Observed { slots: Seen::Known(BTreeMap::new()), founding: None, ..stuck.clone() };
        assert!(another(&none, "node:1").is_some());
        let stays = [
            ("a pod may run", seen(Running::Maybe, &[])),
            ("one was told to found it", seen(Running::Failing, &["shop-a-0"])),
            ("one may have been told to", Observed { founding: None, ..stuck.clone() }),
            ("it is founded", Observed { founded: true, ..stuck.clone() }),
            ("it is not known what there is", Observed { slots: Seen::Unknown("a pod".into()), ..stuck.clone() }),
        ];
        for (why, observed) in stays {
            assert_eq!(another(&observed, "node:1"), None, "{why}");
            plant(Some(Planted::ImageOfTheOperator));
            let told = another(&observed, "node:1");
            plant(None);
            assert_eq!(told.is_some(), observed.slots.known().is_some(), "{why}: the bug is noticed");
        }
    }
}
