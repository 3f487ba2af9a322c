//! Skerry's protocol: the messages and services of `proto/skerry`, as generated. Nothing else lives here; the
//! conversions to and from the core's types are made by those who speak the protocol.

/// The code that is generated from the protobuf package `skerry.v1`.
#[expect(clippy::all, clippy::too_many_lines, unused_qualifications, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("skerry.v1");
}

/// Every file of the protocol, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/skerry.bin"));
