//! Where the last writer wins, which of two writes comes after the other their stamps say, and those follow clocks. What that
//! leaves to be counted on: writes of one client come in its order, a write that gives back what it was shown comes after
//! that, and of two writes that are further apart in time than clocks are the later one comes after the other. An
//! acknowledged write that comes before one of these is lost, though no read would ever tell.

use std::collections::BTreeMap;

use super::last_writer::Known;
use super::{Key, QuorumHistory, QuorumViolation, Rule};
use crate::record::Stamp;
use crate::time::Version;

/// What is known of the clocks by which clients issue writes and copies take them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clocks {
    /// A write that was sent more than so long after another one was acknowledged has the higher version, whoever sent them.
    Within(u64),
    /// They may be off by anything.
    Unknown,
}

impl QuorumHistory {
    /// Acknowledged writes that were lost to what was known to come before them. Only where the last writer wins; of a
    /// history of all that clients did.
    pub fn check_order(&self, rule: Rule, clocks: Clocks) -> Vec<QuorumViolation> {
        match rule {
            Rule::LastWriter => self.keys.iter().flat_map(|(name, key)| key.overtaken(name, clocks)).collect(),
            Rule::Siblings | Rule::Edited => Vec::new(),
        }
    }
}

impl Key {
    fn overtaken(&self, name: &[u8], clocks: Clocks) -> Vec<QuorumViolation> {
        let done = || self.writes.iter().filter_map(|write| Some((write, write.lowest()?)));
        let mut of_clients: BTreeMap<u64, Vec<(u64, Stamp)>> = BTreeMap::new();
        for (write, stamp) in done() {
            let own = write.client.map(|client| of_clients.entry(client).or_default());
            own.into_iter().for_each(|own| own.push((write.returned, stamp)));
        }
        let of_clients: BTreeMap<u64, Known> =
            of_clients.into_iter().map(|(client, own)| (client, Known::of(own.into_iter()))).collect();
        let of_all = match clocks {
            Clocks::Within(apart) => {
                Known::of(done().map(|(write, stamp)| (write.returned.saturating_add(apart), stamp)))
            }
            Clocks::Unknown => Known::of(std::iter::empty()),
        };
        let versions = self.versions();
        let overtaken = done().filter_map(|(write, stamp)| {
            let own = write.client.and_then(|client| of_clients.get(&client)?.before(write.invoked));
            let any = of_all.before(write.invoked);
            let seen = write.seen.iter().filter_map(|value| versions.get(value)).max();
            let earlier = own.max(any).map(|stamp| stamp.version);
            let expected = earlier.max(seen.copied()).filter(|expected| *expected >= stamp.version)?;
            let (key, at, version) = (name.to_vec(), write.invoked, stamp.version);
            // Of a batch nobody has told which version this key has.
            (version > Version::default()).then_some(QuorumViolation::Overtaken { key, at, version, expected })
        });
        overtaken.collect()
    }

    /// The version of each value, by its write or as it was shown.
    fn versions(&self) -> BTreeMap<u64, Version> {
        let shown = self.reads.iter().flat_map(|read| &read.found).map(|(version, value)| (*value, *version));
        let written = self.of_values().into_iter();
        shown.chain(written.filter_map(|(value, write)| Some((value, write.version()?)))).collect()
    }
}

#[cfg(test)]
mod tests;
