//! For how long, and how often, a node's disk has been nearly full.

/// Milliseconds for which no copy comes to a disk that was full for the second time; twice as many after each further time, up
/// to so many times.
const PAUSE_MS: u64 = 60_000;
const PAUSE_DOUBLED_MAX: u32 = 6;
/// Milliseconds after which it is forgotten that a disk was full: twice the longest pause.
const FORGOTTEN_MS: u64 = (PAUSE_MS << PAUSE_DOUBLED_MAX) * 2;

/// When a node's disk was nearly full, as far as its reports have told since this steward began to listen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fullness {
    /// `None` = it is not.
    since_ms: Option<u64>,
    /// When there was room again last.
    ended_ms: u64,
    /// How often it has become so, one time soon after the other.
    times: u32,
}

impl Fullness {
    /// The node says whether its disk is nearly full.
    pub(super) fn told(&mut self, is_full: bool, now_ms: u64) {
        match (is_full, self.since_ms) {
            (true, None) => {
                let is_soon = now_ms < self.ended_ms.saturating_add(FORGOTTEN_MS);
                self.times = if is_soon { self.times.saturating_add(1) } else { 1 };
                self.since_ms = Some(now_ms);
            }
            (false, Some(_)) => (self.since_ms, self.ended_ms) = (None, now_ms),
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Milliseconds for which it has been nearly full. 0 = it is not.
    pub(super) fn full_ms(&self, now_ms: u64) -> u64 {
        self.since_ms.map_or(0, |since| now_ms.saturating_sub(since))
    }

    /// True while it is nearly full, or was so often, and so lately, that it would be again.
    pub(super) fn rests(&self, now_ms: u64) -> bool {
        let doubled = self.times.checked_sub(2).map(|doubled| doubled.min(PAUSE_DOUBLED_MAX));
        let pause_ms = doubled.map_or(0, |doubled| PAUSE_MS << doubled);
        self.since_ms.is_some() || now_ms < self.ended_ms.saturating_add(pause_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_full_again_and_again_rests_for_longer_each_time_until_that_is_long_ago() {
        let (mut disk, mut now_ms) = (Fullness::default(), 1_000);
        for pause_ms in [0, PAUSE_MS, 2 * PAUSE_MS, 4 * PAUSE_MS] {
            disk.told(true, now_ms);
            disk.told(true, now_ms + 700);
            assert_eq!(disk.full_ms(now_ms + 900), 900);
            now_ms += 1_000;
            disk.told(false, now_ms);
            assert!(!disk.rests(now_ms + pause_ms) && (pause_ms == 0 || disk.rests(now_ms + pause_ms - 1)), "{disk:?}");
            now_ms += pause_ms;
        }
        now_ms += FORGOTTEN_MS;
        disk.told(true, now_ms);
        disk.told(false, now_ms + 5);
        assert!(!disk.rests(now_ms + 5));
    }
}
