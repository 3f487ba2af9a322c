//! How many connections a port has, and what becomes of one more: on the clients' port it is refused, on every other port
//! it takes the place of another.
//!
//! A port on which connections are refused can be filled by whoever reaches it. So where the health of the node is asked,
//! and where the other nodes come, nobody is refused: the address with the most connections loses its oldest one. Whoever
//! fills the port thereby pushes out its own connections, and a probe, which has one for a moment, finds a place.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::session::End;

/// Connections beyond the limit that are kept for their calls to be refused in words. Those beyond are just closed.
const REFUSED_MAX: usize = 64;
/// That a port is crowded is logged at most this often.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Of an IPv6 address, the part that tells one host's network from another's.
const NETWORK_MASK: u128 = !0 << 64;

/// What becomes of a connection for which there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    /// The connection is taken, and its calls are refused.
    Refuse,
    /// It takes the place of the oldest one of the address that has the most.
    Replace,
}

/// The connections of one port, counted.
#[derive(Debug)]
pub struct Places {
    most: usize,
    full: Full,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// Number of the last connection; connections are counted from the start on.
    last: u64,
    count: usize,
    /// The open connections of each address, with their numbers, oldest first.
    by_address: HashMap<IpAddr, VecDeque<(u64, Arc<End>)>>,
    told: Option<Instant>,
}

/// One of them, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    of: Arc<Places>,
    number: u64,
    address: IpAddr,
    is_over: bool,
    end: Arc<End>,
}

impl Places {
    /// So many connections at most: the calls of those beyond are refused.
    pub fn refusing(most: usize) -> Arc<Self> {
        Arc::new(Self { most, full: Full::Refuse, taken: Mutex::default() })
    }

    /// So many connections at most: those beyond take the places of others.
    pub fn replacing(most: usize) -> Arc<Self> {
        Arc::new(Self { most, full: Full::Replace, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from this address. `None` = it is to be closed at once.
    pub(super) fn take(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let address = network(from);
        let mut taken = self.taken();
        let is_over = taken.count >= self.most;
        if self.full == Full::Refuse && taken.count >= self.most + REFUSED_MAX {
            return None;
        }
        taken.last += 1;
        taken.count += 1;
        let (number, end) = (taken.last, Arc::new(End::default()));
        taken.by_address.entry(address).or_default().push_back((number, end.clone()));
        if is_over && self.full == Full::Replace {
            taken.make_room(self.most);
        }
        drop(taken);
        Some(Place { of: self.clone(), number, address, is_over: is_over && self.full == Full::Refuse, end })
    }

    /// Number of connections that are open.
    #[cfg(test)]
    fn count(&self) -> usize {
        self.taken().count
    }
}

impl Taken {
    /// Ends the oldest connection of the address that has the most.
    fn make_room(&mut self, most: usize) {
        let heaviest = self.by_address.iter().max_by_key(|(address, open)| (open.len(), **address));
        let Some(address) = heaviest.map(|(address, _)| *address) else { return };
        let now = Instant::now();
        if self.told.is_none_or(|told| now - told >= TELL_EVERY) {
            self.told = Some(now);
            warn!(%address, most, "a port has its most connections: the oldest of the address with the most is closed");
        }
        if let Some((_, end)) = self.remove(address, |open| open.pop_front()) {
            end.tell();
        }
    }

    fn remove<T>(
        &mut self,
        address: IpAddr,
        take: impl FnOnce(&mut VecDeque<(u64, Arc<End>)>) -> Option<T>,
    ) -> Option<T> {
        let open = self.by_address.get_mut(&address)?;
        let removed = take(open);
        if open.is_empty() {
            self.by_address.remove(&address);
        }
        self.count -= usize::from(removed.is_some());
        removed
    }
}

impl Place {
    /// The limit of its port, if it is beyond it.
    pub(super) fn beyond(&self) -> Option<usize> {
        self.is_over.then_some(self.of.most)
    }

    /// The handle that ends this place's connection.
    pub(super) fn end(&self) -> &Arc<End> {
        &self.end
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let number = self.number;
        // One that was ended to make room has none any more.
        self.of.taken().remove(self.address, |open| {
            let at = open.binary_search_by_key(&number, |(number, _)| *number).ok()?;
            open.remove(at)
        });
    }
}

/// What counts as one address: a host has as many of IPv6 as it likes.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & NETWORK_MASK)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn who_fills_a_port_that_refuses_nobody_pushes_out_its_own_oldest() {
        let places = Places::replacing(4);
        let probe = places.take(address("10.0.0.1")).unwrap();
        let crowd: Vec<_> = (0..10).map(|_| places.take(address("10.0.0.9")).unwrap()).collect();
        assert_eq!(places.count(), 4);
        assert!(!probe.end().is_told() && probe.beyond().is_none());
        let told: Vec<_> = crowd.iter().map(|place| place.end().is_told()).collect();
        assert_eq!(told, [true, true, true, true, true, true, true, false, false, false]);
        drop((probe, crowd));
        assert_eq!((places.count(), places.taken().by_address.len()), (0, 0));
    }

    #[test]
    fn the_oldest_goes_where_no_address_has_more_than_another() {
        let places = Places::replacing(1);
        let first = places.take(address("10.0.0.1")).unwrap();
        let second = places.take(address("10.0.0.1")).unwrap();
        assert!(first.end().is_told() && !second.end().is_told());
    }

    #[test]
    fn the_addresses_of_one_network_of_ipv6_and_both_ways_to_write_one_of_ipv4_count_as_one() {
        assert_eq!(network(address("fd00:1:2:3::1")), network(address("fd00:1:2:3:ffff::2")));
        assert_ne!(network(address("fd00:1:2:3::1")), network(address("fd00:1:2:4::1")));
        assert_eq!(network(address("::ffff:10.0.0.1")), address("10.0.0.1"));
    }

    #[test]
    fn a_port_that_refuses_keeps_a_few_to_be_told_and_closes_the_rest() {
        let places = Places::refusing(2);
        let taken: Vec<_> = (0..2 + REFUSED_MAX).map(|_| places.take(address("10.0.0.1")).unwrap()).collect();
        assert_eq!((taken[1].beyond(), taken[2].beyond()), (None, Some(2)));
        assert!(places.take(address("10.0.0.1")).is_none());
        assert!(taken.iter().all(|place| !place.end().is_told()));
        drop(taken);
        assert!(places.take(address("10.0.0.1")).unwrap().beyond().is_none());
    }
}
