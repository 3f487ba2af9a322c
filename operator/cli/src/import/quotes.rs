//! Follows the quotes of a CSV file as it is read. The reader of rows takes all that follows a stray quote, up to the end of
//! the file if need be, for one cell; here such a file is refused where it goes wrong.

use std::io::{self, Read};

/// Passes a file's bytes on as they are, up to where its quotes cannot be meant so.
#[derive(Debug)]
pub(crate) struct Quotes<R> {
    source: R,
    delimiter: u8,
    at: At,
    /// Number of the line that is being read, from 1.
    line: u64,
    /// Why nothing more is passed on. `None` = nothing is wrong so far.
    wrong: Option<QuoteError>,
}

/// Where the next byte stands in its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    /// A quote here is a character like any other.
    Plain,
    Quoted {
        /// Line of the quote that opens the cell.
        since: u64,
    },
    /// After a quote that closes the cell, or is the first of two that stand for one.
    Closed {
        since: u64,
    },
}

/// What is wrong with the quotes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QuoteError {
    #[error("the quote that opens a cell in line {since} is never closed; within such a cell a quote is written twice")]
    Open { since: u64 },
    #[error(
        "line {line} has text behind the quote that closes a cell, which was opened in line {since}; within such a cell \
         a quote is written twice"
    )]
    TextBehind { line: u64, since: u64 },
}

impl<R: Read> Quotes<R> {
    pub(crate) fn new(source: R, delimiter: u8) -> Self {
        Self { source, delimiter, at: At::Start, line: 1, wrong: None }
    }

    /// Follows what was read; gives how many bytes of it may be passed on.
    fn follow(&mut self, bytes: &[u8]) -> usize {
        for (passed, &byte) in bytes.iter().enumerate() {
            let ends_cell = byte == self.delimiter || matches!(byte, b'\r' | b'\n');
            self.at = match (self.at, byte) {
                (At::Start, b'"') => At::Quoted { since: self.line },
                (At::Start | At::Plain, _) => {
                    if ends_cell {
                        At::Start
                    } else {
                        At::Plain
                    }
                }
                (At::Quoted { since }, b'"') => At::Closed { since },
                (quoted @ At::Quoted { .. }, _) => quoted,
                (At::Closed { since }, b'"') => At::Quoted { since },
                (At::Closed { .. }, _) if ends_cell => At::Start,
                (At::Closed { since }, _) => {
                    self.wrong = Some(QuoteError::TextBehind { line: self.line, since });
                    return passed;
                }
            };
            self.line += u64::from(byte == b'\n');
        }
        bytes.len()
    }
}

impl<R: Read> Read for Quotes<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.wrong.is_none() {
            let read = self.source.read(into)?;
            // What comes before the fault is passed on first, so that the rows there are read.
            let passed = self.follow(&into[..read]);
            if let (0, At::Quoted { since }, false) = (read, self.at, into.is_empty()) {
                self.wrong = Some(QuoteError::Open { since });
            }
            if passed > 0 || self.wrong.is_none() {
                return Ok(passed);
            }
        }
        self.wrong.map_or(Ok(0), |wrong| Err(io::Error::new(io::ErrorKind::InvalidData, wrong)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte at a time: nothing may depend on how much is read at once.
    struct Drops<'a>(&'a [u8]);

    impl Read for Drops<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = into.len().min(1);
            self.0.read(&mut into[..length])
        }
    }

    fn passed(text: &str, delimiter: u8) -> Result<String, String> {
        let mut quotes = Quotes::new(Drops(text.as_bytes()), delimiter);
        let mut passed = Vec::new();
        match quotes.read_to_end(&mut passed) {
            Ok(_) => Ok(String::from_utf8(passed).unwrap()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn quotes_that_are_meant_so_pass() {
        for text in [
            "id,name\n1,\"two\nlines\"\n2,\"a \"\"word\"\"\"\r\n3,\"\"\n\"4\",x",
            "a,b\r\n\"x,\r\ny\",5\" disk\r\n\"\"\"\",\"\"\"x\"\r\n",
            "",
            "a\n\"x\"",
        ] {
            assert_eq!(passed(text, b',').as_deref(), Ok(text));
        }
        assert_eq!(passed("\"a\";\"b\"\tx;c", b';').unwrap_err().split(" has").next(), Some("line 1"));
        assert!(passed("\"a\"\t\"b,\"\tc", b'\t').is_ok());
    }

    #[test]
    fn a_quote_that_is_never_closed_is_told_with_its_line() {
        let told = passed("id,name\n1,\"abc\n2,def\n3,ghi", b',').unwrap_err();
        assert!(told.starts_with("the quote that opens a cell in line 2 is never closed"), "{told}");
        assert!(passed("a\n\"x\"\"", b',').is_err(), "the last two stand for one");
    }

    #[test]
    fn text_behind_a_closing_quote_is_told_with_its_line() {
        let told = passed("id,name\n1,\"abc\n2,\"def\"\n", b',').unwrap_err();
        assert!(told.starts_with("line 3 has text behind the quote"), "{told}");
        assert!(passed("a\n\"x\" \n", b',').is_err());
    }
}
