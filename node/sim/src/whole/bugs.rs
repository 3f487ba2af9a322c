//! Known bugs of an operator, one of which can be planted in a run: each must be caught.

use skerry_core::planted::Planted;
use skerry_operator_core::planted::Planted as RoundBug;

/// One bug, named after the rule that it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperatorBug {
    /// A certificate that nobody has answered for is taken as given.
    MissingAnswerIsDrained,
    /// Who leaves is worked out anew at every look, and not read from the status.
    VictimsRecomputed,
    /// A node without copies in the map is removed without asking for a certificate.
    CertificateNotReasked,
    /// What is deleted was looked at long ago, and is named without its uid.
    DeletedByName,
    /// An older generation is brought to its end before the newest is looked at.
    OldGenerationAwaited,
    /// The system shard takes what a former operator writes.
    FenceIgnored,
    /// A machine that is silent counts as one that is gone with its volumes.
    SilenceIsLoss,
    /// Every pod that is not ready and older than the spec is ended at once.
    RestartsAllUnready,
    /// A pod that is not ready and older than the spec is ended though the steward does not answer.
    DeletesWhileUnknown,
    /// A claim is this database's by its name and label.
    TakesAnothersClaim,
    /// A table that was taken out of the spec goes at once.
    RemovalDelayIgnored,
    /// Every node that is silent is replaced at once, whatever needs it.
    ReplacesAllSilent,
    /// The delay of a table that is to go is over when the wall clock and the status say so.
    WallClockCounts,
    /// A claim is deleted before its volume is kept.
    DeletedBeforeKept,
}

impl OperatorBug {
    /// All planted bugs of the operator.
    pub const ALL: [Self; 14] = [
        Self::MissingAnswerIsDrained,
        Self::VictimsRecomputed,
        Self::CertificateNotReasked,
        Self::DeletedByName,
        Self::OldGenerationAwaited,
        Self::FenceIgnored,
        Self::SilenceIsLoss,
        Self::RestartsAllUnready,
        Self::DeletesWhileUnknown,
        Self::TakesAnothersClaim,
        Self::RemovalDelayIgnored,
        Self::WallClockCounts,
        Self::ReplacesAllSilent,
        Self::DeletedBeforeKept,
    ];

    /// What of it is planted in the database's core.
    pub(crate) fn in_core(self) -> Option<Planted> {
        match self {
            Self::FenceIgnored => Some(Planted::FenceIgnored),
            Self::MissingAnswerIsDrained
            | Self::VictimsRecomputed
            | Self::CertificateNotReasked
            | Self::DeletedByName
            | Self::OldGenerationAwaited
            | Self::SilenceIsLoss
            | Self::RestartsAllUnready
            | Self::DeletesWhileUnknown
            | Self::TakesAnothersClaim
            | Self::RemovalDelayIgnored
            | Self::WallClockCounts
            | Self::ReplacesAllSilent
            | Self::DeletedBeforeKept => None,
        }
    }

    /// What of it is planted in the operator's own round.
    pub(crate) fn in_round(self) -> Option<RoundBug> {
        match self {
            Self::DeletedBeforeKept => Some(RoundBug::DeletedBeforeKept),
            Self::MissingAnswerIsDrained
            | Self::VictimsRecomputed
            | Self::CertificateNotReasked
            | Self::DeletedByName
            | Self::OldGenerationAwaited
            | Self::FenceIgnored
            | Self::SilenceIsLoss
            | Self::RestartsAllUnready
            | Self::DeletesWhileUnknown
            | Self::TakesAnothersClaim
            | Self::RemovalDelayIgnored
            | Self::WallClockCounts
            | Self::ReplacesAllSilent => None,
        }
    }
}
