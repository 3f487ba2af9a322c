//! Enables the format level that every node of the database has.

use super::View;
use crate::level::FormatLevel;
use crate::map::NodeState;
use crate::planted::{Planted, is_planted};
use crate::system::SystemCommand;

/// The command that enables a higher level, if all nodes have one. A node that is not heard of, or whose latest start the
/// registry does not have yet, counts as one of the first level: nobody knows what it runs.
pub fn level(view: &View<'_>) -> Option<SystemCommand> {
    let nodes = view.map.nodes.values().filter(|node| node.state != NodeState::Removed);
    let levels = nodes.map(|node| {
        let heard = view.heard(node.id).filter(|report| report.incarnation == node.incarnation);
        heard.map_or(FormatLevel::FIRST, |report| report.level)
    });
    let common = if is_planted(Planted::LevelAboveLowest) { levels.max() } else { levels.min() };
    let level = common.filter(|level| *level > view.map.level.0)?;
    Some(SystemCommand::EnableLevel { level, based_on: view.map.epoch })
}
