//! How large the budget is if nobody says so: an eighth of the memory that this process may have.

use std::fs;

/// With less, what logs and snapshots may take would leave no room for a batch of the largest size.
pub const BUDGET_BYTES_MIN: u64 = 64 << 20;
/// More is no setting that anybody means.
pub const BUDGET_BYTES_MAX: u64 = 1 << 40;
/// On machines without a limit no more is taken by itself.
const DEFAULT_BYTES_MAX: u64 = 1 << 30;
/// A byte that waits is in memory several times on its way: in the transport, as the command, in Raft's log, in the
/// log's buffer, and in a frame to each other copy. The store takes the larger part of what a process has.
const SHARE: u64 = 8;
const GROUP: &str = "/sys/fs/cgroup";

/// The default: an eighth of the memory limit of this process's control group, or of the machine's memory if there is none.
pub fn default_bytes() -> u64 {
    let limits = [group_limit(), machine()].into_iter().flatten();
    share_of(limits.min())
}

fn share_of(memory: Option<u64>) -> u64 {
    memory.map_or(DEFAULT_BYTES_MAX, |memory| (memory / SHARE).clamp(BUDGET_BYTES_MIN, DEFAULT_BYTES_MAX))
}

/// The smallest limit of the control group of this process and of those around it; of version 2, or of 1.
fn group_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let files = groups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        match controllers {
            "" => Some((GROUP.to_owned(), path, "memory.max")),
            _ if controllers.split(',').any(|c| c == "memory") => {
                Some((format!("{GROUP}/memory"), path, "memory.limit_in_bytes"))
            }
            _ => None,
        }
    });
    let limits = files.flat_map(|(root, path, file)| {
        let within = std::path::Path::new(path.trim_start_matches('/')).ancestors();
        within.filter_map(|folder| read_limit(&format!("{root}/{}/{file}", folder.display()))).collect::<Vec<_>>()
    });
    limits.min()
}

fn read_limit(file: &str) -> Option<u64> {
    parse_limit(&fs::read_to_string(file).ok()?)
}

/// A memory limit in bytes, as a control group's file has it. `None` = `max`: there is no limit.
fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn machine() -> Option<u64> {
    parse_machine(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_machine(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eighth_is_taken_within_bounds() {
        assert_eq!(share_of(Some(1 << 30)), 128 << 20);
        assert_eq!(share_of(Some(1)), BUDGET_BYTES_MIN);
        assert_eq!(share_of(Some(1 << 40)), DEFAULT_BYTES_MAX);
        assert_eq!(share_of(None), DEFAULT_BYTES_MAX);
        assert!((BUDGET_BYTES_MIN..=DEFAULT_BYTES_MAX).contains(&default_bytes()));
    }

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_limit("1073741824\n"), Some(1 << 30));
        assert_eq!(parse_limit("max\n"), None);
        assert_eq!(parse_machine("MemFree: 1 kB\nMemTotal:        2048 kB\n"), Some(2 << 20));
        assert_eq!(parse_machine("MemFree: 1 kB\n"), None);
    }
}
