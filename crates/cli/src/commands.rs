//! The commands, one file each.

pub(crate) mod check;
pub(crate) mod crds;
pub(crate) mod options;
pub(crate) mod serve;
pub(crate) mod validate;
pub(crate) mod webhooks;

use clap::{Parser, Subcommand};

use crate::exit::Exit;

/// Usher decides for Envoy-based gateways whether a request may pass.
#[derive(Debug, Parser)]
#[command(name = "usher", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Command {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Serve authorization decisions.
    #[command(alias = "server")]
    Serve(Box<serve::Arguments>),
    /// Check configuration files and report everything that is wrong with them.
    Validate(validate::Arguments),
    /// Refuse AuthConfigs that would not compile: a validating admission webhook.
    Webhooks(Box<webhooks::Arguments>),
    /// Decide about one request, without a gateway.
    Check(Box<check::Arguments>),
    /// Print the CustomResourceDefinition of AuthConfig.
    Crds,
    /// Print the version.
    Version,
}

/// Runs a command.
pub(crate) fn run(command: Command) -> Exit {
    match command.command {
        Subcommands::Serve(arguments) => serve::run(*arguments),
        Subcommands::Validate(arguments) => validate::run(&arguments),
        Subcommands::Webhooks(arguments) => webhooks::run(&arguments),
        Subcommands::Check(arguments) => check::run(*arguments),
        Subcommands::Crds => crds::run(),
        Subcommands::Version => {
            println!("Usher v{}", env!("CARGO_PKG_VERSION"));
            Exit::Ok
        }
    }
}
