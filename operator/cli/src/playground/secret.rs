//! The secret of a playground's database: a file that only its owner may read, made once, which the nodes and the command
//! line read. A person may put another line in, at any time.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use skerry_client::{Secrets, SecretsError};

/// Nobody guesses so many random bytes.
const RANDOM_BYTES: usize = 32;

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("failed to use the secret in {file}")]
    Io { file: PathBuf, source: io::Error },
    #[error("the file of secrets {file} cannot be used")]
    Secrets { file: PathBuf, source: SecretsError },
}

/// Makes the file, if it is not there.
pub(crate) fn make(file: &Path) -> Result<(), SecretError> {
    let failed = |source| SecretError::Io { file: file.to_owned(), source };
    if file.try_exists().map_err(failed)? {
        return Ok(());
    }
    // Whole or not at all: what an interrupted start left is written over.
    let new = file.with_extension("new");
    let random: [u8; RANDOM_BYTES] = rand::random();
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let write = || -> io::Result<()> {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut open = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
        writeln!(open, "{text}")?;
        open.sync_all()?;
        fs::rename(&new, file)
    };
    write().map_err(failed)
}

/// Reads the file of secrets.
pub(crate) fn read(file: &Path) -> Result<Secrets, SecretError> {
    let bytes = fs::read(file).map_err(|source| SecretError::Io { file: file.to_owned(), source })?;
    Secrets::parse(&bytes).map_err(|source| SecretError::Secrets { file: file.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        make(&file).unwrap();
        let first = read(&file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        make(&file).unwrap();
        assert_eq!(read(&file).unwrap(), first);
        let other = folder.path().join("other");
        make(&other).unwrap();
        assert_ne!(read(&other).unwrap(), first);
    }
}
