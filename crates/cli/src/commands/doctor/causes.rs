//! What can go wrong between a gateway and Usher: a table, in the order in which it happens most often.
//!
//! A cause has signs: what somebody sees who has this problem. [`symptoms`](super::symptoms) compares them with what
//! was seen, and the guide `docs/diagnosis.md` shows them all.

mod answers;
mod passing;
mod reaching;
mod reading;
mod strangers;

use clap::ValueEnum as _;

use super::gateway::Gateway;

/// One thing that can be wrong.
#[derive(Debug)]
pub(super) struct Cause {
    /// What is wrong, as a heading.
    pub(super) title: &'static str,
    /// What is seen then. Whatever is not said can be anything.
    pub(super) signs: Signs,
    /// How it comes about.
    pub(super) why: &'static str,
    /// How to make sure that it is this.
    pub(super) proof: &'static [&'static str],
    /// What to change.
    pub(super) changes: &'static [Change],
}

/// What to change, and for whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    /// For these gateways; empty: for all.
    pub(super) gateways: &'static [Gateway],
    /// What to do.
    pub(super) what: &'static str,
}

/// What is seen of a problem. An empty list, and [`Text::Any`], say nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signs {
    /// It happens with these gateways only.
    pub(super) gateways: &'static [Gateway],
    /// The status that the client gets is one of these.
    pub(super) status: &'static [Status],
    /// The field of an AuthConfig that may say another status, 300 to 599.
    pub(super) status_field: Option<&'static str>,
    /// The client gets it after so many milliseconds: at least, at most.
    pub(super) after: Option<(u64, u64)>,
    /// So many checks of the request reach Usher.
    pub(super) checks: &'static [Checks],
    /// Envoy's `RESPONSE_CODE_DETAILS` contain one of these.
    pub(super) details: &'static [&'static str],
    /// The body of the answer.
    pub(super) body: Text,
    /// The header `x-ext-auth-reason` of the answer.
    pub(super) reason: Text,
    /// Usher's log has one of these.
    pub(super) log: &'static [&'static str],
    /// What else is remarkable.
    pub(super) observed: &'static [Observed],
}

/// Signs that say nothing.
const ANY: Signs = Signs {
    gateways: &[],
    status: &[],
    status_field: None,
    after: None,
    checks: &[],
    details: &[],
    body: Text::Any,
    reason: Text::Any,
    log: &[],
    observed: &[],
};

/// Change something in every gateway.
const fn always(what: &'static str) -> Change {
    Change { gateways: &[], what }
}

/// Change something in these gateways.
const fn on(gateways: &'static [Gateway], what: &'static str) -> Change {
    Change { gateways, what }
}

/// The status that a client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// This one.
    Is(u16),
    /// None: there is no answer.
    None,
}

/// How many checks of one request reach Usher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checks {
    /// None.
    None,
    /// One.
    One,
    /// More than one.
    Several,
}

/// A text of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    /// It says nothing.
    Any,
    /// It is not there, or empty.
    Absent,
    /// It is there, whatever it says.
    Present,
    /// It contains one of these.
    Contains(&'static [&'static str]),
    /// It is not there, or contains one of these.
    AbsentOr(&'static [&'static str]),
}

/// What is remarkable about requests that go wrong. The guide and `--help` say it in the words that stand here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Observed {
    /// The request passes, although it should not.
    Passes,
    /// The client waits, and gets no answer.
    Hangs,
    /// Only the first requests after a start or a change fail.
    OnlyFirst,
    /// Some requests fail, and others like them pass.
    Sometimes,
    /// Only requests of browsers with the method `OPTIONS` fail.
    Preflight,
    /// The client speaks gRPC.
    GrpcClient,
    /// Rules do not see a header that the client sent.
    HeaderMissing,
    /// Rules see no body, or only its beginning.
    BodyMissing,
    /// Rules do not see who the caller is by its certificate.
    IdentityMissing,
    /// Rules do not see metadata of the gateway, such as claims of a token that it has verified.
    MetadataMissing,
    /// Headers or metadata that Usher adds do not arrive.
    ChangesLost,
    /// The upstream sees another path than rules do.
    OtherPath,
    /// Of several replicas, one gets all checks.
    Uneven,
}

/// The causes, those that happen most often first, below headings.
const SECTIONS: [(&str, &[Cause]); 5] = [
    ("The gateway gets no answer", reaching::CAUSES),
    ("Usher answers", answers::CAUSES),
    ("Rules do not see what the client sent", reading::CAUSES),
    ("Requests pass that should not", passing::CAUSES),
    ("It is not Usher", strangers::CAUSES),
];

/// All causes, in the order of the page.
pub(super) fn all() -> impl Iterator<Item = &'static Cause> {
    SECTIONS.iter().flat_map(|(_, causes)| causes.iter())
}

/// The causes as a part of a page in Markdown.
pub(super) fn page() -> String {
    let mut page = String::new();
    for (heading, causes) in SECTIONS {
        page.push_str(&format!("## {heading}\n\n"));
        for cause in causes {
            page.push_str(&cause.section());
        }
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

impl Cause {
    fn section(&self) -> String {
        let Self { title, signs, why, proof, changes } = self;
        let mut text = format!("### {title}\n\n**Signs:** {}.\n\n{why}\n\n", signs.sentence());
        text.push_str("**Make sure**\n\n");
        for proof in *proof {
            text.push_str(&format!("- {proof}\n"));
        }
        text.push_str("\n**Change**\n\n");
        for change in *changes {
            text.push_str(&format!("- {}{}\n", change.prefix(), change.what));
        }
        text.push('\n');
        text
    }
}

impl Change {
    /// The gateways that it is for, before a colon.
    pub(super) fn prefix(&self) -> String {
        match self.gateways {
            [] => String::new(),
            gateways => format!("{}: ", names(gateways)),
        }
    }

    /// Whether it is of use with this gateway.
    pub(super) fn is_for(&self, gateway: Option<Gateway>) -> bool {
        self.gateways.is_empty() || gateway.is_none_or(|gateway| self.gateways.contains(&gateway))
    }
}

fn names(gateways: &[Gateway]) -> String {
    gateways.iter().map(|gateway| gateway.name()).collect::<Vec<_>>().join(", ")
}

/// `a`, `b` or `c`.
fn alternatives(texts: &[String]) -> String {
    match texts {
        [] => String::new(),
        [one] => one.clone(),
        [many @ .., last] => format!("{} or {last}", many.join(", ")),
    }
}

fn quoted(texts: &[&str]) -> String {
    alternatives(&texts.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>())
}

impl Signs {
    /// The signs in words.
    fn sentence(&self) -> String {
        let Self { gateways, status, status_field, after, checks, details, body, reason, log, observed } = self;
        let mut parts = Vec::new();
        parts.extend(observed.iter().map(|observed| observed.words()));
        if !status.is_empty() {
            let field = status_field.map(|field| format!("what `{field}` says"));
            parts.push(alternatives(&status.iter().map(Status::words).chain(field).collect::<Vec<_>>()));
        }
        parts.extend(after.map(|(least, most)| match least {
            0 => format!("at once (within {most} ms)"),
            20_000.. => format!("after more than {} s", least / 1000),
            _ if is_wide((least, most)) => format!("after {least} ms to {} s", most / 1000),
            _ => format!("after {}", about(least, most)),
        }));
        match body {
            Text::Any => {}
            Text::Absent => parts.push("no body".to_owned()),
            Text::Present => parts.push("a body".to_owned()),
            Text::Contains(texts) => parts.push(format!("the body {}", quoted(texts))),
            Text::AbsentOr(texts) => parts.push(format!("no body, or {}", quoted(texts))),
        }
        match reason {
            Text::Any => {}
            Text::Absent => parts.push("no header `x-ext-auth-reason`".to_owned()),
            Text::Present => parts.push("the header `x-ext-auth-reason`".to_owned()),
            Text::Contains(texts) => parts.push(format!("`x-ext-auth-reason` with {}", quoted(texts))),
            Text::AbsentOr(texts) => {
                parts.push(format!("no header `x-ext-auth-reason`, or one with {}", quoted(texts)));
            }
        }
        if !details.is_empty() {
            parts.push(format!("in Envoy's access log {}", quoted(details)));
        }
        match checks {
            [] => {}
            [one] => parts.push(one.words().to_owned()),
            _ => parts.push("a check at Usher".to_owned()),
        }
        if !log.is_empty() {
            parts.push(format!("in Usher's log {}", quoted(log)));
        }
        if !gateways.is_empty() {
            parts.push(format!("only with {}", names(gateways)));
        }
        parts.join("; ")
    }
}

/// Whether two bounds say little because they are far from each other.
pub(super) fn is_wide((least, most): (u64, u64)) -> bool {
    most / 2 > least
}

/// `200 ms`, `10 s`: what lies between two bounds that are close to each other.
fn about(least: u64, most: u64) -> String {
    let middle = least + (most - least) / 2;
    match middle {
        0..1000 => format!("about {} ms", middle / 100 * 100),
        _ => format!("about {} s", (middle + 500) / 1000),
    }
}

impl Status {
    pub(super) fn words(&self) -> String {
        match self {
            Self::Is(code) => code.to_string(),
            Self::None => "no answer".to_owned(),
        }
    }
}

impl Checks {
    fn words(self) -> &'static str {
        match self {
            Self::None => "no check at Usher",
            Self::One => "one check at Usher",
            Self::Several => "several checks at Usher for one request",
        }
    }
}

impl Observed {
    /// What is typed for it.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What `--help` says about it, as a part of a sentence.
    fn words(self) -> String {
        let help = self.to_possible_value().and_then(|value| Some(value.get_help()?.to_string())).unwrap_or_default();
        let mut letters = help.chars();
        letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
