//! The system shard's state as records of the store, and back.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::engine::{Engine, EngineError, EngineWrite, data_end, data_key, encoded_key};
use crate::ids::TableId;
use crate::record;
use crate::system::state::SystemState;
use crate::time::Version;

/// The state of the system shard as its records in the store say.
pub(super) fn load_system(engine: &dyn Engine) -> Result<SystemState, EngineError> {
    let table = TableId::SYSTEM;
    let mut records = Vec::new();
    engine.scan(&data_key(table, &[]), &data_end(table, None), &mut |key, stored| {
        records.push((Bytes::copy_from_slice(encoded_key(key)), Bytes::copy_from_slice(stored)));
        ControlFlow::Continue(())
    })?;
    let mut values = Vec::with_capacity(records.len());
    for (key, stored) in records {
        values.extend(record::decode(key, &stored).map_err(EngineError::unreadable)?);
    }
    SystemState::load(values.iter().map(|r| (&r.key[..], &r.value[..]))).map_err(EngineError::unreadable)
}

/// The records that make a database, each at a version of its own.
pub(crate) fn first_records(system: &mut SystemState) -> (Vec<EngineWrite>, Version) {
    let mut version = Version(0);
    let writes = system.take_changes().into_iter().map(|(key, value)| {
        version = version.next(0);
        EngineWrite::Put(data_key(TableId::SYSTEM, &key), record::encode(version, None, &value))
    });
    let writes = writes.collect();
    (writes, version)
}
