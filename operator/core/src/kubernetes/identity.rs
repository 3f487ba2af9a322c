//! What is written down of a database when it is first met: its name among its nodes and volumes, and the image of the nodes.
//! Neither changes with the operator.

use skerry_api::{CLUSTER_ID, DATABASE_LABEL, DistributedDatabase, DistributedDatabaseStatus, Replacement};

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

#[cfg(test)]
mod tests {
    use skerry_api::REPLACE;

    use super::*;
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
}
