//! Which of some names was meant.

/// The allowed name that is nearest to what was written, if one is near.
pub(crate) fn nearest<'a>(written: &str, allowed: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = written.len() / 3 + 1;
    allowed.map(|name| (distance(written, name), name)).filter(|(d, _)| *d <= near).min().map(|(_, name)| name)
}

/// Letters to insert, delete or replace, where case does not count.
fn distance(a: &str, b: &str) -> usize {
    let lower = |s: &str| s.chars().flat_map(char::to_lowercase).collect::<Vec<_>>();
    let (a, b) = (lower(a), lower(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_another_word_is_not() {
        let names = || ["replicas", "replicationFactor", "zones"].into_iter();
        assert_eq!(nearest("replica", names()), Some("replicas"));
        assert_eq!(nearest("replicationfactor", names()), Some("replicationFactor"));
        assert_eq!(nearest("backup", names()), None);
    }
}
