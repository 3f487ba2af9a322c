//! Records that a scan or an export has left out, since their keys are none of their table's.

use skerry_client::SkippedKeys;

use crate::bytes_text::hex;
use crate::output::Output;
use crate::view::size;

/// Names what was left out, on stderr, and how it is removed.
pub(crate) fn tell(output: &Output, table: &str, skipped: Option<&SkippedKeys>) {
    let Some(skipped) = skipped.filter(|skipped| skipped.count() > 0) else { return };
    output.complain(&text(table, skipped.count(), &skipped.first().iter().map(|key| hex(key)).collect::<Vec<_>>()));
    output.advise(&format!("`skerry delete {table} --encoded KEY` removes the record of one of these keys"));
}

fn text(table: &str, count: u64, keys: &[String]) -> String {
    let records = size::plural(count, "record");
    let more = if keys.len() as u64 == count { "" } else { ", and more" };
    format!("left out {records} of {table} that cannot be read, under the encoded keys {}{more}", keys.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_is_named_in_hexadecimal() {
        let key = vec![hex(b"no key")];
        assert_eq!(
            text("sales", 1, &key),
            "left out 1 record of sales that cannot be read, under the encoded keys 6e6f206b6579"
        );
        assert!(text("sales", 2, &key).ends_with("6e6f206b6579, and more"));
    }
}
