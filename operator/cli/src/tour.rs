//! Tour.
mod flights;
mod ledger;
mod moves;
mod summary;
