//! The `usher` command: decides for Envoy-based gateways whether a request may pass.

mod adapters;
mod commands;
mod exit;
mod runtime;
mod settings;
mod telemetry;

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The one TLS implementation for everything inbound and outbound. An error says that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    commands::run(commands::Command::parse()).into()
}
