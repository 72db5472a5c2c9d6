//! The `usher` command: decides for Envoy-based gateways whether a request may pass.

mod adapters;
mod cluster;
mod commands;
mod exit;
mod logs;
mod ports;
mod redact;
mod runtime;
mod settings;
mod traces;

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Why a process that serves ends.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn main() -> ExitCode {
    // The one TLS implementation for everything inbound and outbound. An error says that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    commands::run(commands::Command::parse()).into()
}
