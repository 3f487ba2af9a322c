//! One program at a time starts or removes a lab. The lock ends with the program that holds it, however that ends.

use std::fs::{File, TryLockError};

use anyhow::{Context, Result, bail};

const FILE: &str = "/run/skerry-lab.lock";

/// Held while a lab is started or removed.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Fails at once if another program holds it.
    pub(super) fn take() -> Result<Lock> {
        let file = File::options().create(true).append(true).open(FILE).context("failed to open the lab's lock")?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => {
                bail!("another program is starting or removing the lab: wait for it to end")
            }
            Err(TryLockError::Error(error)) => Err(error).context("failed to lock the lab"),
        }
    }
}
