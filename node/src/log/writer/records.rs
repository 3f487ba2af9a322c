//! Makes records of messages, and keeps the index in sync with them.

use skerry_core::ids::ShardId;
use skerry_core::log::{LogCut, LogEntry, LogWrite};

use super::super::body::{self, Head};
use super::super::cleaner::Copied;
use super::super::format::Kind;
use super::super::group::{Framed, TooLarge};
use super::super::index::{Admission, head_of};
use super::super::{LogError, checkpoint};
use super::{Message, Writer};

impl Writer {
    /// `Err(None)` = a record is too large.
    pub(super) fn fill(&mut self, copied: &[Copied], messages: &[Message]) -> Result<(), Option<LogError>> {
        self.push_census().map_err(|TooLarge| None)?;
        // Copies first: they are of the state before the messages.
        for copied in copied {
            self.push_copied(copied).map_err(|TooLarge| None)?;
        }
        for message in messages {
            match message {
                Message::Append(batch) => {
                    for write in &batch.writes {
                        self.push_write(write)?;
                    }
                }
                Message::Cut(cuts) => {
                    for cut in cuts {
                        self.push_cut(cut).map_err(|TooLarge| None)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn push_census(&mut self) -> Result<(), TooLarge> {
        if !self.needs_census {
            return Ok(());
        }
        let replicas = self.index.checkpoint();
        let none: &[checkpoint::Counted] = &[];
        let chunks = replicas.chunks(checkpoint::REPLICAS_PER_RECORD);
        for chunk in chunks.chain(replicas.is_empty().then_some(none)) {
            let framed = Framed { kind: Kind::Checkpoint, shard: ShardId(0), sequence: 0, fresh: false };
            self.group.push(framed, |out| checkpoint::encode(chunk, out))?;
        }
        self.needs_census = false;
        Ok(())
    }

    fn push_write(&mut self, write: &LogWrite) -> Result<(), Option<LogError>> {
        let refused = |refusal| LogError::Refused { shard: write.shard, replica: write.replica, refusal };
        let Admission::Record { fresh, sequence } = self.index.admit(write).map_err(|r| Some(refused(r)))? else {
            return Ok(());
        };
        let head = head_of(write);
        let framed = Framed { kind: Kind::Write, shard: write.shard, sequence, fresh };
        self.push(framed, &head, &write.entries).map_err(|TooLarge| None)
    }

    fn push_cut(&mut self, cut: &LogCut) -> Result<(), TooLarge> {
        let Some(sequence) = self.index.admit_cut(cut) else { return Ok(()) };
        let head = Head { replica: cut.replica, start: Some(cut.start), ..Head::default() };
        self.push(Framed { kind: Kind::Cut, shard: cut.shard, sequence, fresh: false }, &head, &[])
    }

    fn push_copied(&mut self, copied: &Copied) -> Result<(), TooLarge> {
        let sequence = self.index.replicas.get(&copied.shard).map_or(1, |replica| replica.sequence + 1);
        let range = copied.entries.first().zip(copied.entries.last()).map(|(first, last)| (first.index, last.index));
        let head = Head { replica: copied.replica, entries: range, ..Head::default() };
        self.push(Framed { kind: Kind::Move, shard: copied.shard, sequence, fresh: false }, &head, &copied.entries)
    }

    fn push(&mut self, framed: Framed, head: &Head, entries: &[LogEntry]) -> Result<(), TooLarge> {
        let (header, location) = self.group.push(framed, |out| body::encode(head, entries, out))?;
        self.written += u64::from(location.bytes);
        self.index.record(&header, head, location);
        Ok(())
    }
}
