//! Sizes, rates and counts as people read them.

use std::time::Duration;

/// Bytes in binary units, three digits.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut whole, mut unit) = (count as f64, 0);
    while whole >= 1023.5 && unit + 1 < UNITS.len() {
        whole /= 1024.0;
        unit += 1;
    }
    if unit == 0 || whole >= 99.95 {
        format!("{whole:.0} {}", UNITS[unit])
    } else {
        format!("{whole:.1} {}", UNITS[unit])
    }
}

/// A count with its thousands apart.
pub(crate) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number and its noun, with an `s` unless it is 1.
pub(crate) fn plural(number: u64, noun: &str) -> String {
    let end = if number == 1 { "" } else { "s" };
    format!("{} {noun}{end}", count(number))
}

/// A duration in words, in a unit that fits.
pub(crate) fn time(length: Duration) -> String {
    let seconds = length.as_secs_f64();
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1_000.0)
    } else if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {} s", length.as_secs() / 60, length.as_secs() % 60)
    }
}

/// How long ago a moment is, both in milliseconds since 1970. Clocks differ, so a moment to come is now.
pub(crate) fn ago(now_ms: u64, at_ms: u64) -> String {
    format!("{} ago", time(Duration::from_millis(now_ms.saturating_sub(at_ms))))
}

/// The time now, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1_023), "1023 B");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(200 << 20), "200 MiB");
        assert_eq!(bytes(u64::MAX), "16777216 TiB");
    }

    #[test]
    fn counts_and_times_read_well() {
        assert_eq!(count(27_004), "27,004");
        assert_eq!(count(999), "999");
        assert_eq!(plural(1, "node"), "1 node");
        assert_eq!(plural(1_000, "node"), "1,000 nodes");
        assert_eq!(time(Duration::from_millis(340)), "340 ms");
        assert_eq!(time(Duration::from_millis(2_340)), "2.3 s");
        assert_eq!(time(Duration::from_secs(150)), "2 min 30 s");
        assert_eq!(ago(10_000, 7_500), "2.5 s ago");
        assert_eq!(ago(10_000, 12_000), "0 ms ago");
    }
}
