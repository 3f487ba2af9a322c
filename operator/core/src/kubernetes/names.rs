//! The names of a database's objects. They follow from the database's name alone, so that an operator that has forgotten
//! everything finds them again.

use crate::plan::Seat;

/// Port on which nodes serve clients.
pub(super) const GRPC_PORT: u16 = 7400;
/// Port on which nodes show metrics, and whether they live.
pub(super) const HTTP_PORT: u16 = 7401;

/// Port on which nodes speak with each other.
pub(super) const PEER_PORT: u16 = 7402;
/// Port on which nodes take orders from the operator and administrators.
pub(super) const ADMIN_PORT: u16 = 7403;

/// Names of the objects of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Name of the resource that describes the database.
    pub database: String,
    /// Namespace that the resource and all its objects are in.
    pub namespace: String,
}

impl Names {
    /// The StatefulSet of a zone. The zone is empty where none are named.
    pub fn set(&self, zone: &str) -> String {
        if zone.is_empty() { self.database.clone() } else { format!("{}-{zone}", self.database) }
    }

    /// The Service that gives each pod a name.
    pub fn nodes_service(&self) -> String {
        format!("{}-nodes", self.database)
    }

    /// The Secret with what nodes demand of each other, and of who gives them orders.
    pub fn secret(&self) -> String {
        format!("{}-nodes", self.database)
    }

    /// The Service of the nodes that are ready.
    pub fn clients_service(&self) -> String {
        self.database.clone()
    }

    /// The claim of a slot's volume.
    pub fn claim(&self, slot: &str) -> String {
        format!("data-{slot}")
    }

    /// Address of a slot's node, wherever its pod runs.
    pub fn address(&self, slot: &str) -> String {
        format!("{slot}.{}.{}.svc:{GRPC_PORT}", self.nodes_service(), self.namespace)
    }

    /// Where some node that is ready is reached.
    pub fn seed(&self) -> String {
        format!("{}.{}.svc:{GRPC_PORT}", self.clients_service(), self.namespace)
    }
}

/// The database and the slot of a node that is reached at this address, if it is one of [`Names::address`].
pub fn seat(address: &str) -> Option<Seat> {
    let mut labels = address.strip_suffix(&format!(".svc:{GRPC_PORT}"))?.split('.');
    let (slot, service) = (labels.next()?, labels.next()?);
    Some(Seat { database: service.strip_suffix("-nodes")?.to_owned(), slot: slot.to_owned() })
}

/// The StatefulSet of a slot, and its number therein.
pub(super) fn ordinal(slot: &str) -> Option<(&str, u32)> {
    let (set, ordinal) = slot.rsplit_once('-')?;
    Some((set, ordinal.parse().ok()?))
}
