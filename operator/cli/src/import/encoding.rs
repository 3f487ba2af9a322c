//! Files in other encodings than UTF-8, and marks of their byte order, become plain UTF-8 as they are read.

use std::io::{self, Read};

use clap::ValueEnum;

/// How many bytes are decoded at a time.
const CHUNK: usize = 1 << 14;

/// What windows-1252 has from 0x80 to 0x9f; zero = nothing.
const WINDOWS_1252: [u16; 32] = [
    0x20ac, 0, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0, 0x017d, 0, 0,
    0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0, 0x017e, 0x0178,
];

/// How a file's characters are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    /// The default; a file that begins with the mark of UTF-16 is read as that.
    #[value(name = "utf-8")]
    Utf8,
    /// Little end first.
    #[value(name = "utf-16le")]
    Utf16Le,
    /// Big end first.
    #[value(name = "utf-16be")]
    Utf16Be,
    /// ISO 8859-1: one byte is one character, and every byte is one.
    Latin1,
    /// As older Windows programs of Western Europe and the Americas write.
    #[value(name = "windows-1252")]
    Windows1252,
}

/// Reads text of any encoding as UTF-8, without its byte order mark. UTF-8 itself is passed on as it is: whether it is
/// sound is for whoever knows the rows.
pub(crate) fn decoded(mut source: impl Read + Send + 'static, given: Encoding) -> io::Result<Box<dyn Read + Send>> {
    let mut first = Vec::new();
    (&mut source).take(3).read_to_end(&mut first)?;
    let (encoding, mark) = match (given, first.as_slice()) {
        (Encoding::Utf8, [0xef, 0xbb, 0xbf]) => (given, 3),
        (Encoding::Utf8 | Encoding::Utf16Le, [0xff, 0xfe, ..]) => (Encoding::Utf16Le, 2),
        (Encoding::Utf8 | Encoding::Utf16Be, [0xfe, 0xff, ..]) => (Encoding::Utf16Be, 2),
        _ => (given, 0),
    };
    let source = io::Cursor::new(first.split_off(mark)).chain(source);
    Ok(match encoding {
        Encoding::Utf8 => Box::new(source),
        _ => Box::new(Decoder { source, encoding, left: Vec::new(), text: Vec::new(), at: 0 }),
    })
}

struct Decoder<R> {
    source: R,
    encoding: Encoding,
    /// Not decoded yet: the first part of a character.
    left: Vec<u8>,
    text: Vec<u8>,
    at: usize,
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.text.len() {
            let before = self.left.len();
            (&mut self.source).take(CHUNK as u64).read_to_end(&mut self.left)?;
            let is_end = self.left.len() == before;
            self.text.clear();
            self.at = 0;
            let used = decode(self.encoding, &self.left, &mut self.text)?;
            self.left.drain(..used);
            if is_end {
                return match self.left.is_empty() {
                    true => Ok(0),
                    false => Err(invalid("it ends within a character".to_owned())),
                };
            }
        }
        let count = (&self.text[self.at..]).read(into)?;
        self.at += count;
        Ok(count)
    }
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Decodes whole characters; gives the number of bytes that they took.
fn decode(encoding: Encoding, bytes: &[u8], text: &mut Vec<u8>) -> io::Result<usize> {
    let mut push = |c: char| text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    let unit: fn([u8; 2]) -> u16 = match encoding {
        Encoding::Utf16Be => u16::from_be_bytes,
        Encoding::Utf16Le => u16::from_le_bytes,
        Encoding::Utf8 | Encoding::Latin1 | Encoding::Windows1252 => {
            for &byte in bytes {
                let c = match (encoding, byte) {
                    (Encoding::Windows1252, 0x80..=0x9f) => match WINDOWS_1252[usize::from(byte - 0x80)] {
                        0 => return Err(invalid(format!("byte {byte:#04x} is no character of windows-1252"))),
                        code => char::from_u32(u32::from(code)).unwrap_or(char::REPLACEMENT_CHARACTER),
                    },
                    _ => char::from(byte),
                };
                push(c);
            }
            return Ok(bytes.len());
        }
    };
    let mut at = 0;
    while let Some(&[a, b]) = bytes.get(at..at + 2) {
        let first = unit([a, b]);
        let units = if (0xd800..0xdc00).contains(&first) {
            let Some(&[c, d]) = bytes.get(at + 2..at + 4) else { break };
            vec![first, unit([c, d])]
        } else {
            vec![first]
        };
        match char::decode_utf16(units.iter().copied()).next() {
            Some(Ok(c)) => push(c),
            _ => return Err(invalid("it is not UTF-16".to_owned())),
        }
        at += 2 * units.len();
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8], encoding: Encoding) -> io::Result<String> {
        let mut text = String::new();
        decoded(io::Cursor::new(bytes.to_vec()), encoding)?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn byte_order_marks_are_no_part_of_the_text() {
        assert_eq!(text(b"\xef\xbb\xbfa,b", Encoding::Utf8).unwrap(), "a,b");
        assert_eq!(text(b"a", Encoding::Utf8).unwrap(), "a");
        assert_eq!(text(b"\xff\xfea\0\n\0", Encoding::Utf8).unwrap(), "a\n");
        assert_eq!(text(b"\xfe\xff\0a\0\n", Encoding::Utf16Be).unwrap(), "a\n");
    }

    #[test]
    fn other_encodings_become_utf_8() {
        assert_eq!(text(b"B\xe4cker", Encoding::Latin1).unwrap(), "Bäcker");
        assert_eq!(text(b"5 \x80", Encoding::Windows1252).unwrap(), "5 €");
        let units: Vec<u8> = "ü𝄞".repeat(9_000).encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(text(&units, Encoding::Utf16Le).unwrap(), "ü𝄞".repeat(9_000));
    }

    #[test]
    fn what_cannot_be_in_an_encoding_is_refused() {
        assert!(text(b"\x81", Encoding::Windows1252).is_err());
        assert!(text(b"a\0b", Encoding::Utf16Le).is_err(), "half a character");
        assert!(text(b"\x00\xdc", Encoding::Utf16Le).is_err(), "a lone surrogate");
    }
}
