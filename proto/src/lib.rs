//! What crosses the network: the probe and admin protocols as generated code, and the one door from wire to domain.
//!
//! Generated types stop at [`probe`]'s conversions: nothing behind `session` and `admin` sees an `Option` that must be
//! `Some`.

/// The probe protocol (`vigilmon.probe.v1`).
pub mod probe {
    pub mod convert;
    pub mod join;
    pub mod token;

    /// Generated from `vigilmon/probe/v1/probe.proto`.
    #[expect(
        missing_docs,
        unused_qualifications,
        clippy::all,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated code; the .proto file documents it"
    )]
    pub mod v1 {
        tonic::include_proto!("vigilmon.probe.v1");
    }
}

/// The admin API (`vigilmon.admin.v1`).
pub mod admin {
    /// Generated from `vigilmon/admin/v1/admin.proto`.
    #[expect(
        missing_docs,
        unused_qualifications,
        clippy::all,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated code; the .proto file documents it"
    )]
    pub mod v1 {
        tonic::include_proto!("vigilmon.admin.v1");
    }
}

/// The encoded `FileDescriptorSet` of both protocols, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
