//! Open connections by the address that they come from.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use crate::session::End;

/// Some of a port's connections, counted.
#[derive(Debug, Default)]
pub(super) struct Open {
    count: usize,
    /// Those of each address, with their numbers, oldest first.
    by_address: HashMap<IpAddr, VecDeque<(u64, Arc<End>)>>,
}

impl Open {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Adds one. Numbers tell which is older, in whatever order they come.
    pub(super) fn add(&mut self, address: IpAddr, number: u64, end: Arc<End>) {
        let open = self.by_address.entry(address).or_default();
        let at = open.partition_point(|(other, _)| *other < number);
        open.insert(at, (number, end));
        self.count += 1;
    }

    /// Takes one out, if it is there.
    pub(super) fn remove(&mut self, address: IpAddr, number: u64) -> Option<Arc<End>> {
        self.take(address, |open| {
            let at = open.binary_search_by_key(&number, |(number, _)| *number).ok()?;
            open.remove(at)
        })
    }

    /// Takes the oldest one of the address with the most out. Of two with as many, that of the older one: so the newest
    /// connection never goes while there is another.
    pub(super) fn remove_heaviest(&mut self) -> Option<(IpAddr, Arc<End>)> {
        let oldest = |open: &VecDeque<(u64, Arc<End>)>| open.front().map(|(number, _)| *number);
        let heaviest = self.by_address.iter().max_by_key(|(_, open)| (open.len(), Reverse(oldest(open))));
        let address = heaviest.map(|(address, _)| *address)?;
        self.take(address, VecDeque::pop_front).map(|end| (address, end))
    }

    fn take(
        &mut self,
        address: IpAddr,
        take: impl FnOnce(&mut VecDeque<(u64, Arc<End>)>) -> Option<(u64, Arc<End>)>,
    ) -> Option<Arc<End>> {
        let open = self.by_address.get_mut(&address)?;
        let taken = take(open);
        if open.is_empty() {
            self.by_address.remove(&address);
        }
        self.count -= usize::from(taken.is_some());
        taken.map(|(_, end)| end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_of_an_address_whose_connections_are_gone() {
        let (mut open, here) = (Open::default(), IpAddr::from([10, 0, 0, 1]));
        for number in [2, 1] {
            open.add(here, number, Arc::default());
        }
        assert!(open.remove(here, 3).is_none());
        assert!(open.remove(here, 2).is_some() && open.remove(here, 2).is_none());
        assert_eq!(open.remove_heaviest().map(|(address, _)| address), Some(here));
        assert_eq!((open.count(), open.by_address.len()), (0, 0));
        assert!(open.remove_heaviest().is_none());
    }
}
