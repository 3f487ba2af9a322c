//! How many connections a port has, and what becomes of one more: on the clients' port it is refused, on every other port
//! it takes the place of another.
//!
//! A port on which connections are refused can be filled by whoever reaches it. So where the health of the node is asked,
//! and where the other nodes come, nobody is refused: the address with the most connections loses its oldest one. Whoever
//! fills the port thereby pushes out its own connections, and a probe, which has one for a moment, finds a place. A
//! connection that has shown the database's secret loses its place to no stranger, however many addresses strangers have.

mod open;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

use self::open::Open;
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
    /// It takes the place of another.
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
    /// Of the open ones, those whose calls are refused.
    refused: usize,
    /// The open connections that have shown no secret.
    strangers: Open,
    /// Those that have.
    known: Open,
    told: Option<Instant>,
}

/// One of them, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    of: Arc<Places>,
    number: u64,
    address: IpAddr,
    /// Its calls are refused.
    is_over: AtomicBool,
    is_known: AtomicBool,
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
        let is_over = taken.served() >= self.most;
        if self.full == Full::Refuse && is_over && taken.refused >= REFUSED_MAX {
            return None;
        }
        taken.last += 1;
        let (number, end) = (taken.last, Arc::new(End::default()));
        taken.strangers.add(address, number, end.clone());
        let is_refused = is_over && self.full == Full::Refuse;
        taken.refused += usize::from(is_refused);
        if is_over && !is_refused {
            taken.make_room(self.most);
        }
        drop(taken);
        let (is_over, is_known) = (AtomicBool::new(is_refused), AtomicBool::new(false));
        Some(Place { of: self.clone(), number, address, is_over, is_known, end })
    }

    /// Number of connections that are open.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.taken().open()
    }
}

impl Taken {
    fn open(&self) -> usize {
        self.strangers.count() + self.known.count()
    }

    fn served(&self) -> usize {
        self.open() - self.refused
    }

    /// Ends a connection for the newest one: of the strangers if there are others than this one, else of those that are
    /// known.
    fn make_room(&mut self, most: usize) {
        let crowd =
            if self.strangers.count() > 1 || self.known.count() == 0 { &mut self.strangers } else { &mut self.known };
        let Some((address, end)) = crowd.remove_heaviest() else { return };
        end.tell();
        let now = Instant::now();
        if self.told.is_none_or(|told| now - told >= TELL_EVERY) {
            self.told = Some(now);
            warn!(%address, most, "a port has its most connections: the oldest of the address with the most is closed");
        }
    }
}

impl Place {
    /// The limit of its port, if it is beyond it. It no longer is once there is room.
    pub(super) fn beyond(&self) -> Option<usize> {
        let most = self.of.most;
        if !self.is_over.load(Ordering::Relaxed) {
            return None;
        }
        let mut taken = self.of.taken();
        // Another call of it may have come first.
        if self.is_over.load(Ordering::Relaxed) && taken.served() < most {
            taken.refused -= 1;
            self.is_over.store(false, Ordering::Relaxed);
        }
        self.is_over.load(Ordering::Relaxed).then_some(most)
    }

    /// A call of it has shown the database's secret.
    pub(super) fn has_shown_the_secret(&self) {
        if self.is_known.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut taken = self.of.taken();
        // One that was ended to make room has no place any more.
        if let Some(end) = taken.strangers.remove(self.address, self.number) {
            taken.known.add(self.address, self.number, end);
        }
    }

    /// The handle that ends this place's connection.
    pub(super) fn end(&self) -> &Arc<End> {
        &self.end
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.taken();
        taken.refused -= usize::from(*self.is_over.get_mut());
        // One that was ended to make room has none any more.
        let open = if *self.is_known.get_mut() { &mut taken.known } else { &mut taken.strangers };
        open.remove(self.address, self.number);
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
        assert_eq!(places.count(), 0);
    }

    /// A probe is one of many addresses, and must not push itself out.
    #[test]
    fn the_oldest_goes_where_no_address_has_more_than_another() {
        for addresses in [["10.0.0.1"; 3], ["10.0.0.1", "10.0.0.2", "10.0.0.3"], ["10.0.0.3", "10.0.0.2", "10.0.0.1"]] {
            let places = Places::replacing(2);
            let taken = addresses.map(|from| places.take(address(from)).unwrap());
            assert_eq!(taken.each_ref().map(|place| place.end().is_told()), [true, false, false]);
        }
    }

    #[test]
    fn no_stranger_however_many_addresses_it_has_pushes_out_who_has_shown_the_secret() {
        let places = Places::replacing(4);
        let links = [(); 2].map(|()| places.take(address("10.0.0.1")).unwrap());
        links.iter().for_each(Place::has_shown_the_secret);
        links[0].has_shown_the_secret();
        let strangers: Vec<_> = (1..100).map(|n| places.take(address(&format!("10.0.{n}.9"))).unwrap()).collect();
        let beside: Vec<_> = (0..100).map(|_| places.take(address("10.0.0.1")).unwrap()).collect();
        assert!(links.iter().all(|place| !place.end().is_told()));
        assert_eq!(places.count(), 4);
        // One that was pushed out already.
        strangers[0].has_shown_the_secret();
        drop((links, strangers, beside));
        assert_eq!(places.count(), 0);
    }

    #[test]
    fn a_port_that_is_full_of_the_databases_own_takes_another_all_the_same() {
        let places = Places::replacing(3);
        let many = [(); 2].map(|()| places.take(address("10.0.0.1")).unwrap());
        let other = places.take(address("10.0.0.2")).unwrap();
        many.iter().chain([&other]).for_each(Place::has_shown_the_secret);
        let newcomer = places.take(address("10.0.0.3")).unwrap();
        let told = [&many[0], &many[1], &other, &newcomer].map(|place| place.end().is_told());
        assert_eq!(told, [true, false, false, false]);
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

    #[test]
    fn a_connection_whose_calls_were_refused_is_served_once_there_is_room_and_takes_no_place_before() {
        let places = Places::refusing(2);
        let served = [(); 2].map(|()| places.take(address("10.0.0.1")).unwrap());
        let refused = [(); 3].map(|()| places.take(address("10.0.0.2")).unwrap());
        assert!(refused.iter().all(|place| place.beyond() == Some(2)));
        drop(served);
        let new = places.take(address("10.0.0.3")).unwrap();
        assert_eq!(new.beyond(), None, "nobody is served");
        assert_eq!(refused.each_ref().map(Place::beyond), [None, Some(2), Some(2)]);
        drop((new, refused));
        assert_eq!((places.count(), places.taken().refused), (0, 0));
    }
}
