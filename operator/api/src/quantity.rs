//! Kubernetes quantities of bytes, read exactly.

/// Why a text is not a number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the form.
    #[error("{0:?} must be a whole number of bytes, with or without k, M, G, T, Ki, Mi, Gi or Ti behind it")]
    Form(String),
    /// Does not fit.
    #[error("{0:?} is more than 2^63 bytes")]
    TooLarge(String),
}

/// The number of bytes.
pub fn bytes(text: &str) -> Result<u64, QuantityError> {
    let form = || QuantityError::Form(text.to_owned());
    let too_large = || QuantityError::TooLarge(text.to_owned());
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor: u64 = match &text[digits..] {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return Err(form()),
    };
    if digits == 0 {
        return Err(form());
    }
    let number: u64 = text[..digits].parse().map_err(|_| too_large())?;
    number.checked_mul(factor).filter(|b| *b <= 1 << 63).ok_or_else(too_large)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_multiply_and_the_rest_is_refused() {
        assert_eq!(bytes("64Mi"), Ok(64 << 20));
        assert_eq!(bytes("3k"), Ok(3_000));
        assert_eq!(bytes("7"), Ok(7));
        for bad in ["", "Mi", "1.5Gi", "-1", "1 Gi", "1Pb"] {
            assert_eq!(bytes(bad), Err(QuantityError::Form(bad.to_owned())));
        }
        assert_eq!(bytes("99999999Ti"), Err(QuantityError::TooLarge("99999999Ti".to_owned())));
    }
}
