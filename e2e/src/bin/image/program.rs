//! What a program's ELF header says that the image must know: for which machine it is, and whether it needs a loader.

use thiserror::Error;

/// What the header of a program's file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Program {
    /// Processor architecture, as image configurations spell it.
    pub(crate) architecture: &'static str,
    /// True if it is linked dynamically. A static program has no segment that names a loader, be it relocatable or not.
    pub(crate) asks_for_loader: bool,
}

/// Why it could not be read.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum ProgramError {
    #[error("not a program: the ELF header of a 64-bit little-endian machine is missing")]
    NotElf,
    #[error("unknown machine {0} in the ELF header")]
    UnknownMachine(u16),
    #[error("the ELF header points outside the file")]
    Truncated,
}

const SEGMENT_INTERPRETER: u32 = 3;

impl Program {
    /// Reads it from the whole file.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, ProgramError> {
        if !bytes.starts_with(b"\x7fELF\x02\x01") {
            return Err(ProgramError::NotElf);
        }
        let architecture = match half(bytes, 18)? {
            62 => "amd64",
            183 => "arm64",
            other => return Err(ProgramError::UnknownMachine(other)),
        };
        let table = usize::try_from(u64::from_le_bytes(field(bytes, 32)?)).map_err(|_| ProgramError::Truncated)?;
        let (size, count) = (usize::from(half(bytes, 54)?), usize::from(half(bytes, 56)?));
        let mut asks_for_loader = false;
        for segment in 0..count {
            let at = table.checked_add(segment * size).ok_or(ProgramError::Truncated)?;
            asks_for_loader |= u32::from_le_bytes(field(bytes, at)?) == SEGMENT_INTERPRETER;
        }
        Ok(Self { architecture, asks_for_loader })
    }
}

fn half(bytes: &[u8], at: usize) -> Result<u16, ProgramError> {
    field(bytes, at).map(u16::from_le_bytes)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], ProgramError> {
    let end = at.checked_add(N).ok_or(ProgramError::Truncated)?;
    bytes.get(at..end).and_then(|b| b.try_into().ok()).ok_or(ProgramError::Truncated)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The smallest header that says all that is read.
    pub(crate) fn elf(machine: u16, segments: &[u32]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01".to_vec();
        bytes.resize(64, 0);
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56..58].copy_from_slice(&u16::try_from(segments.len()).unwrap().to_le_bytes());
        for kind in segments {
            bytes.extend(kind.to_le_bytes());
            bytes.extend([0; 52]);
        }
        bytes
    }

    #[test]
    fn machine_and_loader_are_read_from_the_header() {
        let read = |machine, segments: &[u32]| Program::read(&elf(machine, segments)).unwrap();
        assert_eq!(read(62, &[1, 2]), Program { architecture: "amd64", asks_for_loader: false });
        assert_eq!(read(183, &[6, 3, 1]), Program { architecture: "arm64", asks_for_loader: true });
    }

    #[test]
    fn test_program_itself_is_read() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let expected = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        assert_eq!(Program::read(&own).unwrap().architecture, expected);
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert_eq!(Program::read(b"#!/bin/sh"), Err(ProgramError::NotElf));
        assert_eq!(Program::read(&elf(40, &[])), Err(ProgramError::UnknownMachine(40)));
        let whole = elf(62, &[1, 2]);
        for end in 6..whole.len() - 52 {
            assert_eq!(Program::read(&whole[..end]), Err(ProgramError::Truncated), "{end}");
        }
    }
}
