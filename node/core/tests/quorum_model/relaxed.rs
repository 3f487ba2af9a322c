//! Rules that the model can be told to break, one at a time, to show that it would notice.

use skerry_core::planted::Planted;

/// A rule, relaxed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relaxed {
    /// A write is acknowledged before it is on disk.
    AcknowledgedEarly,
    /// A copy tells that it holds a layout while writes of an earlier one are on their way to its disk.
    HeldBeforeApplied,
    /// A copy tells of a layout that is not on its disk.
    LayoutInMemory,
    /// A copy tells that it has copied before that is on its disk.
    CopiedInMemory,
    /// A source answers although it still takes writes of the layout before.
    SourceAtEarlierLayout,
    /// A reader counts answers of whatever generation.
    ReaderMixesLayouts,
    /// The round counts answers of members that hold a later layout.
    RoundMixesLayouts,
    /// A bar is told before it is on disk.
    BarInMemory,
    /// A bar is told while writes taken before are on their way to the disk.
    BarBeforeApplied,
    /// A new copy takes writes before it has taken over bounds.
    BoundsNotFirst,
    /// Absence says nothing of the floor to a reader.
    AbsenceNotTold,
    /// The bar refuses repairs too.
    BarRefusesRepairs,
    /// A bug of the core itself.
    InCore(Planted),
}
