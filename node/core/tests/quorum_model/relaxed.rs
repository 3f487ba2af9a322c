//! Rules that the model can be told to break, one at a time, to show that it would notice.

/// A rule, relaxed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relaxed {
    /// A write is acknowledged before it is on disk.
    AcknowledgedEarly,
    /// The barrier for reads counts one member that does not hold the layout.
    BarrierShort,
    /// The way back from the new set's reads has no barrier at all.
    RevertWithoutBarrier,
    /// A copy that came is wiped as soon as the change turns back, not when it is over.
    WipedAtTheTurn,
    /// A copy tells that it holds a layout while writes of an earlier one are on their way to its disk.
    HeldBeforeApplied,
    /// A copy tells of a layout that is not on its disk.
    LayoutInMemory,
    /// A copy tells that it has copied before that is on its disk.
    CopiedInMemory,
    /// Copying counts one source that was not asked.
    SourceShort,
    /// A source answers although it still takes writes of the layout before.
    SourceAtEarlierLayout,
    /// Only copies that come new have to copy; those that stay count as they are.
    StayersNotCopied,
    /// A reader counts answers of whatever generation.
    ReaderMixesLayouts,
    /// The round does without its last member.
    RoundMemberMissing,
    /// The round counts answers of members that hold a later layout.
    RoundMixesLayouts,
    /// A bar is told before it is on disk.
    BarInMemory,
    /// A bar is told while writes taken before are on their way to the disk.
    BarBeforeApplied,
    /// Writes at or below the bar are taken.
    BarIgnored,
    /// Repairs at or below the floor are taken.
    FloorIgnored,
    /// A new copy takes writes before it has taken over bounds.
    BoundsNotFirst,
    /// A new copy gets only the floor of the one that it copies from, not its bar.
    BarNotTakenOver,
    /// Absence says nothing of the floor to a reader.
    AbsenceWithoutFloor,
    /// The bar refuses repairs too.
    BarRefusesRepairs,
}
