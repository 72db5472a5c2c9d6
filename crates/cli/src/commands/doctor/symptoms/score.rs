//! Compares what was seen with the table of causes.
//!
//! A cause that contradicts what was seen is left out; of the others, those for which the most, and the most telling,
//! of it speaks come first.

use super::{
    Seen,
    texts::{contains, found_in, found_in_log, shown},
};
use crate::commands::doctor::causes::{self, Cause, Checks, Observed, Status, Text};

/// A cause that what was seen speaks for.
pub(super) struct Found {
    pub(super) cause: &'static Cause,
    pub(super) weight: u32,
    /// What speaks for it.
    pub(super) fits: Vec<String>,
    /// Whether the log speaks for it.
    pub(super) has_log: bool,
}

/// So many alternatives still say something.
const FEW: usize = 3;

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

/// The causes that fit, most likely first. Of equally likely ones, the first of the table.
pub(super) fn found(seen: &Seen<'_>) -> Vec<Found> {
    let mut found: Vec<_> = causes::all().filter_map(|cause| Found::compare(cause, seen).ok()).collect();
    found.sort_by_key(|found| std::cmp::Reverse(found.weight));
    found
}

/// A cause is left out: something contradicts it, or nothing speaks for it.
struct LeftOut;

type Compared = Result<(), LeftOut>;

impl Found {
    /// What speaks for a cause.
    fn compare(cause: &'static Cause, seen: &Seen<'_>) -> Result<Self, LeftOut> {
        let mut found = Self { cause, weight: 0, fits: Vec::new(), has_log: false };
        found.compare_gateway(seen)?;
        let said_of_gateway = found.fits.len();
        found.compare_status(seen)?;
        found.compare_after(seen)?;
        found.compare_checks(seen)?;
        found.compare_details(seen)?;
        found.compare_text("body", seen.body, cause.signs.body)?;
        found.compare_text("reason", seen.reason, cause.signs.reason)?;
        found.compare_log(seen);
        found.compare_observed(seen)?;
        if found.fits.len() > said_of_gateway { Ok(found) } else { Err(LeftOut) }
    }

    /// With this gateway it always looks as it does, whether that was remarked on or not.
    fn is_usual_with_gateway(&self, seen: &Seen<'_>) -> bool {
        let signs = &self.cause.signs;
        let is_only = seen.gateway.is_some_and(|gateway| signs.gateways == [gateway]);
        is_only && !signs.observed.is_empty() && !signs.observed.contains(&Observed::Passes)
    }

    fn compare_gateway(&mut self, seen: &Seen<'_>) -> Compared {
        let signs = &self.cause.signs;
        let Some(gateway) = seen.gateway.filter(|_| !signs.gateways.is_empty()) else { return Ok(()) };
        let weight = match signs.gateways.len() {
            _ if self.is_usual_with_gateway(seen) => weights::ONLY_GATEWAY,
            // What is told by the time, or by a reason, says little without it.
            _ if signs.after.is_some() && seen.after.is_none() => 0,
            _ if signs.reason == Text::Present && seen.reason.is_none() => 0,
            0..=FEW => weights::GATEWAY,
            _ => 0,
        };
        self.weigh(signs.gateways.contains(&gateway), weight, || format!("gateway {gateway}"))
    }

    fn compare_status(&mut self, seen: &Seen<'_>) -> Compared {
        let signs = &self.cause.signs;
        let Some(status) = seen.status.filter(|_| !signs.status.is_empty()) else { return Ok(()) };
        let fits = signs.status.contains(&status);
        if !fits && signs.status_field.is_some() && matches!(status, Status::Is(300..=599)) {
            // The AuthConfig may say another status. That it was Usher who answered is told by other signs.
            let is_answer = seen.reason.is_some_and(|reason| !reason.is_empty())
                || seen.details.is_some_and(|details| contains(details, &["ext_authz_denied"]))
                || seen.log.is_some_and(|log| found_in_log(log, signs.log).is_some());
            return if is_answer { Ok(()) } else { Err(LeftOut) };
        }
        let weight = if signs.status.len() <= FEW { weights::STATUS } else { weights::ANY_STATUS };
        self.weigh(fits, weight, || format!("status {}", status.words()))
    }

    fn compare_after(&mut self, seen: &Seen<'_>) -> Compared {
        let Some((after, bounds)) = seen.after.zip(self.cause.signs.after) else { return Ok(()) };
        let milliseconds = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let (least, most) = bounds;
        let weight = weights::AFTER + u32::from(!causes::is_wide(bounds));
        self.weigh((least..=most).contains(&milliseconds), weight, || format!("after {after:?}"))
    }

    fn compare_checks(&mut self, seen: &Seen<'_>) -> Compared {
        let signs = &self.cause.signs;
        let Some(number) = seen.checks.filter(|_| !signs.checks.is_empty()) else { return Ok(()) };
        let checks = match number {
            0 => Checks::None,
            1 => Checks::One,
            _ => Checks::Several,
        };
        // Two checks are remarkable where one is usual.
        let is_usual = signs.checks.len() > 1 && number > 1;
        let weight = if is_usual { weights::CHECKS / 2 } else { weights::CHECKS };
        self.weigh(signs.checks.contains(&checks), weight, || match number {
            1 => "1 check".to_owned(),
            number => format!("{number} checks"),
        })
    }

    fn compare_details(&mut self, seen: &Seen<'_>) -> Compared {
        let signs = &self.cause.signs;
        let Some(details) = seen.details.filter(|_| !signs.details.is_empty()) else { return Ok(()) };
        let more = found_in(details, signs.details);
        let weight = weights::DETAILS + more.unwrap_or_default();
        self.weigh(more.is_some(), weight, || format!("details {}", shown(details)))
    }

    fn compare_text(&mut self, name: &str, seen: Option<&str>, sign: Text) -> Compared {
        let Some(seen) = seen else { return Ok(()) };
        let (fits, weight) = match sign {
            Text::Any => return Ok(()),
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

    /// A log has many lines: one that says something else contradicts nothing.
    fn compare_log(&mut self, seen: &Seen<'_>) {
        let Some(log) = seen.log else { return };
        if let Some(more) = found_in_log(log, self.cause.signs.log) {
            self.has_log = true;
            self.add(weights::TEXT + more, format!("log `{}`", shown(log)));
        }
    }

    /// Comes last: what is not remarked on takes away from all the rest.
    fn compare_observed(&mut self, seen: &Seen<'_>) -> Compared {
        let signs = &self.cause.signs;
        for observed in seen.observed {
            if signs.observed.contains(observed) {
                self.add(weights::OBSERVED, observed.name());
            } else if *observed == Observed::Passes || signs.observed.contains(&Observed::Passes) {
                // What passes does not fail.
                return Err(LeftOut);
            }
        }
        // What is not remarked on may be so all the same, but less likely.
        let is_remarked = signs.observed.iter().any(|observed| seen.observed.contains(observed));
        if !signs.observed.is_empty() && !is_remarked && !self.is_usual_with_gateway(seen) {
            self.weight /= 2;
        }
        // A cause that is only about requests that pass is not for one that was answered with an error.
        let is_refused = matches!(seen.status, Some(Status::None | Status::Is(400..)));
        if is_refused && signs.observed.contains(&Observed::Passes) { Err(LeftOut) } else { Ok(()) }
    }

    /// Counts what fits.
    fn weigh(&mut self, fits: bool, weight: u32, what: impl FnOnce() -> String) -> Compared {
        if !fits {
            return Err(LeftOut);
        }
        self.add(weight, what());
        Ok(())
    }

    fn add(&mut self, weight: u32, what: String) {
        self.weight += weight;
        self.fits.push(what);
    }
}
