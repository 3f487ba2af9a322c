//! Kubernetes' quantities, read exactly: `10Gi`, `1.5Gi`, `500M`, `1e9`, `128974848000m`. Nobody else in this project reads
//! one, and what cannot be read is an error, never a number.
//!
//! ```text
//! quantity ::= number suffix      number ::= digits | digits "." digits? | "." digits
//! suffix   ::= "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E"
//!            | "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei" | ("e" | "E") ("+" | "-")? digits
//! ```
//!
//! As Kubernetes does, a part of a unit counts as a whole one. A sign before the number is refused, since nothing here can
//! be negative; so are more digits than any number in range has.

/// Digits before the point: more are past every limit.
const WHOLE_DIGITS_MAX: usize = 19;
/// Digits behind it: Kubernetes counts nothing smaller.
const DECIMALS_MAX: usize = 9;
/// Digits of an exponent.
const EXPONENT_DIGITS_MAX: usize = 2;
/// Of a whole number of units: what Kubernetes itself holds.
const UNITS_MAX: u128 = i64::MAX as u128;

/// Why a text is not a quantity that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the form.
    #[error("{0:?} must be a quantity: a number without sign, of at most 9 decimals, such as 10Gi, 1.5Gi, 500M or 1e9")]
    Form(String),
    /// Does not fit.
    #[error("{0:?} is more than 2^63 - 1")]
    TooLarge(String),
    /// Outside of what is allowed here.
    #[error("{text:?} must be between {least} and {most}")]
    Range {
        /// What was written.
        text: String,
        /// The least that is allowed.
        least: &'static str,
        /// The most.
        most: &'static str,
    },
}

/// What is allowed of a field. The schema's rules say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// The least.
    pub least: &'static str,
    /// The most.
    pub most: &'static str,
}

/// Of `storage.size`: the log alone is written in segments of 64Mi.
pub const STORAGE_SIZE: Allowed = Allowed { least: "256Mi", most: "1Pi" };
/// Of `resources.memory`.
pub const MEMORY: Allowed = Allowed { least: "128Mi", most: "64Ti" };
/// Of `resources.cpu`.
pub const CPU: Allowed = Allowed { least: "10m", most: "10k" };
/// Of `rebalance.maxBytesPerSecond`: slower, a move would hardly end.
pub const BYTES_PER_SECOND: Allowed = Allowed { least: "64Ki", most: "1Ti" };

impl Allowed {
    /// The number of bytes, if it is allowed.
    pub fn bytes(&self, text: &str) -> Result<u64, QuantityError> {
        self.read(text, bytes)
    }

    /// The number of thousandths, if it is allowed.
    pub fn thousandths(&self, text: &str) -> Result<u64, QuantityError> {
        self.read(text, thousandths)
    }

    fn read(&self, text: &str, read: fn(&str) -> Result<u64, QuantityError>) -> Result<u64, QuantityError> {
        let (number, least, most) = (read(text)?, read(self.least)?, read(self.most)?);
        let range = || QuantityError::Range { text: text.to_owned(), least: self.least, most: self.most };
        if (least..=most).contains(&number) { Ok(number) } else { Err(range()) }
    }
}

/// The number of bytes, rounded up.
pub fn bytes(text: &str) -> Result<u64, QuantityError> {
    units(text, 0)
}

/// The number of thousandths, of a core say, rounded up.
pub fn thousandths(text: &str) -> Result<u64, QuantityError> {
    units(text, 3)
}

/// The number times ten to this power, rounded up.
fn units(text: &str, power: i32) -> Result<u64, QuantityError> {
    let parsed = Parsed::new(text).ok_or_else(|| QuantityError::Form(text.to_owned()))?;
    let number = parsed.scaled(power).filter(|number| *number <= UNITS_MAX);
    number.and_then(|number| u64::try_from(number).ok()).ok_or_else(|| QuantityError::TooLarge(text.to_owned()))
}

/// `digits` times ten to the power of `tens`, times two to the power of `twos`.
struct Parsed {
    digits: u128,
    tens: i32,
    twos: u32,
}

impl Parsed {
    /// `None` = not of the form.
    fn new(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        let fits = whole.len() <= WHOLE_DIGITS_MAX && decimals.len() <= DECIMALS_MAX && !decimals.contains('.');
        let digits = [whole, decimals].concat();
        if !fits || digits.is_empty() {
            return None;
        }
        let (tens, twos) = factor(suffix)?;
        Some(Self { digits: digits.parse().ok()?, tens: tens - i32::try_from(decimals.len()).ok()?, twos })
    }

    /// `None` = too large.
    fn scaled(&self, power: i32) -> Option<u128> {
        let number = self.digits.checked_mul(1 << self.twos)?;
        let tens = self.tens + power;
        match 10_u128.checked_pow(tens.unsigned_abs()) {
            Some(factor) if tens >= 0 => number.checked_mul(factor),
            Some(factor) => Some(number.div_ceil(factor)),
            // Nothing, or next to nothing.
            None if tens < 0 || number == 0 => Some(number.min(1)),
            None => None,
        }
    }
}

/// The powers of ten and of two that a suffix stands for.
fn factor(suffix: &str) -> Option<(i32, u32)> {
    Some(match suffix {
        "n" => (-9, 0),
        "u" => (-6, 0),
        "m" => (-3, 0),
        "" => (0, 0),
        "k" => (3, 0),
        "M" => (6, 0),
        "G" => (9, 0),
        "T" => (12, 0),
        "P" => (15, 0),
        "E" => (18, 0),
        "Ki" => (0, 10),
        "Mi" => (0, 20),
        "Gi" => (0, 30),
        "Ti" => (0, 40),
        "Pi" => (0, 50),
        "Ei" => (0, 60),
        exponent => (exponent_of(exponent)?, 0),
    })
}

fn exponent_of(suffix: &str) -> Option<i32> {
    let signed = suffix.strip_prefix(['e', 'E'])?;
    let digits = signed.strip_prefix(['+', '-']).unwrap_or(signed);
    let fits = (1..=EXPONENT_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let number: i32 = digits.parse().ok().filter(|_| fits)?;
    Some(if signed.starts_with('-') { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_documents_them() {
        let cases: &[(&str, u64)] = &[
            ("0", 0),
            ("7", 7),
            ("64Mi", 64 << 20),
            ("3k", 3_000),
            ("1.5Gi", 3 << 29),
            ("0.5", 1),
            (".5Ki", 512),
            ("5.", 5),
            ("1e9", 1_000_000_000),
            ("1E9", 1_000_000_000),
            ("12e+6", 12_000_000),
            ("1.5e3", 1_500),
            ("2500e-2", 25),
            ("1E", 1_000_000_000_000_000_000),
            ("500M", 500_000_000),
            ("128974848", 128_974_848),
            ("129e6", 129_000_000),
            ("129M", 129_000_000),
            ("128974848000m", 128_974_848),
            ("123Mi", 128_974_848),
            ("1500000000n", 2),
            ("1u", 1),
            ("1e-99", 1),
            ("0e99", 0),
            ("7Ei", 7 << 60),
            ("9223372036854775807", (1 << 63) - 1),
        ];
        for (text, number) in cases {
            assert_eq!(bytes(text), Ok(*number), "{text}");
        }
        assert_eq!([thousandths("250m"), thousandths("2"), thousandths("0.0001")], [Ok(250), Ok(2_000), Ok(1)]);
    }

    #[test]
    fn what_is_no_quantity_is_an_error_and_never_a_number() {
        let no_form = [
            "",
            ".",
            "Mi",
            "big",
            "-1",
            "+1",
            "1 Gi",
            " 1",
            "1Gi ",
            "1Pb",
            "1K",
            "1gi",
            "1e",
            "1e+",
            "1e1.5",
            "1e100",
            "1Ee3",
            "1..5",
            "1.5.2",
            "0x10",
            "1_000",
            "1,5Gi",
            "1.0000000001",
            "10000000000000000000",
            "NaN",
            "٣",
        ];
        for text in no_form {
            assert_eq!(bytes(text), Err(QuantityError::Form(text.to_owned())), "{text:?}");
        }
        for text in ["99999999Ti", "8Ei", "9223372036854775808", "1e19", "1e99", "10E"] {
            assert_eq!(bytes(text), Err(QuantityError::TooLarge(text.to_owned())));
        }
    }

    #[test]
    fn what_is_not_allowed_is_refused_with_what_is() {
        assert_eq!(MEMORY.bytes("1.5Gi"), Ok(3 << 29));
        let told = |result: Result<u64, QuantityError>| result.unwrap_err().to_string();
        assert_eq!(told(MEMORY.bytes("127Mi")), "\"127Mi\" must be between 128Mi and 64Ti");
        assert_eq!(told(CPU.thousandths("9m")), "\"9m\" must be between 10m and 10k");
        for allowed in [STORAGE_SIZE, MEMORY, CPU, BYTES_PER_SECOND] {
            assert_eq!((allowed.bytes(allowed.least).is_ok(), allowed.bytes(allowed.most).is_ok()), (true, true));
        }
    }
}
