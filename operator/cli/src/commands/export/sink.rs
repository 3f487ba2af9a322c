//! Where an export's lines go. Writing, and compressing above all, has a thread of its own: reading goes on meanwhile.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use flate2::Compression;
use flate2::write::GzEncoder;

/// So many bytes are handed over at a time.
const CHUNK_BYTES: usize = 1 << 16;
/// So many chunks may wait for the thread: more would only take memory if the disk is what is slow.
const CHUNKS: usize = 16;

/// Where the exported lines go: a file, or stdout.
#[derive(Debug)]
pub(super) struct Sink {
    chunk: Vec<u8>,
    chunks: SyncSender<Vec<u8>>,
    thread: JoinHandle<io::Result<()>>,
}

impl Sink {
    /// A name that ends in .gz is compressed, quickly rather than as small as can be; `-` is stdout.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::to(io::stdout(), Write::flush));
        }
        let file = File::create(path)?;
        Ok(match path.extension().is_some_and(|e| e == "gz") {
            true => Self::to(GzEncoder::new(file, Compression::fast()), |gzip| gzip.try_finish()),
            false => Self::to(file, Write::flush),
        })
    }

    fn to<W: Write + Send + 'static>(mut writer: W, end: fn(&mut W) -> io::Result<()>) -> Self {
        let (chunks, waiting) = sync_channel::<Vec<u8>>(CHUNKS);
        let thread = thread::spawn(move || {
            for chunk in waiting {
                writer.write_all(&chunk)?;
            }
            end(&mut writer)
        });
        Self { chunk: Vec::with_capacity(CHUNK_BYTES), chunks, thread }
    }

    /// Adds a line of text and its line end.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        self.chunk.extend_from_slice(text.as_bytes());
        self.chunk.push(b'\n');
        if self.chunk.len() >= CHUNK_BYTES { self.hand_over() } else { Ok(()) }
    }

    /// Waits until all lines are written.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.hand_over()?;
        drop(self.chunks);
        ended(self.thread)
    }

    fn hand_over(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_BYTES));
        if self.chunks.send(chunk).is_ok() {
            return Ok(());
        }
        // The thread has ended, so writing has failed; it is asked why.
        ended(std::mem::replace(&mut self.thread, thread::spawn(|| Ok(()))))?;
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

fn ended(thread: JoinHandle<io::Result<()>>) -> io::Result<()> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the writing thread panicked")))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn lines_arrive_in_order_plain_and_compressed() {
        let folder = tempfile::tempdir().unwrap();
        let lines: Vec<String> = (0..20_000).map(|i| format!("line {i} of an export")).collect();
        let expected = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        for name in ["a.jsonl", "a.jsonl.gz"] {
            let path = folder.path().join(name);
            let mut sink = Sink::open(&path).unwrap();
            lines.iter().for_each(|line| sink.line(line).unwrap());
            sink.finish().unwrap();
            let mut text = String::new();
            let mut file = File::open(&path).unwrap();
            match name.ends_with(".gz") {
                true => flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap(),
                false => file.read_to_string(&mut text).unwrap(),
            };
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn failure_to_write_is_told() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut sink = Sink::to(Full, Write::flush);
        let line = "x".repeat(CHUNK_BYTES);
        let failed = (0..3 * CHUNKS).find_map(|_| sink.line(&line).err()).unwrap();
        assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
    }
}
