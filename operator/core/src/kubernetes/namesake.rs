//! Whether those who answer for a database are the nodes of this resource. Two resources may have one cluster id: of a
//! namespace that was restored beside the one that it is a copy of, say.

use skerry_core::map::{NodeRecord, NodeState};
use skerry_core::node::Status;

use super::names::Names;
use crate::health::last_word;
use crate::planted::{Planted, is_planted};

/// Why nothing is done on this status: nodes of another resource answer. `None` = they are this one's.
///
/// A node that is heard, and says itself that it is at the address of another resource's pod, is of a database that another
/// resource looks after. What the map has may be older: volumes that were moved from one resource to another tell of their new
/// addresses when their nodes start, and a copy of a volume may have told of its own before it went. That counts only while no
/// node is at an address of this resource's own.
pub fn namesake(names: &Names, status: &Status) -> Option<String> {
    if is_planted(Planted::NamesakeAnswers) {
        return None;
    }
    let members = || status.map.nodes.values().filter(|node| node.state != NodeState::Removed);
    let is_own = |node: &NodeRecord| owner(&node.address) == Some((&*names.namespace, &*names.database));
    let has_own = members().any(is_own);
    let mut others = members().filter(|node| !is_own(node)).filter_map(|node| Some((node, owner(&node.address)?)));
    let is_heard_there =
        |node: &NodeRecord| last_word(status, node.id).is_some_and(|said| owner(&said.address) == owner(&node.address));
    let (_, (namespace, database)) = others.find(|(node, _)| !has_own || is_heard_there(node))?;
    let which = skerry_api::CLUSTER_ID;
    Some(format!(
        "nodes of {database} in namespace {namespace} answer for it: two resources have one cluster id ({}), and nothing is done \
         for this one. Delete that which is the copy; as a database of its own it is made anew, on volumes of its own, \
         without the annotation {which}",
        status.map.cluster
    ))
}

/// Namespace and name of the resource whose pods have such an address. `None` = it is of no pod.
fn owner(address: &str) -> Option<(&str, &str)> {
    let (host, _) = address.rsplit_once(':')?;
    let mut labels = host.strip_suffix(".svc")?.split('.');
    let (_, service, namespace) = (labels.next()?, labels.next()?, labels.next()?);
    Some((namespace, service.strip_suffix("-nodes")?)).filter(|_| labels.next().is_none())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::at_rest;

    /// A database whose nodes are in these namespaces; those that are not heard are marked.
    fn told(nodes: [(&str, bool); 3]) -> Option<String> {
        let mut status = at_rest(&["a", "b", "c"], 1);
        let map = Arc::make_mut(&mut status.map);
        let records: Vec<NodeRecord> = map.nodes.values().cloned().collect();
        for (mut node, (namespace, heard)) in records.into_iter().zip(nodes) {
            node.address = format!("shop-{}-0.shop-nodes.{namespace}.svc:7400", node.zone);
            status.nodes.retain(|(report, _)| heard || report.node != node.id);
            let reports = status.nodes.iter_mut().filter(|(report, _)| report.node == node.id);
            reports.for_each(|(report, _)| report.address.clone_from(&node.address));
            map.put_node(node);
        }
        namesake(&Names { database: "shop".to_owned(), namespace: "here".to_owned() }, &status)
    }

    #[test]
    fn nodes_of_another_resource_that_are_heard_answer_for_no_other() {
        assert_eq!(told([("here", true); 3]), None);
        assert_eq!(told([("here", true), ("here", false), ("here", true)]), None);
        let there = told([("prod", true); 3]).expect("all are elsewhere");
        assert!(there.starts_with("nodes of shop in namespace prod answer for it: two resources have one"), "{there}");
        assert!(told([("here", true), ("here", true), ("prod", true)]).is_some(), "one of them is heard elsewhere");
        assert!(told([("prod", false); 3]).is_some(), "nothing is known of nodes here");
    }

    /// A copy of a volume told of its address before it went, and the map has that still.
    #[test]
    fn what_a_node_says_of_its_address_counts_and_not_what_the_map_has() {
        let mut status = at_rest(&["a", "b", "c"], 1);
        let map = Arc::make_mut(&mut status.map);
        let records: Vec<NodeRecord> = map.nodes.values().cloned().collect();
        for (at, mut node) in records.into_iter().enumerate() {
            let address = |namespace: &str| format!("shop-{}-0.shop-nodes.{namespace}.svc:7400", node.zone);
            let (known, said) = (address(if at == 2 { "copy" } else { "here" }), address("here"));
            let reports = status.nodes.iter_mut().filter(|(report, _)| report.node == node.id);
            reports.for_each(|(report, _)| report.address.clone_from(&said));
            node.address = known;
            map.put_node(node);
        }
        let names = Names { database: "shop".to_owned(), namespace: "here".to_owned() };
        assert_eq!(namesake(&names, &status), None);
    }

    /// They tell of their addresses one after the other, and one has not come.
    #[test]
    fn volumes_that_were_moved_to_another_resource_are_its_own_once_their_nodes_have_started() {
        assert_eq!(told([("here", true), ("prod", false), ("prod", false)]), None);
        assert_eq!(told([("here", true), ("here", true), ("prod", false)]), None);
    }

    #[test]
    fn address_that_is_of_no_pod_is_nobodys() {
        assert_eq!(owner("shop-a-0.shop-nodes.prod.svc:7400"), Some(("prod", "shop")));
        for address in ["127.0.0.1:7400", "shop-a-0.shop.prod.svc:7400", "a.b-nodes.c.d.svc:7400", "shop"] {
            assert_eq!(owner(address), None, "{address}");
        }
    }
}
