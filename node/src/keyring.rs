//! The database's secrets as this node has them: from a file that is looked at again and again, so that they are replaced
//! without a restart.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use skerry_client::secret::{SECRET_BYTES_MAX, SECRETS_MAX};
use skerry_client::{Secrets, SecretsError};
use skerry_program::chain::chain;
use tonic::Status;
use tracing::{error, info};

/// Between two looks at the file.
const PERIOD: Duration = Duration::from_secs(1);
/// So long the secrets that were in the file before are accepted yet, and sent where the new ones are not known: the
/// other nodes' files change later than this one's. Kubernetes brings a changed Secret into every pod within two minutes.
const GRACE: Duration = Duration::from_secs(300);
/// Changes of the file that may follow each other within that time. Past it the oldest are no longer accepted.
const REPLACED_MAX: usize = 8;
/// All secrets, each with its line's end.
const FILE_BYTES_MAX: usize = SECRETS_MAX * (SECRET_BYTES_MAX + 2);

/// The secrets that count at present, from a file that may change.
#[derive(Debug)]
pub struct Keyring {
    file: Option<PathBuf>,
    held: RwLock<Held>,
}

#[derive(Debug, Default)]
struct Held {
    secrets: Secrets,
    /// What they took the place of, the latest first, and until when each counts.
    replaced: Vec<(Secrets, Instant)>,
}

impl Held {
    fn replaced(&self, now: Instant) -> impl Iterator<Item = &Secrets> {
        self.replaced.iter().filter(move |(_, until)| now < *until).map(|(secrets, _)| secrets)
    }
}

/// Why a file of secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The file cannot be read.
    #[error("failed to read the secrets in {file}")]
    Io {
        /// File of secrets that was named.
        file: PathBuf,
        /// Error of the file system.
        #[source]
        source: io::Error,
    },
    /// It has not what it should.
    #[error("the file of secrets {file} cannot be used")]
    Secrets {
        /// File of secrets that was named.
        file: PathBuf,
        /// What is wrong with its content.
        #[source]
        source: SecretsError,
    },
}

impl Keyring {
    /// Reads the file. `None` = nothing is demanded of anybody.
    pub fn open(file: Option<PathBuf>) -> Result<Self, KeyringError> {
        let secrets = file.as_deref().map(read).transpose()?.unwrap_or_default();
        Ok(Self { file, held: RwLock::new(Held { secrets, replaced: Vec::new() }) })
    }

    /// True if a secret is demanded.
    pub fn is_closed(&self) -> bool {
        self.file.is_some()
    }

    /// What to send to another node, one after the other, until one is accepted.
    pub fn secrets(&self) -> Secrets {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.replaced(Instant::now()).fold(held.secrets.clone(), Secrets::and_then)
    }

    /// Lets a call in that carries one of the secrets.
    pub fn admit(&self, carried: Option<&[u8]>) -> Result<(), Status> {
        if !self.is_closed() {
            return Ok(());
        }
        let fault = match carried {
            Some(carried) if self.knows(carried, Instant::now()) => return Ok(()),
            Some(_) => "the one that was sent is not known here",
            None => "none was sent",
        };
        Err(Status::unauthenticated(format!(
            "this port demands the database's secret, and {fault}: it is in the file that the node's --secret-file \
             names, on Kubernetes in the Secret DATABASE-nodes, in a playground in the file secret of its folder"
        )))
    }

    fn knows(&self, carried: &[u8], now: Instant) -> bool {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.replaced(now).fold(held.secrets.has(carried), |known, secrets| known | secrets.has(carried))
    }

    /// Looks at the file for ever. One that cannot be used changes nothing.
    pub async fn keep_read(self: Arc<Self>) {
        let Some(file) = self.file.clone() else { return };
        let mut said = None;
        loop {
            tokio::time::sleep(PERIOD).await;
            match read(&file) {
                Ok(secrets) => {
                    said = None;
                    if self.replace(secrets, Instant::now()) {
                        info!(file = %file.display(), "secrets have changed");
                    }
                }
                Err(failure) => {
                    let why = chain(&failure);
                    if said.as_ref() != Some(&why) {
                        error!(why, "secrets cannot be read again: those from before hold");
                        said = Some(why);
                    }
                }
            }
        }
    }

    /// True if they are others than before.
    fn replace(&self, secrets: Secrets, now: Instant) -> bool {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if held.secrets == secrets {
            return false;
        }
        let replaced = std::mem::replace(&mut held.secrets, secrets);
        held.replaced.retain(|(_, until)| now < *until);
        held.replaced.insert(0, (replaced, now + GRACE));
        held.replaced.truncate(REPLACED_MAX);
        true
    }
}

fn read(file: &Path) -> Result<Secrets, KeyringError> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|open| open.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    match read {
        Ok(length) if length > FILE_BYTES_MAX => {
            let source = io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes"));
            Err(KeyringError::Io { file: file.to_owned(), source })
        }
        Ok(_) => Secrets::parse(&bytes).map_err(|source| KeyringError::Secrets { file: file.to_owned(), source }),
        Err(source) => Err(KeyringError::Io { file: file.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tonic::Code;

    use super::*;

    const OLD: &str = "0123456789abcdef";
    const NEW: &str = "fedcba9876543210";
    const NEWEST: &str = "0f1e2d3c4b5a6978";

    fn keyring(text: &str) -> Keyring {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, text).unwrap();
        Keyring::open(Some(file)).unwrap()
    }

    #[test]
    fn without_a_file_everybody_is_let_in_and_with_one_only_who_knows_a_secret() {
        assert!(Keyring::open(None).unwrap().admit(None).is_ok());
        let closed = keyring(OLD);
        assert!(closed.admit(Some(OLD.as_bytes())).is_ok());
        for (carried, words) in [(None, "none was sent"), (Some(NEW.as_bytes()), "is not known here")] {
            let refused = closed.admit(carried).unwrap_err();
            assert_eq!(refused.code(), Code::Unauthenticated);
            assert!(refused.message().contains(words) && refused.message().contains("--secret-file"), "{refused}");
            assert!(!refused.message().contains(OLD) && !refused.message().contains(NEW), "{refused}");
        }
    }

    #[test]
    fn what_was_replaced_is_accepted_and_sent_last_for_a_while_and_then_no_more() {
        let (keyring, now) = (keyring(OLD), Instant::now());
        assert!(!keyring.replace(Secrets::parse(OLD.as_bytes()).unwrap(), now));
        assert!(keyring.replace(Secrets::parse(NEW.as_bytes()).unwrap(), now));
        assert!(keyring.knows(NEW.as_bytes(), now) && keyring.knows(OLD.as_bytes(), now));
        assert_eq!(keyring.secrets().to_send().len(), 2);
        assert!(keyring.knows(NEW.as_bytes(), now + GRACE) && !keyring.knows(OLD.as_bytes(), now + GRACE));
    }

    /// Another node's file may be two changes behind.
    #[test]
    fn what_was_replaced_twice_is_accepted_and_sent_until_its_own_time_is_over() {
        let (keyring, now) = (keyring(OLD), Instant::now());
        let later = now + GRACE / 2;
        keyring.replace(Secrets::parse(NEW.as_bytes()).unwrap(), now);
        keyring.replace(Secrets::parse(NEWEST.as_bytes()).unwrap(), later);
        let known = |at| [OLD, NEW, NEWEST].map(|secret| keyring.knows(secret.as_bytes(), at));
        assert_eq!(known(later), [true; 3]);
        assert_eq!(keyring.secrets().to_send().len(), 3);
        assert_eq!(known(now + GRACE), [false, true, true]);
        assert_eq!(known(later + GRACE), [false, false, true]);
        for number in 0..2 * REPLACED_MAX {
            keyring.replace(Secrets::parse(format!("{OLD}-{number}").as_bytes()).unwrap(), later);
        }
        assert_eq!(keyring.secrets().to_send().len(), 1 + REPLACED_MAX);
    }

    #[test]
    fn a_file_that_is_missing_too_large_or_without_secrets_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let refused = |text: Option<&str>| {
            if let Some(text) = text {
                fs::write(&file, text).unwrap();
            }
            chain(&Keyring::open(Some(file.clone())).unwrap_err())
        };
        let cases =
            [(None, "No such file"), (Some(""), "there is no secret in it"), (Some(&*"x".repeat(9_999)), "more than")];
        for (text, words) in cases {
            let why = refused(text);
            assert!(why.contains(words) && why.contains(&file.display().to_string()), "{why}");
        }
    }
}
