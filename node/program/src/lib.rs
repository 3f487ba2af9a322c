//! What the programs of node and operator have in common, whatever they do: logs, signals, the socket they listen on, and
//! the pages that probes and collectors of metrics ask.
#![warn(missing_docs)]

pub mod chain;
pub mod listen;
pub mod logs;
pub mod pages;
pub mod stop;
