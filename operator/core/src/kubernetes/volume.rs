//! Which volumes are lost for good. Only what is certain counts: a host that is merely silent may come back with its disk.

use crate::observed::Seen;

/// True if a volume is gone, or all hosts that it lies on. `on` = those hosts, none if any host reaches it; `hosts` = whether
/// one of them is there.
pub fn is_lost(on: &Seen<Vec<String>>, hosts: &Seen<()>) -> bool {
    match on {
        Seen::Absent => true,
        Seen::Known(names) => !names.is_empty() && *hosts == Seen::Absent,
        Seen::Unknown(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_lost_only_if_it_or_every_host_that_has_it_is_certainly_gone() {
        let unknown = || "no answer".to_owned();
        let on = |names: &[&str]| Seen::Known(names.iter().map(|name| (*name).to_owned()).collect());
        let cases = [
            (Seen::Absent, Seen::Unknown(unknown()), true),
            (Seen::Unknown(unknown()), Seen::Absent, false),
            (on(&[]), Seen::Absent, false),
            (on(&["h1", "h2"]), Seen::Known(()), false),
            (on(&["h1"]), Seen::Unknown(unknown()), false),
            (on(&["h1", "h2"]), Seen::Absent, true),
        ];
        for (volume, hosts, lost) in cases {
            assert_eq!(is_lost(&volume, &hosts), lost, "{volume:?} {hosts:?}");
        }
    }
}
