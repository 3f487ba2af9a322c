//! What a process did to its files, as strace has recorded it: each call that changed one, in the order in which they
//! ended.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// What is traced. Whatever else changes a file must be added here.
pub(super) const CALLS: &str = "openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,ftruncate,\
fallocate,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,lseek,copy_file_range,link,linkat,sendfile,\
sync_file_range";

/// A change of the file system, or a promise that changes are durable.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Create(PathBuf),
    MakeFolder(PathBuf),
    Write {
        path: PathBuf,
        at: u64,
        bytes: Vec<u8>,
    },
    SetLength {
        path: PathBuf,
        length: u64,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove(PathBuf),
    /// Of a file or folder. It covers what had ended when it began: so many events of the list.
    Sync {
        path: PathBuf,
        covers: usize,
    },
    /// The program printed a line on standard output.
    Said(String),
}

/// What of a call is on its lines.
struct Call {
    name: String,
    text: String,
    /// Number of events before the call began.
    before: usize,
}

#[derive(Default)]
struct Reader {
    events: Vec<Event>,
    begun: HashMap<u32, Call>,
    known: HashSet<PathBuf>,
    /// Where the next plain write to an open file goes.
    places: HashMap<u64, u64>,
    out: Vec<u8>,
    folder: PathBuf,
}

/// Reads a trace; only what lies in `folder` counts.
pub(super) fn read(trace: &str, folder: &Path) -> Vec<Event> {
    let mut reader = Reader { folder: folder.to_owned(), ..Reader::default() };
    reader.known.insert(folder.to_owned());
    trace.lines().for_each(|line| reader.line(line));
    reader.events
}

impl Reader {
    fn line(&mut self, line: &str) {
        let Some((pid, rest)) = line.split_once(' ') else { return };
        let Ok(pid) = pid.parse::<u32>() else { return };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some(mut call) = self.begun.remove(&pid) else { return };
            call.text.push_str(resumed.split_once(" resumed>").map_or("", |(_, text)| text));
            return self.call(call);
        }
        let Some((name, text)) = rest.split_once('(') else { return };
        let (name, before) = (name.to_owned(), self.events.len());
        if let Some(text) = text.strip_suffix(" <unfinished ...>") {
            self.begun.insert(pid, Call { name, text: text.to_owned(), before });
        } else {
            self.call(Call { name, text: text.to_owned(), before });
        }
    }

    fn call(&mut self, call: Call) {
        let Some((arguments, result)) = call.text.rsplit_once(" = ") else { return };
        if result.starts_with('-') || result.starts_with('?') {
            return;
        }
        let arguments = arguments.trim_end();
        let paths = between(arguments, '<', '>');
        let strings = between(arguments, '"', '"');
        let named = |nth: usize| {
            let string = path_of(&strings[nth]);
            if string.is_absolute() { string } else { path_of(&paths[nth.min(paths.len() - 1)]).join(string) }
        };
        let done = result.split([' ', '<']).next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        match call.name.as_str() {
            "openat" | "open" | "creat" => self.open(&named(0), arguments, done),
            "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" => {
                let bytes = strings.iter().flat_map(|string| bytes_of(string)).take(done as usize).collect();
                self.write(&call.name, arguments, &paths, bytes);
            }
            "lseek" => drop(self.places.insert(descriptor(arguments), done)),
            "ftruncate" | "fallocate" => {
                let length = number(arguments, 1).max(number(arguments, 3));
                let length = if call.name == "ftruncate" { number(arguments, 1) } else { length };
                self.note(&path_of(&paths[0]), |path| Event::SetLength { path, length });
            }
            "fsync" | "fdatasync" => {
                let covers = call.before;
                self.note(&path_of(&paths[0]), |path| Event::Sync { path, covers });
            }
            "rename" | "renameat" | "renameat2" => self.rename(&named(0), &named(1)),
            "unlink" | "unlinkat" | "rmdir" => {
                let path = named(0);
                self.known.remove(&path);
                self.note(&path, Event::Remove);
            }
            "mkdir" | "mkdirat" => {
                let path = named(0);
                self.known.insert(path.clone());
                self.note(&path, Event::MakeFolder);
            }
            // It promises nothing.
            "sync_file_range" => {}
            other => {
                let touches = paths.iter().chain(&strings).any(|path| path_of(path).starts_with(&self.folder));
                assert!(!touches, "{other} is not understood");
            }
        }
    }

    fn open(&mut self, path: &Path, arguments: &str, descriptor: u64) {
        self.places.insert(descriptor, 0);
        if !path.starts_with(&self.folder) || arguments.contains("O_DIRECTORY") || arguments.contains("O_TMPFILE") {
            return;
        }
        if arguments.contains("O_CREAT") && self.known.insert(path.to_owned()) {
            self.events.push(Event::Create(path.to_owned()));
        }
        if arguments.contains("O_TRUNC") {
            self.events.push(Event::SetLength { path: path.to_owned(), length: 0 });
        }
        assert!(!arguments.contains("O_APPEND") || arguments.contains("O_RDONLY"), "an append's place is not known");
    }

    fn write(&mut self, name: &str, arguments: &str, paths: &[String], bytes: Vec<u8>) {
        let descriptor = descriptor(arguments);
        if descriptor == 1 {
            self.out.extend(bytes);
            while let Some(end) = self.out.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.out.drain(..=end).collect();
                self.events.push(Event::Said(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            return;
        }
        let Some(path) = paths.first().map(|path| path_of(path)) else { return };
        let at = match name {
            "write" | "writev" => {
                let place = self.places.entry(descriptor).or_default();
                let at = *place;
                *place += bytes.len() as u64;
                at
            }
            _ => arguments.trim_end_matches(')').rsplit(", ").next().and_then(|at| at.parse().ok()).unwrap(),
        };
        self.note(&path, |path| Event::Write { path, at, bytes });
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        if from.starts_with(&self.folder) {
            self.known.remove(from);
            self.known.insert(to.to_owned());
            self.events.push(Event::Rename { from: from.to_owned(), to: to.to_owned() });
        }
    }

    fn note(&mut self, path: &Path, event: impl FnOnce(PathBuf) -> Event) {
        if path.starts_with(&self.folder) {
            self.events.push(event(path.to_owned()));
        }
    }
}

fn descriptor(arguments: &str) -> u64 {
    arguments.split(['<', ',']).next().and_then(|number| number.parse().ok()).unwrap_or(u64::MAX)
}

/// The plain number that is this argument; 0 if it is not there.
fn number(arguments: &str, nth: usize) -> u64 {
    let argument = arguments.trim_end_matches(')').split(", ").nth(nth);
    argument.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Everything in a pair of marks. Paths and strings are in hexadecimal, so no mark is in them.
fn between(text: &str, open: char, close: char) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(open) {
        let Some((inside, next)) = after.split_once(close) else { break };
        found.push(inside.to_owned());
        rest = next;
    }
    found
}

fn bytes_of(hexadecimal: &str) -> Vec<u8> {
    hexadecimal.split("\\x").skip(1).map(|byte| u8::from_str_radix(&byte[..2], 16).unwrap()).collect()
}

fn path_of(hexadecimal: &str) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(&bytes_of(hexadecimal)).into_owned())
}
