//! Ports for local nodes. They are chosen once and kept, so that a node comes back where clients know it.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, TcpListener};

use rand::Rng;

/// Below what systems hand out for outgoing connections: one of those could take the port of a node that is down.
const PORTS: std::ops::Range<u16> = 17_400..32_000;
/// A machine on which this many random ports in a row are taken has no port to spare.
const TRIES_MAX: usize = 500;

/// Finds a port that is neither kept for another node nor in use.
pub(crate) fn choose(kept: &BTreeSet<u16>) -> io::Result<u16> {
    let mut rng = rand::rng();
    for _ in 0..TRIES_MAX {
        let port = rng.random_range(PORTS);
        if !kept.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, format!("no free port in {TRIES_MAX} tries")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_and_used_ports_are_not_chosen() {
        let first = choose(&BTreeSet::new()).unwrap();
        let _used = TcpListener::bind((Ipv4Addr::LOCALHOST, first));
        let all_but_few: BTreeSet<u16> = PORTS.filter(|p| *p == first || p % 8 != 0).collect();
        assert!(!all_but_few.contains(&choose(&all_but_few).unwrap()));
    }
}
