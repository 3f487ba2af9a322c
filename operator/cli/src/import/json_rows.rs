//! The rows of a file of JSON: one object a line, or one array of objects.

use std::io::{self, BufRead, Read};

use super::json_text::{JsonError, Object, Taken, ValueScan};
use super::rows::{Line, Row, RowError, check_of};

/// No row is longer: values have 1 MiB at most, and what is read of a broken file must have an end.
const ROW_BYTES_MAX: u64 = 16 << 20;

/// Reads a file of JSON objects one by one.
pub(crate) struct JsonRows<R> {
    source: R,
    layout: Layout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Nothing of the file is read yet.
    Unknown,
    Lines,
    /// Before the first element of an array.
    First,
    /// After an element of an array.
    Later,
    Done,
}

impl<R: BufRead> JsonRows<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, layout: Layout::Unknown }
    }

    fn line(&mut self) -> Result<Option<Line>, RowError> {
        loop {
            let mut line = Vec::new();
            (&mut self.source).take(ROW_BYTES_MAX + 1).read_until(b'\n', &mut line)?;
            if line.len() as u64 > ROW_BYTES_MAX {
                return Err(RowError::TooLong { max: ROW_BYTES_MAX });
            }
            if line.is_empty() {
                return Ok(None);
            }
            let line = line.trim_ascii();
            if !line.is_empty() {
                return Ok(Some(row(line)));
            }
        }
    }

    fn element(&mut self) -> Result<Option<Line>, RowError> {
        let mut byte = self.visible()?;
        if self.layout == Layout::Later && byte == Some(b',') {
            self.source.consume(1);
            byte = self.visible()?;
        } else if byte == Some(b']') {
            self.source.consume(1);
            return match self.visible()? {
                None => Ok(None),
                Some(_) => Err(RowError::AfterArray),
            };
        } else if self.layout == Layout::Later {
            return Err(RowError::Array);
        }
        self.layout = Layout::Later;
        let (mut text, mut scan) = (Vec::new(), ValueScan::default());
        byte.ok_or(RowError::Array)?;
        while let Some(&byte) = self.source.fill_buf()?.first() {
            let taken = scan.take(byte);
            if taken == Taken::Beyond {
                break;
            }
            text.push(byte);
            self.source.consume(1);
            if taken == Taken::Last {
                break;
            }
            if text.len() as u64 > ROW_BYTES_MAX {
                return Err(RowError::TooLong { max: ROW_BYTES_MAX });
            }
        }
        match text.is_empty() {
            true => Err(RowError::Array),
            false => Ok(Some(row(&text))),
        }
    }

    /// The next byte that is no blank, without taking it.
    fn visible(&mut self) -> io::Result<Option<u8>> {
        loop {
            let bytes = self.source.fill_buf()?;
            let blanks = bytes.iter().take_while(|b| b.is_ascii_whitespace()).count();
            match bytes.get(blanks).copied() {
                found @ Some(_) => {
                    self.source.consume(blanks);
                    return Ok(found);
                }
                None if blanks == 0 => return Ok(None),
                None => self.source.consume(blanks),
            }
        }
    }
}

fn row(bytes: &[u8]) -> Line {
    let check = check_of([bytes]);
    let parsed = match std::str::from_utf8(bytes) {
        Ok(text) => Object::parse(text).map_err(|error| match error {
            JsonError::Twice(name) => RowError::Twice(name),
            error => RowError::Json(error),
        }),
        Err(_) => Err(RowError::Encoding),
    };
    // On one line, so that it can be shown and mended as one.
    let shown = || bytes.iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b }).collect();
    Line { check, header: None, row: parsed.map(Row::Json).map_err(|error| (error, shown())) }
}

impl<R: BufRead> Iterator for JsonRows<R> {
    type Item = Result<Line, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.layout == Layout::Unknown {
            match self.visible() {
                Ok(Some(b'[')) => {
                    self.source.consume(1);
                    self.layout = Layout::First;
                }
                Ok(_) => self.layout = Layout::Lines,
                Err(error) => return Some(Err(error.into())),
            }
        }
        let next = match self.layout {
            Layout::Unknown | Layout::Lines => self.line(),
            Layout::First | Layout::Later => self.element(),
            Layout::Done => Ok(None),
        };
        if !matches!(next, Ok(Some(_))) {
            self.layout = Layout::Done;
        }
        next.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Result<String, String>> {
        let rows = JsonRows::new(io::BufReader::with_capacity(3, text.as_bytes()));
        let told = |line: Line| match line.row {
            Ok(row) => Ok(row.to_json()),
            Err((error, raw)) => Err(format!("{error}: {}", String::from_utf8_lossy(&raw))),
        };
        rows.map(|line| line.map_or_else(|error| Err(error.to_string()), told)).collect()
    }

    #[test]
    fn lines_and_arrays_give_the_same_rows() {
        let rows = [Ok(r#"{"a":"x, ]"}"#.to_owned()), Ok(r#"{"b":{"c":[1.0]}}"#.to_owned())];
        assert_eq!(read("{\"a\": \"x, ]\"}\n\n{\"b\": {\"c\": [1.0]}}"), rows);
        assert_eq!(read("\n[ {\"a\": \"x, ]\"},\n  {\"b\":\n {\"c\": [1.0]}}\n]\n"), rows);
        assert_eq!(read("[]"), []);
        assert_eq!(read(""), []);
    }

    #[test]
    fn bad_elements_are_passed_over_and_bad_arrays_are_not() {
        let rows = read("[1, {\"a\": 1}, {\"a\" 1}]");
        assert_eq!(rows[0], Err("not a JSON object: 1".to_owned()));
        assert_eq!(rows[1], Ok("{\"a\":1}".to_owned()));
        assert_eq!(rows[2], Err("not JSON: {\"a\" 1}".to_owned()));
        for bad in ["[{} {}]", "[{},", "[{}", "[,{}]", "[{}] {}"] {
            assert!(read(bad).last().unwrap().as_ref().is_err_and(|e| e.contains("array")), "{bad}");
        }
    }

    #[test]
    fn half_of_a_surrogate_pair_makes_a_bad_row() {
        let rows = read("{\"key\": \"a\", \"value\": \"hi \\ud83d\"}\n{\"key\": \"a\", \"value\": \"hi\"}\n");
        assert!(rows[0].as_ref().is_err_and(|e| e.contains("\"value\" is a string that stands for no text")));
        assert!(rows[1].is_ok());
    }

    #[test]
    fn bad_lines_are_shown_and_the_next_is_read() {
        let rows = read("{\"a\": 1}\n[1]\n{\"a\": 1, \"a\": 2}\n{\"a\": 2}\n");
        assert_eq!(rows[1], Err("not a JSON object: [1]".to_owned()));
        assert!(rows[2].as_ref().is_err_and(|e| e.contains("twice")));
        assert_eq!(rows[3], Ok("{\"a\":2}".to_owned()));
    }
}
