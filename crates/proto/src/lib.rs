//! Wire types: what Usher says and hears over gRPC.
//!
//! ```text
//! proto/**/*.proto  --(pure-Rust compiler, run by tests/generated.rs)-->  src/gen/*.rs
//! ```
//!
//! The modules below are named like the protobuf packages. They hold messages, clients and servers, and no behaviour. Only
//! fields that somebody here reads or writes are described; decoding skips all others, as protobuf asks for.
//!
//! [`value`] translates `google.protobuf.Struct` to JSON and back.

pub mod value;

pub use prost_types::value::Kind;
pub use prost_types::{Any, ListValue, NullValue, Struct, Timestamp, Value};

/// Envoy's public API.
pub mod envoy {
    /// Configuration types that services share.
    pub mod config {
        /// Basics: headers, addresses, metadata.
        pub mod core {
            /// Version 3.
            #[allow(missing_docs, unreachable_pub, clippy::all)]
            pub mod v3 {
                include!("gen/envoy.config.core.v3.rs");
            }
        }
    }
    /// Services that Envoy calls.
    pub mod service {
        /// External authorization.
        pub mod auth {
            /// Version 3.
            #[allow(missing_docs, unreachable_pub, clippy::all)]
            pub mod v3 {
                include!("gen/envoy.service.auth.v3.rs");
            }
        }
    }
    /// Small types.
    pub mod r#type {
        /// Version 3.
        #[allow(missing_docs, unreachable_pub, clippy::all)]
        pub mod v3 {
            include!("gen/envoy.type.v3.rs");
        }
    }
}

/// Google's public API.
pub mod google {
    /// Outcome of calls.
    #[allow(missing_docs, unreachable_pub, clippy::all)]
    pub mod rpc {
        include!("gen/google.rpc.rs");
    }
}

/// Services of the gRPC project.
pub mod grpc {
    /// Health checking.
    pub mod health {
        /// Version 1.
        #[allow(missing_docs, unreachable_pub, clippy::all)]
        pub mod v1 {
            include!("gen/grpc.health.v1.rs");
        }
    }
}

/// SpiceDB's public API.
pub mod authzed {
    /// Its only part.
    pub mod api {
        /// Version 1.
        #[allow(missing_docs, unreachable_pub, clippy::all)]
        pub mod v1 {
            include!("gen/authzed.api.v1.rs");
        }
    }
}
