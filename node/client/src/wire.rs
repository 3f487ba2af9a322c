//! Between the core's types and the protocol's messages, field by field, both ways. The node uses these too, so that
//! each type has one conversion. Nothing that comes off the network is trusted to be complete.

mod command;
mod denial;
mod identity;
mod map;
mod quorum;
mod quorum_denial;
mod recovery;
mod removal;
mod report;
mod system;

pub use command::{
    ReadOptions, linearizable, read_from_op, read_result_from_wire, read_result_into_wire, read_to_op, write_options,
};
pub(crate) use denial::named;
pub use denial::{Denial, Leader};
pub use quorum_denial::QuorumDenial;
pub use removal::{status_from_wire, status_into_wire};

/// A message that no peer of this version sends: a field is missing or has a value that means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A field that must be there is not.
    #[error("field {0} is missing")]
    Missing(&'static str),
    /// An enum field has a number that this release does not know.
    #[error("field {field} has the unknown value {value}")]
    Unknown {
        /// Name of the field.
        field: &'static str,
        /// Number that the field has.
        value: i32,
    },
    /// A number that is out of range.
    #[error("field {0} is out of range")]
    Range(&'static str),
    /// Bytes of the core's own encoding that cannot be decoded: they are damaged, or of a newer release.
    #[error("field {0} cannot be decoded")]
    Undecodable(&'static str),
}

impl Malformed {
    /// Name of the field that is wrong.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Missing(field) | Self::Unknown { field, .. } | Self::Range(field) | Self::Undecodable(field) => field,
        }
    }
}

/// A type of the core that has a message of its own.
pub trait Wire: Sized {
    /// The protocol's message for this type.
    type Message;

    /// Converts a value into the message that is sent.
    fn into_wire(self) -> Self::Message;

    /// Converts a received message into a value.
    fn from_wire(message: Self::Message) -> Result<Self, Malformed>;
}

/// A message that must be there.
pub fn required<T: Wire>(message: Option<T::Message>, field: &'static str) -> Result<T, Malformed> {
    message.ok_or(Malformed::Missing(field)).and_then(T::from_wire)
}

/// Converts every message of a list into a value.
pub fn all<T: Wire>(messages: Vec<T::Message>) -> Result<Vec<T>, Malformed> {
    messages.into_iter().map(T::from_wire).collect()
}

/// Converts every value of a list into a message.
pub fn all_into<T: Wire>(values: Vec<T>) -> Vec<T::Message> {
    values.into_iter().map(T::into_wire).collect()
}

/// Both directions between a core's enum and its number on the network, where that enum has the same name.
macro_rules! numbers {
    ($core:ident, $field:literal, $($variant:ident),+) => {
        numbers!($core, $core, $field, $($variant),+);
    };
    ($core:ident, $wire:ident, $field:literal, $($variant:ident),+) => {
        impl Wire for $core {
            type Message = i32;

            fn into_wire(self) -> i32 {
                match self {
                    $(Self::$variant => v1::$wire::$variant.into(),)+
                }
            }

            fn from_wire(message: i32) -> Result<Self, Malformed> {
                match v1::$wire::try_from(message) {
                    $(Ok(v1::$wire::$variant) => Ok(Self::$variant),)+
                    Ok(v1::$wire::Unspecified) => Err(Malformed::Missing($field)),
                    Err(_) => Err(Malformed::Unknown { field: $field, value: message }),
                }
            }
        }
    };
}
use numbers;

fn size(value: u64, field: &'static str) -> Result<usize, Malformed> {
    usize::try_from(value).map_err(|_| Malformed::Range(field))
}

#[cfg(test)]
mod tests;
