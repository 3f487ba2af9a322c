//! Where an export's lines go. Writing, and compressing above all, has a thread of its own: reading goes on meanwhile. An
//! export that fails leaves nothing that could be taken for a whole one.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::beside::{Beside, Way};

/// So many bytes are handed over at a time.
const CHUNK_BYTES: usize = 1 << 16;
/// So many chunks may wait for the thread: more would only take memory if the disk is what is slow.
const CHUNKS: usize = 16;

/// Where the exported lines go: a file, or stdout.
#[derive(Debug)]
pub(super) struct Sink {
    chunk: Vec<u8>,
    parts: SyncSender<Part>,
    /// `None` = it has ended, and how was told.
    thread: Option<JoinHandle<io::Result<()>>>,
    end: End,
}

/// What is done with the target once all lines are written.
#[derive(Debug)]
enum End {
    /// The new file takes the target's place.
    Beside(Beside),
    /// What was written to the file itself becomes durable.
    InPlace { file: File, why: String },
    /// Nothing: it is a stream.
    Stream,
}

/// What the thread is handed.
#[derive(Debug)]
enum Part {
    Lines(Vec<u8>),
    /// All lines were handed over. Where this never comes the export has failed.
    End,
}

impl Sink {
    /// A name that ends in .gz is compressed, quickly rather than as small as can be; `-` is stdout. A file that is there
    /// stays as it is until [`Sink::finish`], unless it is [`Sink::written_in_place`].
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::to(Writer::Plain(Box::new(io::stdout())), End::Stream));
        }
        let (file, end) = match Way::to(path)? {
            Way::Beside(beside) => (beside.file()?, End::Beside(beside)),
            Way::InPlace { file, why } => {
                file.set_len(0)?;
                (file.try_clone()?, End::InPlace { file, why: why.to_string() })
            }
            Way::Stream => (File::create(path)?, End::Stream),
        };
        let is_compressed = path.extension().is_some_and(|e| e == "gz");
        let writer = if is_compressed { Writer::gzip(file) } else { Writer::Plain(Box::new(file)) };
        Ok(Self::to(writer, end))
    }

    fn to(writer: Writer, end: End) -> Self {
        let (parts, waiting) = sync_channel::<Part>(CHUNKS);
        let thread = thread::spawn(move || writer.write_all(&waiting));
        Self { chunk: Vec::with_capacity(CHUNK_BYTES), parts, thread: Some(thread), end }
    }

    /// Why a file that was there is written over from the start, and what it held is gone already. `None` = it is not.
    pub(super) fn written_in_place(&self) -> Option<&str> {
        match &self.end {
            End::InPlace { why, .. } => Some(why),
            End::Beside(_) | End::Stream => None,
        }
    }

    /// Adds a line of text and its line end.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        self.chunk.extend_from_slice(text.as_bytes());
        self.chunk.push(b'\n');
        if self.chunk.len() >= CHUNK_BYTES { self.hand_over() } else { Ok(()) }
    }

    /// Waits until all lines are written; a file is durable then, and has its name. The answer is why they had to be copied
    /// into the file that was there, if so.
    pub(super) fn finish(mut self) -> io::Result<Option<String>> {
        self.hand_over()?;
        self.send(Part::End)?;
        self.ended()?;
        match self.end {
            End::Beside(beside) => Ok(beside.put_in_place()?.map(|why| why.to_string())),
            End::InPlace { file, .. } => file.sync_all().map(|()| None),
            End::Stream => Ok(None),
        }
    }

    fn hand_over(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_BYTES));
        self.send(Part::Lines(chunk))
    }

    fn send(&mut self, part: Part) -> io::Result<()> {
        if self.parts.send(part).is_ok() {
            return Ok(());
        }
        // The thread has ended, so writing has failed; it is asked why.
        self.ended()?;
        Err(io::Error::other("writing has ended early"))
    }

    fn ended(&mut self) -> io::Result<()> {
        let panicked = |_| Err(io::Error::other("the writing thread panicked"));
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap_or_else(panicked))
    }
}

/// How lines become bytes.
enum Writer {
    Plain(Box<dyn Write + Send>),
    Gzip(GzEncoder<Cut>),
}

impl Writer {
    fn gzip(writer: impl Write + Send + 'static) -> Self {
        Self::Gzip(GzEncoder::new(Cut { writer: Some(Box::new(writer)) }, Compression::fast()))
    }

    /// Writes what is handed over, and the end if it comes.
    fn write_all(mut self, parts: &Receiver<Part>) -> io::Result<()> {
        let written = self.write_parts(parts);
        if let Self::Gzip(gzip) = &mut self {
            // The encoder writes an end when it is dropped, also to what has none: half an export would seem whole.
            gzip.get_mut().writer = None;
        }
        written
    }

    fn write_parts(&mut self, parts: &Receiver<Part>) -> io::Result<()> {
        for part in parts {
            match (part, &mut *self) {
                (Part::Lines(lines), Self::Plain(writer)) => writer.write_all(&lines)?,
                (Part::Lines(lines), Self::Gzip(gzip)) => gzip.write_all(&lines)?,
                (Part::End, Self::Plain(writer)) => return writer.flush(),
                (Part::End, Self::Gzip(gzip)) => {
                    gzip.try_finish()?;
                    return gzip.get_mut().flush();
                }
            }
        }
        Ok(())
    }
}

/// A writer that can be taken away from an encoder.
struct Cut {
    /// `None` = nothing more is written.
    writer: Option<Box<dyn Write + Send>>,
}

impl Cut {
    fn writer(&mut self) -> io::Result<&mut (dyn Write + Send + 'static)> {
        self.writer.as_deref_mut().ok_or_else(|| io::Error::other("the export has ended"))
    }
}

impl Write for Cut {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer()?.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
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
        let mut sink = Sink::to(Writer::Plain(Box::new(Full)), End::Stream);
        let line = "x".repeat(CHUNK_BYTES);
        let failed = (0..3 * CHUNKS).find_map(|_| sink.line(&line).err()).unwrap();
        assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn an_export_that_fails_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.jsonl", "a.jsonl.gz", "new.jsonl"] {
            let path = folder.path().join(name);
            let old = (name != "new.jsonl").then_some(b"old".to_vec());
            if let Some(old) = &old {
                fs::write(&path, old).unwrap();
            }
            let before = fs::read_dir(folder.path()).unwrap().count();
            let mut sink = Sink::open(&path).unwrap();
            (0..20_000).for_each(|i| sink.line(&format!("line {i} of an export")).unwrap());
            drop(sink);
            assert_eq!(fs::read(&path).ok(), old, "{name}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before, "{name}");
        }
    }

    #[test]
    fn half_an_export_to_a_pipe_is_no_sound_gzip() {
        let unpacked = |is_finished: bool| {
            let (mut reader, writer) = io::pipe().unwrap();
            let mut sink = Sink::to(Writer::gzip(writer), End::Stream);
            sink.line("line").unwrap();
            sink.hand_over().unwrap();
            if is_finished {
                sink.finish().unwrap();
            } else {
                drop(sink);
            }
            let (mut bytes, mut text) = (Vec::new(), String::new());
            reader.read_to_end(&mut bytes).unwrap();
            flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).map(|_| text)
        };
        assert_eq!(unpacked(true).unwrap(), "line\n");
        assert!(unpacked(false).is_err());
    }
}
