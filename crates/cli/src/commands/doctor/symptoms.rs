//! `usher doctor symptoms`: from what was seen to what causes it.
//!
//! ```text
//!   Arguments ──► Seen ──score.rs──► what is Found, most likely first ──told.rs──► text
//!   (typed)      (meant)                 ▲
//!                                   causes.rs
//! ```

mod score;
mod texts;
mod told;

use std::time::Duration;

use clap::{ArgGroup, Args};

use super::{
    causes::{Observed, Status},
    gateway::Gateway,
    hosts::Hosts,
};
use crate::{
    commands::options::{ConfigOptions, FileOptions},
    exit::Exit,
};

/// What somebody types who has seen something.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("seen").required(true).multiple(true), arg_required_else_help = true)]
pub(super) struct Arguments {
    /// Status that the client got; `none` if it got no answer.
    #[arg(long, value_name = "STATUS", value_parser = status, group = "seen")]
    status: Option<Status>,

    /// Time after which the client got it, such as `200ms`, `10s` or `5m`.
    #[arg(long, value_name = "TIME", value_parser = time, group = "seen")]
    after: Option<Duration>,

    /// How many checks of the request reached Usher, as its log (level debug) or its metrics tell.
    #[arg(long, value_name = "NUMBER", value_parser = number, group = "seen")]
    checks: Option<u32>,

    /// `RESPONSE_CODE_DETAILS` of Envoy's access log.
    #[arg(long, value_name = "TEXT", group = "seen")]
    details: Option<String>,

    /// Body of the answer that the client got; empty if there was none.
    #[arg(long, value_name = "TEXT", group = "seen")]
    body: Option<String>,

    /// Header `x-ext-auth-reason` of the answer; empty if there was none.
    #[arg(long, value_name = "TEXT", group = "seen")]
    reason: Option<String>,

    /// A line of Usher's log, or a part of it of at least 6 letters.
    #[arg(long, value_name = "TEXT", group = "seen")]
    log: Option<String>,

    /// What else is remarkable; may be repeated.
    #[arg(long, value_name = "WHAT", group = "seen")]
    observed: Vec<Observed>,

    /// The gateway.
    #[arg(long)]
    gateway: Option<Gateway>,

    /// Host of the request: says where it leads with the configuration of `--config`.
    #[arg(long, value_name = "HOST", value_parser = host, requires = "config", group = "seen")]
    host: Option<String>,

    #[command(flatten)]
    #[command(next_help_heading = "Configuration, for --host")]
    configuration: Configuration,
}

/// The configuration in which a host is looked up.
#[derive(Debug, Args)]
struct Configuration {
    /// A file or folder with AuthConfigs and Secrets; may be repeated.
    #[arg(long, value_name = "PATH", requires = "host")]
    config: Vec<std::path::PathBuf>,

    #[command(flatten)]
    options: ConfigOptions,
}

/// What the command prints, and how it ends.
///
/// # Errors
/// When the configuration for `--host` cannot be read.
pub(super) fn answer(arguments: &Arguments) -> Result<(String, Exit), String> {
    let seen = Seen::of(arguments);
    let mut text = String::new();
    if let Some(host) = &arguments.host {
        let files = FileOptions { config: arguments.configuration.config.clone() };
        text.push_str(&Hosts::load(&files, &arguments.configuration.options)?.tell(host));
        if seen.is_nothing() {
            return Ok((text, Exit::Ok));
        }
        text.push('\n');
    }
    let found = score::found(&seen);
    text.push_str(&told::text(&seen, &found));
    Ok((text, if found.is_empty() { Exit::Invalid } else { Exit::Ok }))
}

/// What was seen. `None`: nothing was said about it.
struct Seen<'a> {
    gateway: Option<Gateway>,
    status: Option<Status>,
    /// The time after which the client got its answer.
    after: Option<Duration>,
    /// How many checks of the request reached Usher.
    checks: Option<u32>,
    details: Option<&'a str>,
    /// Without white space around it. Empty: there was none.
    body: Option<&'a str>,
    /// Without white space around it. Empty: there was none.
    reason: Option<&'a str>,
    log: Option<&'a str>,
    observed: &'a [Observed],
}

impl<'a> Seen<'a> {
    fn of(arguments: &'a Arguments) -> Self {
        let Arguments {
            status,
            after,
            checks,
            details,
            body,
            reason,
            log,
            observed,
            gateway,
            host: _,
            configuration: _,
        } = arguments;
        Self {
            gateway: *gateway,
            status: *status,
            after: *after,
            checks: *checks,
            details: details.as_deref(),
            body: body.as_deref().map(str::trim),
            reason: reason.as_deref().map(str::trim),
            log: log.as_deref(),
            observed,
        }
    }

    /// Whether nothing was seen of a request that went wrong. A gateway alone is nothing.
    fn is_nothing(&self) -> bool {
        let Self { gateway: _, status, after, checks, details, body, reason, log, observed } = self;
        status.is_none()
            && after.is_none()
            && checks.is_none()
            && [details, body, reason, log].into_iter().all(Option::is_none)
            && observed.is_empty()
    }
}

// --- What is typed ---------------------------------------------------------------------------------------------------

fn status(text: &str) -> Result<Status, String> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(Status::None);
    }
    match text.parse() {
        Ok(code @ 100..=599) => Ok(Status::Is(code)),
        _ => Err(format!("`{text}` is no status such as `403`, nor `none`")),
    }
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is no number such as `0` or `1`"))
}

/// The longest name of a host, port included.
const MAX_HOST: usize = 255;

/// A long one would be cut at each of its dots, and so take far more memory than itself.
fn host(text: &str) -> Result<String, String> {
    match text.len() {
        0..=MAX_HOST if text.contains(char::is_control) => Err("hosts have no control characters".to_owned()),
        0..=MAX_HOST => Ok(text.to_owned()),
        length => Err(format!("hosts have at most {MAX_HOST} bytes, this one has {length}")),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time such as `200ms`, `10s` or `5m`");
    let split = text.find(|letter: char| letter.is_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at_checked(split).ok_or_else(wrong)?;
    let unit = match unit {
        "ms" => 1.0,
        "s" | "sec" => 1000.0,
        "m" | "min" => 60_000.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    let milliseconds = number * unit;
    if !(0.0..=86_400_000.0).contains(&milliseconds) {
        return Err(wrong());
    }
    Ok(Duration::from_secs_f64(milliseconds / 1000.0))
}

#[cfg(test)]
mod tests;
