//! `usher doctor symptoms`: from what was seen to what causes it.
//!
//! Each cause of the table is compared with what was seen. One that contradicts it is left out; of the others, those
//! for which the most, and the most telling, of it speaks come first.

mod texts;

use std::time::Duration;

use clap::{ArgGroup, Args};

use self::texts::{contains, found_in, found_in_log, paragraph, shown};
use super::{
    causes::{self, Cause, Checks, Observed, Signs, Status, Text},
    gateway::Gateway,
    hosts::Hosts,
};
use crate::{
    commands::options::{ConfigOptions, FileOptions},
    exit::Exit,
};

/// What was seen.
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

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Exit {
    match output(arguments) {
        Ok((text, exit)) => {
            super::put(&text);
            exit
        }
        Err(message) => {
            eprintln!("{message}");
            Exit::Invalid
        }
    }
}

pub(super) fn output(arguments: &Arguments) -> Result<(String, Exit), String> {
    let mut text = String::new();
    if let Some(host) = &arguments.host {
        let files = FileOptions { config: arguments.configuration.config.clone() };
        text.push_str(&Hosts::load(&files, &arguments.configuration.options)?.tell(host));
        if !arguments.sees_anything() {
            return Ok((text, Exit::Ok));
        }
        text.push('\n');
    }
    let found = arguments.diagnose();
    text.push_str(&arguments.told(&found));
    Ok((text, if found.is_empty() { Exit::Invalid } else { Exit::Ok }))
}

/// A cause that what was seen speaks for.
struct Found {
    cause: &'static Cause,
    weight: u32,
    /// What speaks for it.
    fits: Vec<String>,
    /// Whether the log speaks for it.
    has_log: bool,
}

/// So many alternatives still say something.
const FEW: usize = 3;

/// So many causes are told in full.
const MOST_TOLD: usize = 3;

/// So many more are named.
const MOST_NAMED: usize = 8;

/// How telling something is.
mod weights {
    pub(super) const GATEWAY: u32 = 1;
    /// The only gateway with which something looks as it does.
    pub(super) const ONLY_GATEWAY: u32 = 3;
    pub(super) const STATUS: u32 = 3;
    /// One of many statuses.
    pub(super) const ANY_STATUS: u32 = 1;
    pub(super) const CHECKS: u32 = 4;
    pub(super) const AFTER: u32 = 6;
    pub(super) const DETAILS: u32 = 6;
    pub(super) const OBSERVED: u32 = 7;
    /// A text that is there, whatever it says, or that is not there.
    pub(super) const PRESENCE: u32 = 2;
    pub(super) const TEXT: u32 = 10;
}

impl Arguments {
    fn sees_anything(&self) -> bool {
        self.status.is_some()
            || self.after.is_some()
            || self.checks.is_some()
            || self.log.is_some()
            || [&self.details, &self.body, &self.reason].into_iter().any(Option::is_some)
            || !self.observed.is_empty()
    }

    /// The causes that fit, most likely first. Of equally likely ones, the first of the table.
    fn diagnose(&self) -> Vec<Found> {
        let mut found: Vec<_> = causes::all().filter_map(|cause| self.compare(cause)).collect();
        found.sort_by_key(|found| std::cmp::Reverse(found.weight));
        found
    }

    /// What speaks for a cause; `None` if something contradicts it, or nothing speaks for it.
    fn compare(&self, cause: &'static Cause) -> Option<Found> {
        let signs = &cause.signs;
        let mut found = Found { cause, weight: 0, fits: Vec::new(), has_log: false };
        // With this gateway it always looks as it does, whether that was remarked on or not.
        let is_only = self.gateway.is_some_and(|gateway| signs.gateways == [gateway]);
        let is_only = is_only && !signs.observed.is_empty() && !signs.observed.contains(&Observed::Passes);
        if let Some(gateway) = self.gateway.filter(|_| !signs.gateways.is_empty()) {
            let weight = match signs.gateways.len() {
                _ if is_only => weights::ONLY_GATEWAY,
                // What is told by the time, or by a reason, says little without it.
                _ if signs.after.is_some() && self.after.is_none() => 0,
                _ if signs.reason == Text::Present && self.reason.is_none() => 0,
                0..=FEW => weights::GATEWAY,
                _ => 0,
            };
            found.weigh(signs.gateways.contains(&gateway), weight, || format!("gateway {gateway}"))?;
        }
        let said_of_gateway = found.fits.len();
        self.compare_status(&mut found)?;
        if let Some((after, bounds)) = self.after.zip(signs.after) {
            let milliseconds = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            let (least, most) = bounds;
            let weight = weights::AFTER + u32::from(!causes::is_wide(bounds));
            found.weigh((least..=most).contains(&milliseconds), weight, || format!("after {after:?}"))?;
        }
        if let Some(number) = self.checks.filter(|_| !signs.checks.is_empty()) {
            let checks = match number {
                0 => Checks::None,
                1 => Checks::One,
                _ => Checks::Several,
            };
            // Two checks are remarkable where one is usual.
            let is_usual = signs.checks.len() > 1 && number > 1;
            let weight = if is_usual { weights::CHECKS / 2 } else { weights::CHECKS };
            found.weigh(signs.checks.contains(&checks), weight, || match number {
                1 => "1 check".to_owned(),
                number => format!("{number} checks"),
            })?;
        }
        if let Some(details) = self.details.as_deref().filter(|_| !signs.details.is_empty()) {
            let more = found_in(details, signs.details);
            let weight = weights::DETAILS + more.unwrap_or_default();
            found.weigh(more.is_some(), weight, || format!("details {}", shown(details)))?;
        }
        found.weigh_text("body", self.body.as_deref(), signs.body)?;
        found.weigh_text("reason", self.reason.as_deref(), signs.reason)?;
        // A log has many lines: one that says something else contradicts nothing.
        if let Some((log, more)) = self.log.as_deref().and_then(|log| Some((log, found_in_log(log, signs.log)?))) {
            found.has_log = true;
            found.weigh(true, weights::TEXT + more, || format!("log `{}`", shown(log)))?;
        }
        for observed in &self.observed {
            if signs.observed.contains(observed) {
                found.weigh(true, weights::OBSERVED, || word(*observed))?;
            } else if *observed == Observed::Passes || signs.observed.contains(&Observed::Passes) {
                // What passes does not fail.
                return None;
            }
        }
        // What is not remarked on may be so all the same, but less likely.
        let is_remarked = signs.observed.iter().any(|observed| self.observed.contains(observed));
        if !signs.observed.is_empty() && !is_remarked && !is_only {
            found.weight /= 2;
        }
        // A cause that is only about requests that pass is not for one that was answered with an error.
        let is_refused = matches!(self.status, Some(Status::None | Status::Is(400..)));
        if is_refused && signs.observed.contains(&Observed::Passes) {
            return None;
        }
        (found.fits.len() > said_of_gateway).then_some(found)
    }

    fn compare_status(&self, found: &mut Found) -> Option<()> {
        let signs = &found.cause.signs;
        let Some(status) = self.status.filter(|_| !signs.status.is_empty()) else { return Some(()) };
        let fits = signs.status.contains(&status);
        if !fits && signs.status_field.is_some() && matches!(status, Status::Is(300..=599)) {
            // The AuthConfig may say another status. That it was Usher who answered is told by other signs.
            let is_answer = self.reason.as_deref().is_some_and(|reason| !reason.trim().is_empty())
                || self.details.as_deref().is_some_and(|details| contains(details, &["ext_authz_denied"]))
                || self.log.as_deref().is_some_and(|log| found_in_log(log, signs.log).is_some());
            return is_answer.then_some(());
        }
        let weight = if signs.status.len() <= FEW { weights::STATUS } else { weights::ANY_STATUS };
        found.weigh(fits, weight, || format!("status {}", status.words()))
    }

    /// What to know about a line of the log that speaks for none of the causes that were found.
    fn about_log(&self, found: &[Found]) -> Option<String> {
        let log = self.log.as_deref()?;
        if found.iter().any(|found| found.has_log) {
            return None;
        }
        let known: Vec<_> = causes::all()
            .filter(|cause| found_in_log(log, cause.signs.log).is_some())
            .map(|cause| format!("\"{}\"", cause.title))
            .collect();
        let log = shown(log);
        Some(match known.as_slice() {
            [] => format!("nothing is known about `{log}` in the log: it was left out\n"),
            known => format!("`{log}` in the log speaks for {}, which something else contradicts\n", known.join(", ")),
        })
    }

    fn told(&self, found: &[Found]) -> String {
        let Some(best) = found.first() else {
            let about_log = self.about_log(found).unwrap_or_default();
            return format!(
                "nothing is known that fits; say less, or more: `usher doctor causes` prints all causes\n{about_log}"
            );
        };
        let is_likely = |found: &&Found| 2 * found.weight > best.weight;
        let likely: Vec<_> = found.iter().filter(is_likely).take(MOST_TOLD).collect();
        let mut text = String::new();
        for (number, found) in (1..).zip(&likely) {
            let Found { cause, fits, .. } = found;
            text.push_str(&format!("{number}. {}\n", cause.title));
            text.push_str(&format!("   fits: {}\n", fits.join(", ")));
            text.push_str(&paragraph("   ", "   ", cause.why));
            text.push_str("   make sure:\n");
            for proof in cause.proof {
                text.push_str(&paragraph("   - ", "     ", proof));
            }
            text.push_str("   change:\n");
            for change in cause.changes.iter().filter(|change| change.is_for(self.gateway)) {
                let prefix = if self.gateway.is_some() { String::new() } else { change.prefix() };
                text.push_str(&paragraph("   - ", "     ", &format!("{prefix}{}", change.what)));
            }
            text.push('\n');
        }
        let others = found.iter().skip(likely.len()).take(MOST_NAMED).map(|found| found.cause.title);
        let others: String = others.map(|title| format!("   {title}\n")).collect();
        if !others.is_empty() {
            text.push_str(&format!("also possible:\n{others}\n"));
        }
        if found.len() > 1
            && let Some(hint) = self.what_would_tell(found)
        {
            text.push_str(&format!("to tell them apart, say {hint}\n"));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        if let Some(about_log) = self.about_log(found) {
            text.push_str(&format!("\n{about_log}"));
        }
        text
    }

    /// What was not said, and would rule out some of the causes.
    fn what_would_tell(&self, found: &[Found]) -> Option<String> {
        let any = |differs: fn(&Signs) -> bool| found.iter().any(|found| differs(&found.cause.signs));
        let hints = [
            (self.checks.is_none() && any(|signs| !signs.checks.is_empty()), "whether a check arrives (`--checks`)"),
            (self.reason.is_none() && any(|signs| signs.reason != Text::Any), "`x-ext-auth-reason` (`--reason`)"),
            (self.after.is_none() && any(|signs| signs.after.is_some()), "how long it took (`--after`)"),
            (
                self.details.is_none() && any(|signs| !signs.details.is_empty()),
                "what the access log says (`--details`)",
            ),
            (self.gateway.is_none() && any(|signs| !signs.gateways.is_empty()), "the gateway (`--gateway`)"),
        ];
        let hints: Vec<_> = hints.into_iter().filter_map(|(tells, hint)| tells.then_some(hint)).take(3).collect();
        (!hints.is_empty()).then(|| hints.join(", "))
    }
}

impl Found {
    /// Counts what fits; `None` if it contradicts.
    fn weigh(&mut self, fits: bool, weight: u32, what: impl FnOnce() -> String) -> Option<()> {
        fits.then(|| {
            self.weight += weight;
            self.fits.push(what());
        })
    }

    fn weigh_text(&mut self, name: &str, seen: Option<&str>, sign: Text) -> Option<()> {
        let Some(seen) = seen.map(str::trim) else { return Some(()) };
        let (fits, weight) = match sign {
            Text::Any => return Some(()),
            Text::Absent => (seen.is_empty(), weights::PRESENCE),
            Text::Present => (!seen.is_empty(), weights::PRESENCE),
            Text::AbsentOr(_) if seen.is_empty() => (true, weights::PRESENCE),
            Text::Contains(texts) | Text::AbsentOr(texts) => {
                let more = found_in(seen, texts);
                (more.is_some(), weights::TEXT + more.unwrap_or_default())
            }
        };
        self.weigh(fits, weight, || match seen {
            "" => format!("no {name}"),
            seen => format!("{name} `{}`", shown(seen)),
        })
    }
}

fn word(observed: Observed) -> String {
    use clap::ValueEnum as _;
    observed.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
