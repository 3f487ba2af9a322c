//! What a client of the database decides: when its requests are issued, what comes after an attempt that has failed, and
//! whose answer counts where several copies were asked.
//!
//! Plain functions on values, as everything in this crate. The smart client (`skerry-client`) carries them out on real
//! connections; a simulator can do the same on modelled ones. Times are durations since some moment that stays the same
//! during an operation, such as its beginning.

pub mod acknowledged;
pub mod attempts;
pub mod issuing;
pub mod parts;
pub mod progress;
pub mod refused;
pub mod round;

#[cfg(test)]
mod tests;
