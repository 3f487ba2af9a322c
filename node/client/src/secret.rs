//! The shared secret of a database, which its nodes demand where they speak with one another and where they take orders.
//! There may be several at a time, so that one can be replaced while all goes on.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Code, Request, Status};

/// A shorter one could be guessed.
pub const SECRET_BYTES_MIN: usize = 16;
/// A longer one is another file by mistake.
pub const SECRET_BYTES_MAX: usize = 512;
/// At most: one is replaced by another, and there is room for a mistake in between.
pub const SECRETS_MAX: usize = 8;
/// Name of the gRPC metadata that carries the secret.
const METADATA: &str = "skerry-secret";

/// The secrets of one database, in the order of their lines. The first is sent, all are accepted. Empty = none is demanded.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(Vec<MetadataValue<Ascii>>);

/// Why a file has no secrets. Never says what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// The file has no line with a secret.
    #[error(
        "there is no secret in it: it must have one in each line, of {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes"
    )]
    Empty,
    /// The file has too many secrets.
    #[error("it has {lines} secrets, at most {SECRETS_MAX} are allowed")]
    TooMany {
        /// Number of secrets in the file.
        lines: usize,
    },
    /// A secret is too short or too long.
    #[error(
        "the secret in line {line} has {bytes} bytes, it must have {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}: \
         for instance what `openssl rand -hex 32` gives"
    )]
    Length {
        /// Which, from 1.
        line: usize,
        /// Length of the secret, in bytes.
        bytes: usize,
    },
    /// A secret has characters that gRPC metadata cannot carry.
    #[error("the secret in line {line} must be of visible ASCII characters, without blanks")]
    Characters {
        /// Which, from 1.
        line: usize,
    },
}

impl Secrets {
    /// From a file's bytes: one in each line. Empty lines, and line ends of either kind, do not count.
    pub fn parse(text: &[u8]) -> Result<Self, SecretsError> {
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).enumerate();
        let mut secrets = Vec::new();
        for (number, secret) in lines.filter(|(_, line)| !line.is_empty()) {
            let line = number + 1;
            if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&secret.len()) {
                return Err(SecretsError::Length { line, bytes: secret.len() });
            }
            if !secret.iter().all(u8::is_ascii_graphic) {
                return Err(SecretsError::Characters { line });
            }
            let mut value = MetadataValue::try_from(secret).map_err(|_| SecretsError::Characters { line })?;
            value.set_sensitive(true);
            secrets.push(value);
        }
        match secrets.len() {
            0 => Err(SecretsError::Empty),
            lines if lines > SECRETS_MAX => Err(SecretsError::TooMany { lines }),
            _ => Ok(Self(secrets)),
        }
    }

    /// True if there is no secret, so that none is demanded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if this is one of them. Takes the same time whichever it is, and however much of one it is.
    pub fn has(&self, given: &[u8]) -> bool {
        let found = self.0.iter().fold(Choice::from(0), |found, own| found | own.as_bytes().ct_eq(given));
        found.into()
    }

    /// These, and behind them those of the others that are not among them.
    #[must_use]
    pub fn and_then(mut self, others: &Self) -> Self {
        let new = others.0.iter().filter(|other| !self.has(other.as_bytes())).cloned().collect::<Vec<_>>();
        self.0.extend(new);
        self
    }

    /// What to send, one after the other, until one is accepted: a node may not know the first yet.
    pub fn to_send(&self) -> Vec<Presented> {
        if self.is_empty() {
            return vec![Presented(None)];
        }
        self.0.iter().cloned().map(|secret| Presented(Some(secret))).collect()
    }

    /// Calls a node with one of these after the other, until it knows one. A call with an unknown one has no effect.
    ///
    /// # Errors
    ///
    /// What the node says to a call that it lets in, or what it has said last if it knows none of these.
    pub async fn present<T, Answered>(&self, call: impl Fn(Presented) -> Answered) -> Result<T, Status>
    where
        Answered: Future<Output = Result<T, Status>>,
    {
        let mut refused = Status::unauthenticated("");
        for presented in self.to_send() {
            match call(presented).await {
                Err(status) if status.code() == Code::Unauthenticated => refused = status,
                answered => return answered,
            }
        }
        Err(refused)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

/// One secret, or none, put on every call.
#[derive(Clone, Default)]
pub struct Presented(Option<MetadataValue<Ascii>>);

impl Interceptor for Presented {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(secret) = &self.0 {
            request.metadata_mut().insert(METADATA, secret.clone());
        }
        Ok(request)
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Presented({})", self.0.is_some())
    }
}

/// The secret that a call carries. `None` = none.
pub fn carried<T>(request: &Request<T>) -> Option<&[u8]> {
    request.metadata().get(METADATA).map(MetadataValue::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "0123456789abcdef";
    const NEW: &str = "fedcba9876543210";

    fn carried_by(presented: &Presented) -> Option<Vec<u8>> {
        let request = presented.clone().call(Request::new(())).unwrap();
        carried(&request).map(<[u8]>::to_vec)
    }

    #[test]
    fn each_line_is_a_secret_and_the_first_is_sent_first() {
        let secrets = Secrets::parse(format!("{NEW}\r\n\n{OLD}\n").as_bytes()).unwrap();
        assert!(secrets.has(NEW.as_bytes()) && secrets.has(OLD.as_bytes()));
        assert!(!secrets.has(b"") && !secrets.has(&OLD.as_bytes()[..15]) && !secrets.has(b"0123456789abcdeX"));
        let sent: Vec<_> = secrets.to_send().iter().map(|presented| carried_by(presented).unwrap()).collect();
        assert_eq!(sent, [NEW.as_bytes(), OLD.as_bytes()]);
    }

    #[test]
    fn without_secrets_nothing_is_sent_and_nothing_is_one() {
        assert!(Secrets::default().is_empty() && !Secrets::default().has(b""));
        assert_eq!(carried_by(&Secrets::default().to_send()[0]), None);
    }

    #[test]
    fn secrets_that_cannot_be_are_refused_with_the_line() {
        let parse = |text: &str| Secrets::parse(text.as_bytes()).unwrap_err();
        assert_eq!(parse("\n \n"), SecretsError::Empty);
        assert_eq!(parse(&format!("{OLD}\nshort")), SecretsError::Length { line: 2, bytes: 5 });
        assert_eq!(parse(&"x".repeat(513)), SecretsError::Length { line: 1, bytes: 513 });
        assert_eq!(parse("0123456789 abcdef"), SecretsError::Characters { line: 1 });
        assert_eq!(parse("0123456789äöüabcdef"), SecretsError::Characters { line: 1 });
        assert_eq!(parse(&format!("{OLD}\n").repeat(9)), SecretsError::TooMany { lines: 9 });
    }

    #[test]
    fn no_secret_is_in_what_is_logged() {
        let secrets = Secrets::parse(OLD.as_bytes()).unwrap();
        let request = secrets.to_send()[0].call(Request::new(())).unwrap();
        let logged = format!("{secrets:?} {:?} {request:?}", secrets.to_send());
        assert!(!logged.contains(OLD), "{logged}");
    }

    #[test]
    fn secrets_of_two_files_are_taken_once_each() {
        let (old, new) = (Secrets::parse(OLD.as_bytes()).unwrap(), Secrets::parse(NEW.as_bytes()).unwrap());
        let both = new.clone().and_then(&old).and_then(&new);
        assert_eq!(both, Secrets::parse(format!("{NEW}\n{OLD}").as_bytes()).unwrap());
    }
}
