//! Tests of the whole product, in one binary.
//!
//! | suite | protects |
//! | --- | --- |
//! | `command_line` | what the commands print, and how they end |
//! | `house_rules` | which crate may use which; no forgotten files; documents and examples that are true |
//! | `traces` | what is recorded of a check, and which trace those see who are asked about it |
//! | `with_envoy` | the road through a real Envoy: verdicts, headers, metadata, bodies, TLS, changes, restarts |
//! | `with_gateways` | the road through each gateway of the field, with the manifests of `deploy/gateways`: what each tells, sends, and makes of the answer |
//! | `with_issuer` | tokens of a real OpenID provider: discovery, keys that change, introspection, a provider that is away |
//! | `with_kubernetes` | life in a cluster: changes, statuses, Secrets, replicas, admission, an API server that is away |
//! | `with_packages` | the chart, the manifests, the image, alerts and dashboard: that they are right, and fit the program |
//! | `with_spicedb` | permissions of a real SpiceDB: outcomes, keys that change, a server that is away |
//!
//! `with_envoy`, `with_gateways`, `with_issuer` and `with_packages` need programs that `tests/run` installs. Without them they are skipped
//! with one line, or fail where the environment variable `CI` is `true`. `with_spicedb` runs where `SPICEDB_BIN` names the program.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod command_line;
mod house_rules;
mod support;
mod traces;
mod with_envoy;
mod with_gateways;
mod with_issuer;
mod with_kubernetes;
mod with_packages;
mod with_spicedb;
