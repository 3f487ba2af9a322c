//! What a failed command means to a program: one of a few kinds, each with an exit code of its own.

use std::process::ExitCode;

use skerry_client::{AdminError, ConnectError, ReadError, WriteError};

/// Why a command failed, as far as a program can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// None of the others: the message says what is wrong. Exit code 1.
    Error,
    /// The command line itself is wrong.
    Usage,
    /// A condition of a write did not hold. Nothing has changed.
    ConditionFailed,
    /// There is no such key or table.
    NotFound,
    /// The database, or the part of it that was asked, does not answer now, or nobody knows whether a write has happened; the
    /// same may be tried again.
    Unavailable,
}

impl Kind {
    /// The exit code; part of the command line's interface.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Error => 1,
            Self::Usage => 2,
            Self::ConditionFailed => 3,
            Self::NotFound => 4,
            Self::Unavailable => 5,
        }
    }

    /// In the JSON of an error.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Usage => "usage",
            Self::ConditionFailed => "conditionFailed",
            Self::NotFound => "notFound",
            Self::Unavailable => "unavailable",
        }
    }

    /// By the client's error that an error was made of.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let known = error.chain().find_map(|cause| {
            let write = cause.downcast_ref().map(of_write);
            let read = || cause.downcast_ref().map(of_read);
            let admin = || cause.downcast_ref().map(of_admin);
            let connect = || cause.downcast_ref::<ConnectError>().map(|_| Self::Unavailable);
            write.or_else(read).or_else(admin).or_else(connect)
        });
        known.unwrap_or(Self::Error)
    }
}

impl From<Kind> for ExitCode {
    fn from(kind: Kind) -> Self {
        Self::from(kind.code())
    }
}

/// True if a write may have taken effect all the same. `None` = it was no write.
pub(crate) fn may_have_happened(error: &anyhow::Error) -> Option<bool> {
    error.chain().find_map(|cause| {
        let write = cause.downcast_ref().map(WriteError::may_have_happened);
        write.or_else(|| cause.downcast_ref().map(AdminError::may_have_happened))
    })
}

fn of_write(error: &WriteError) -> Kind {
    // Whatever ended it: a program must look before it writes again.
    if error.may_have_happened() {
        return Kind::Unavailable;
    }
    match error {
        WriteError::ConditionFailed { .. } => Kind::ConditionFailed,
        WriteError::UnknownTable(_) => Kind::NotFound,
        WriteError::Deadline { .. } | WriteError::OutcomeUnknown | WriteError::DiskFull { .. } => Kind::Unavailable,
        WriteError::Key(_)
        | WriteError::Limit(_)
        | WriteError::Scattered
        | WriteError::ContextWithoutMutation(_)
        | WriteError::Quorum { .. }
        | WriteError::Protocol { .. } => Kind::Error,
    }
}

fn of_read(error: &ReadError) -> Kind {
    match error {
        ReadError::UnknownTable(_) => Kind::NotFound,
        ReadError::Deadline { .. } | ReadError::LessThanSeen { .. } => Kind::Unavailable,
        ReadError::Key(_)
        | ReadError::Limit(_)
        | ReadError::NoKeyRanges(_)
        | ReadError::UnreadableRecord { .. }
        | ReadError::Quorum(_)
        | ReadError::Protocol { .. } => Kind::Error,
    }
}

fn of_admin(error: &AdminError) -> Kind {
    match error {
        AdminError::Deadline { .. }
        | AdminError::Refused { may_have_happened: true, .. }
        | AdminError::NotRecovered { may_have_happened: true, .. }
        | AdminError::Rejected { may_have_happened: true, .. } => Kind::Unavailable,
        AdminError::Refused { .. }
        | AdminError::NotRecovered { .. }
        | AdminError::Rejected { .. }
        | AdminError::Answer(_) => Kind::Error,
    }
}

#[cfg(test)]
mod tests {
    use skerry_client::QuorumDenial;
    use skerry_core::ids::{NodeId, ShardId};
    use skerry_core::steward::RecoveryRefusal;

    use super::*;

    fn kind(error: impl Into<anyhow::Error>) -> Kind {
        Kind::of(&error.into().context("failed to do something"))
    }

    #[test]
    fn exit_code_tells_what_a_program_can_do() {
        let failed = WriteError::ConditionFailed { condition: 0, actual: None };
        assert_eq!(kind(failed).code(), 3);
        assert_eq!(kind(WriteError::UnknownTable("t".into())).code(), 4);
        assert_eq!(kind(ReadError::UnknownTable("t".into())).code(), 4);
        assert_eq!(kind(WriteError::Deadline { may_have_happened: true, last: None }).code(), 5);
        assert_eq!(kind(ReadError::Deadline { last: None }).code(), 5);
        assert_eq!(kind(AdminError::Deadline { may_have_happened: false, last: None }).code(), 5);
        let refused = |may_have_happened| {
            let refusal = RecoveryRefusal::Led { shard: ShardId(4), node: NodeId(1) };
            kind(AdminError::NotRecovered { refusal, may_have_happened }).code()
        };
        assert_eq!((refused(false), refused(true)), (1, 5));
        assert_eq!(kind(ConnectError::Absent { faults: Vec::new() }).code(), 5);
        assert_eq!(kind(WriteError::Scattered).code(), 1);
        assert_eq!(kind(ReadError::LessThanSeen { last: None }).code(), 5);
        let refused =
            |may_have_happened| WriteError::Quorum { may_have_happened, denial: QuorumDenial::ConditionsNeedLeader };
        assert_eq!((kind(refused(false)).code(), kind(refused(true)).code()), (1, 5));
        assert_eq!(kind(std::io::Error::other("x")).code(), 1);
    }

    #[test]
    fn open_outcomes_of_writes_are_told() {
        let may = |error: WriteError| may_have_happened(&anyhow::Error::from(error).context("x"));
        assert_eq!(may(WriteError::OutcomeUnknown), Some(true));
        assert_eq!(may(WriteError::Scattered), Some(false));
        assert_eq!(may_have_happened(&anyhow::anyhow!("x")), None);
    }
}
