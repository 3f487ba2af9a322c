//! Every quantity that the schema takes is read, and is within what is allowed: no text is taken at admission and turned
//! into something else afterwards.

use proptest::prelude::*;
use skerry_api::{
    BYTES_PER_SECOND, CPU, DistributedDatabase, DistributedDatabaseSpec, MEMORY, STORAGE_SIZE, bytes, thousandths,
};

/// A database whose quantities are all this one.
fn database(text: &str) -> DistributedDatabase {
    let mut spec: DistributedDatabaseSpec = serde_json::from_str("{}").expect("defaults");
    text.clone_into(&mut spec.storage.size);
    text.clone_into(&mut spec.resources.memory);
    text.clone_into(&mut spec.resources.cpu);
    text.clone_into(&mut spec.rebalance.max_bytes_per_second);
    DistributedDatabase::new("shop", spec)
}

/// What of it the rules refuse.
fn refused(text: &str) -> String {
    let told = database(text).validate_cel();
    told.map_or_else(|errors| errors.as_slice().iter().map(|e| e.message.clone()).collect(), |()| String::new())
}

/// Of the form, near it, and anything.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[0-9]{1,4}([.][0-9]{0,3})?([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?",
        2 => "[+-]?[0-9]{0,20}[.]?[0-9]{0,10}([KkMGTPEnumi]{0,2}|[eE][+-]?[0-9]{0,3})",
        1 => ".{1,8}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_the_schema_takes_is_read_and_is_as_it_is_allowed(text in texts()) {
        let refused = refused(&text);
        let fields = [
            ("size must be", STORAGE_SIZE.bytes(&text)),
            ("memory must be", MEMORY.bytes(&text)),
            ("cpu must be", CPU.thousandths(&text)),
            ("maxBytesPerSecond must be", BYTES_PER_SECOND.bytes(&text)),
        ];
        for (message, read) in fields {
            prop_assert!(refused.contains(message) || read.is_ok(), "{:?} is taken: {:?}", text, read);
        }
    }
}

#[test]
fn bounds_of_the_schema_are_those_of_the_reader() {
    for (allowed, message) in
        [(STORAGE_SIZE, "size"), (MEMORY, "memory"), (CPU, "cpu"), (BYTES_PER_SECOND, "maxBytesPerSecond")]
    {
        let taken = |text: &str| !refused(text).contains(&format!("{message} must be"));
        for text in [allowed.least, allowed.most, &format!("{}", bytes(allowed.most).expect("a number"))] {
            assert!(taken(text), "{message} {text}");
        }
        let less = format!("{}m", thousandths(allowed.least).expect("a number") - 1);
        let more = format!("{}.001", bytes(allowed.most).expect("a number"));
        assert!(!taken(&less) && !taken(&more), "{message}: {less}, {more}");
    }
}
