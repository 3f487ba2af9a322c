//! How a write is sent: as a whole, or in parts where no request is taken for all its keys.

use skerry_core::client::issuing::Issuing;
use skerry_core::client::parts::halves;
use skerry_core::command::{Command, Condition, Mutation, RequestId, WriteOptions};
use skerry_core::ids::TableId;
use skerry_core::limits::check_command;
use skerry_core::map::Descriptor;
use skerry_core::time::Version;
use skerry_proto::v1::session_item::Op;
use skerry_proto::v1::session_result::Result as Answer;

use super::WriteError;
use crate::client::Client;
use crate::operation::{Answered, Failed, From, Operation, Times};
use crate::retry::Fault;
use crate::routes::Table;
use crate::wire::{Malformed, Wire};

impl Client {
    pub(super) async fn write(
        &self,
        (name, table): (&str, Table),
        conditions: Vec<Condition>,
        mutations: Vec<Mutation>,
        asked: WriteOptions,
        attempts: &mut u32,
    ) -> Result<Version, WriteError> {
        let whole = Command { request: None, conditions, mutations };
        check_command(&whole)?;
        let times = Times::lasting(self.deadline);
        let (mut left, mut written) = (vec![(whole, asked)], None);
        while let Some((command, asked)) = left.pop() {
            match self.send(table.id, (&command, &asked), times).await {
                Ok(answered) => {
                    *attempts += answered.attempts;
                    written = written.max(Some(self.written(table.id, &command, answered)?));
                }
                Err(failed) => {
                    *attempts += failed.attempts;
                    match failed.in_parts.then(|| halves(&command, &asked)).flatten() {
                        Some([first, second]) => left.extend([second, first]),
                        None => return Err(error(failed, name, written.is_some())),
                    }
                }
            }
        }
        Ok(written.unwrap_or_default())
    }

    async fn send(
        &self,
        table: TableId,
        (command, asked): (&Command, &WriteOptions),
        times: Times,
    ) -> Result<Answered, Failed> {
        let bytes = command.bytes() + asked.seen.iter().map(|(_, context)| context.len()).sum::<usize>();
        let is_single = command.mutations.len() == 1 && command.conditions.is_empty();
        let op = |descriptor: &Descriptor, request: Option<RequestId>| {
            let in_shard = is_single || command.keys().all(|key| descriptor.contains(key));
            in_shard.then(|| Op::Write((Command { request, ..command.clone() }, asked.clone()).into_wire()))
        };
        let issuing = match self.is_of_quorum(table) {
            true => self.inner.request_ids.issuing(table, command),
            false => Issuing::default(),
        };
        let key = command.mutations[0].key().clone();
        self.run(Operation { table, key, from: From::Leader, bytes, turn: None, issuing: Some(issuing), op }, times)
            .await
    }

    fn written(&self, table: TableId, command: &Command, answered: Answered) -> Result<Version, WriteError> {
        let Answer::Written(version) = answered.answer else {
            let fault = Fault::Answer(Malformed::Missing("written"));
            return Err(WriteError::Protocol { may_have_happened: true, fault });
        };
        let version = Version(version);
        match self.is_of_quorum(table) {
            true => self.inner.request_ids.wrote(table, command, version),
            false => self.inner.request_ids.see(version),
        }
        Ok(version)
    }
}

/// Why a write did not succeed of which a part may have been written before.
fn error(mut failed: Failed, table: &str, is_partly_written: bool) -> WriteError {
    failed.may_have_happened |= is_partly_written;
    match WriteError::from_failed(failed, table) {
        error if is_partly_written && !error.may_have_happened() => WriteError::OutcomeUnknown,
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use skerry_core::ids::ShardId;
    use skerry_core::limits::LimitExceeded;

    use super::*;
    use crate::operation::Why;
    use crate::wire::{Denial, QuorumDenial};

    #[test]
    fn a_write_of_which_a_part_was_written_may_have_happened_whatever_becomes_of_the_rest() {
        let reasons: [Why; 5] = [
            Why::Deadline(None),
            Why::NoTable,
            Why::Scattered,
            Why::Fault(Denial::Limit(LimitExceeded::Key { bytes: 0 }).into()),
            Why::Fault(Denial::from(QuorumDenial::TooFewCopies { shard: ShardId(1) }).into()),
        ];
        for why in reasons {
            let failed = Failed { why, may_have_happened: false, attempts: 0, in_parts: false };
            assert!(!error(failed.clone(), "t", false).may_have_happened(), "{failed:?}");
            assert!(error(failed.clone(), "t", true).may_have_happened(), "{failed:?}");
        }
    }
}
