//! Where an export's lines go. Writing, and compressing above all, has a thread of its own: reading goes on meanwhile. An
//! export that fails leaves nothing that could be taken for a whole one. Whoever hands lines over waits for that thread without
//! blocking, however long a pipe is not read: so ctrl-C is heard meanwhile.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::{mpsc, oneshot};

use super::beside::{Beside, Way};

/// So many bytes are handed over at a time.
const CHUNK_BYTES: usize = 1 << 16;
/// So many chunks may wait for the thread: more would only take memory if the disk is what is slow.
const CHUNKS: usize = 16;

/// Where the exported lines go: a file, or stdout.
#[derive(Debug)]
pub(super) struct Sink {
    chunk: Vec<u8>,
    parts: mpsc::Sender<Part>,
    /// Tells how the thread has ended. `None` = it was told.
    ended: Option<oneshot::Receiver<io::Result<()>>>,
    end: End,
}

/// What is done with the target once all lines are written.
#[derive(Debug)]
enum End {
    /// The new file takes the target's place.
    Beside(Beside),
    /// Nothing: it was written to the file itself.
    InPlace { why: String },
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
            return Ok(Self::to(|| Ok(Writer::Plain(Box::new(io::stdout()))), None, End::Stream));
        }
        let is_compressed = path.extension().is_some_and(|e| e == "gz");
        let to_file = move |file| if is_compressed { Writer::gzip(file) } else { Writer::Plain(Box::new(file)) };
        let (file, end) = match Way::to(path)? {
            Way::Beside(beside) => (beside.file()?, End::Beside(beside)),
            Way::InPlace { file, why } => {
                file.set_len(0)?;
                (file, End::InPlace { why: why.to_string() })
            }
            Way::Stream => {
                let path = path.to_owned();
                // A pipe is opened once somebody reads it, which may be never.
                return Ok(Self::to(move || File::create(path).map(to_file), None, End::Stream));
            }
        };
        let written = file.try_clone()?;
        Ok(Self::to(move || Ok(to_file(file)), Some(written), end))
    }

    /// `written`: what is to be durable in the end.
    fn to(open: impl FnOnce() -> io::Result<Writer> + Send + 'static, written: Option<File>, end: End) -> Self {
        let (parts, waiting) = mpsc::channel(CHUNKS);
        let (tell, ended) = oneshot::channel();
        thread::spawn(move || {
            let is_whole = open().and_then(|writer| writer.write_all(waiting));
            let durable = is_whole.and_then(|is_whole| match written.filter(|_| is_whole) {
                Some(file) => file.sync_all(),
                None => Ok(()),
            });
            let _nobody_waits = tell.send(durable);
        });
        Self { chunk: Vec::with_capacity(CHUNK_BYTES), parts, ended: Some(ended), end }
    }

    /// Why a file that was there is written over from the start, and what it held is gone already. `None` = it is not.
    pub(super) fn written_in_place(&self) -> Option<&str> {
        match &self.end {
            End::InPlace { why, .. } => Some(why),
            End::Beside(_) | End::Stream => None,
        }
    }

    /// Adds a line of text and its line end.
    pub(super) async fn line(&mut self, text: &str) -> io::Result<()> {
        self.chunk.extend_from_slice(text.as_bytes());
        self.chunk.push(b'\n');
        if self.chunk.len() >= CHUNK_BYTES { self.hand_over().await } else { Ok(()) }
    }

    /// Waits until all lines are written; a file is durable then, and has its name. The answer is why they had to be copied
    /// into the file that was there, if so.
    pub(super) async fn finish(mut self) -> io::Result<Option<String>> {
        self.hand_over().await?;
        self.send(Part::End).await?;
        self.ended().await?;
        match self.end {
            End::Beside(beside) => Ok(beside.put_in_place()?.map(|why| why.to_string())),
            End::InPlace { .. } | End::Stream => Ok(None),
        }
    }

    async fn hand_over(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_BYTES));
        self.send(Part::Lines(chunk)).await
    }

    async fn send(&mut self, part: Part) -> io::Result<()> {
        if self.parts.send(part).await.is_ok() {
            return Ok(());
        }
        // The thread has ended, so writing has failed; it is asked why.
        self.ended().await?;
        Err(io::Error::other("writing has ended early"))
    }

    async fn ended(&mut self) -> io::Result<()> {
        let Some(ended) = self.ended.take() else { return Ok(()) };
        ended.await.unwrap_or_else(|_| Err(io::Error::other("the writing thread panicked")))
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

    /// Writes what is handed over, and the end if it comes; true if it has come.
    fn write_all(mut self, parts: mpsc::Receiver<Part>) -> io::Result<bool> {
        let written = self.write_parts(parts);
        if let Self::Gzip(gzip) = &mut self {
            // The encoder writes an end when it is dropped, also to what has none: half an export would seem whole.
            gzip.get_mut().writer = None;
        }
        written
    }

    fn write_parts(&mut self, mut parts: mpsc::Receiver<Part>) -> io::Result<bool> {
        while let Some(part) = parts.blocking_recv() {
            match (part, &mut *self) {
                (Part::Lines(lines), Self::Plain(writer)) => writer.write_all(&lines)?,
                (Part::Lines(lines), Self::Gzip(gzip)) => gzip.write_all(&lines)?,
                (Part::End, Self::Plain(writer)) => return writer.flush().map(|()| true),
                (Part::End, Self::Gzip(gzip)) => {
                    gzip.try_finish()?;
                    return gzip.get_mut().flush().map(|()| true);
                }
            }
        }
        Ok(false)
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
    use std::process::Command;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn stream(writer: Writer) -> Sink {
        Sink::to(|| Ok(writer), None, End::Stream)
    }

    #[tokio::test]
    async fn lines_arrive_in_order_plain_and_compressed() {
        let folder = tempfile::tempdir().unwrap();
        let lines: Vec<String> = (0..20_000).map(|i| format!("line {i} of an export")).collect();
        let expected = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        for name in ["a.jsonl", "a.jsonl.gz"] {
            let path = folder.path().join(name);
            let mut sink = Sink::open(&path).unwrap();
            for line in &lines {
                sink.line(line).await.unwrap();
            }
            assert_eq!(sink.finish().await.unwrap(), None);
            let mut text = String::new();
            let mut file = File::open(&path).unwrap();
            match name.ends_with(".gz") {
                true => flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap(),
                false => file.read_to_string(&mut text).unwrap(),
            };
            assert_eq!(text, expected);
        }
    }

    #[tokio::test]
    async fn failure_to_write_is_told() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut sink = stream(Writer::Plain(Box::new(Full)));
        let line = "x".repeat(CHUNK_BYTES);
        let written = async {
            for _ in 0..3 * CHUNKS {
                sink.line(&line).await?;
            }
            Ok::<_, io::Error>(())
        };
        assert_eq!(written.await.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[tokio::test]
    async fn a_pipe_that_nobody_reads_holds_up_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let (_reader, writer) = io::pipe().unwrap();
        for mut sink in [stream(Writer::Plain(Box::new(writer))), Sink::open(&fifo).unwrap()] {
            let line = "x".repeat(CHUNK_BYTES);
            let written = async {
                for _ in 0..3 * CHUNKS {
                    sink.line(&line).await.unwrap();
                }
            };
            // Whoever waits for it can stop doing so.
            assert!(timeout(Duration::from_millis(300), written).await.is_err());
        }
    }

    #[tokio::test]
    async fn an_export_that_fails_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.jsonl", "a.jsonl.gz", "new.jsonl"] {
            let path = folder.path().join(name);
            let old = (name != "new.jsonl").then_some(b"old".to_vec());
            if let Some(old) = &old {
                fs::write(&path, old).unwrap();
            }
            let before = fs::read_dir(folder.path()).unwrap().count();
            let mut sink = Sink::open(&path).unwrap();
            for i in 0..20_000 {
                sink.line(&format!("line {i} of an export")).await.unwrap();
            }
            drop(sink);
            assert_eq!(fs::read(&path).ok(), old, "{name}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before, "{name}");
        }
    }

    #[tokio::test]
    async fn half_an_export_to_a_pipe_is_no_sound_gzip() {
        for is_finished in [true, false] {
            let (mut reader, writer) = io::pipe().unwrap();
            let mut sink = stream(Writer::gzip(writer));
            sink.line("line").await.unwrap();
            sink.hand_over().await.unwrap();
            match is_finished {
                true => drop(sink.finish().await.unwrap()),
                false => drop(sink),
            }
            let (mut bytes, mut text) = (Vec::new(), String::new());
            reader.read_to_end(&mut bytes).unwrap();
            let unpacked = flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text);
            assert_eq!((unpacked.is_ok(), !is_finished || text == "line\n"), (is_finished, true));
        }
    }
}
