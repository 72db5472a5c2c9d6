//! Faults: what the server does instead of answering as it should.

use std::time::Duration;

use serde_json::Value;

use crate::{calls::Call, failure::Failure};

/// What goes wrong, with which requests, and how often.
///
/// ```
/// use usher_test_support::Fault;
///
/// let fault = Fault::answer(429).verb("list").resource("secrets").times(3);
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    effect: Effect,
    verb: Option<String>,
    resource: Option<String>,
    namespace: Option<String>,
    left: Option<u64>,
}

#[derive(Clone, Debug)]
enum Effect {
    Answer { code: u16, retry_after: Option<u64> },
    Delay(Duration),
    Hang,
}

impl Fault {
    /// Answers with this HTTP status code and a `Status` object: 429, 500, 503, …
    pub fn answer(code: u16) -> Self {
        Self::new(Effect::Answer { code, retry_after: None })
    }

    /// Refuses as if a role were missing: 403.
    pub fn forbid() -> Self {
        Self::answer(403)
    }

    /// Answers later by this time.
    pub fn delay(by: Duration) -> Self {
        Self::new(Effect::Delay(by))
    }

    /// Does not answer until the fault is taken away.
    pub fn hang() -> Self {
        Self::new(Effect::Hang)
    }

    /// Has the answer ask for another try after this many seconds.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        if let Effect::Answer { retry_after, .. } = &mut self.effect {
            *retry_after = Some(seconds);
        }
        self
    }

    /// Only requests with this verb: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub fn verb(mut self, verb: &str) -> Self {
        self.verb = Some(verb.to_owned());
        self
    }

    /// Only requests for this resource: `secrets`, `authconfigs/status`.
    pub fn resource(mut self, resource: &str) -> Self {
        self.resource = Some(resource.to_owned());
        self
    }

    /// Only requests for this namespace.
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Only this many requests; all by default.
    pub fn times(mut self, times: u64) -> Self {
        self.left = Some(times);
        self
    }

    fn new(effect: Effect) -> Self {
        Self { effect, verb: None, resource: None, namespace: None, left: None }
    }

    /// Reads one of the control interface: `{"code": 429}`, `{"delayMilliseconds": 100}` or `{"hang": true}`, with
    /// `verb`, `resource`, `namespace`, `times`, and `retryAfterSeconds`.
    pub(crate) fn read(value: &Value) -> Result<Self, String> {
        let mut fault = if let Some(code) = value["code"].as_u64() {
            Self::answer(u16::try_from(code).map_err(|_| format!("`{code}` is no status code"))?)
        } else if let Some(by) = value["delayMilliseconds"].as_u64() {
            Self::delay(Duration::from_millis(by))
        } else if value["hang"] == true {
            Self::hang()
        } else {
            return Err("expected `code`, `delayMilliseconds`, or `hang`".to_owned());
        };
        let text = |field: &str| value[field].as_str().map(str::to_owned);
        (fault.verb, fault.resource, fault.namespace) = (text("verb"), text("resource"), text("namespace"));
        fault.left = value["times"].as_u64();
        match value["retryAfterSeconds"].as_u64() {
            Some(seconds) => Ok(fault.retry_after(seconds)),
            None => Ok(fault),
        }
    }

    fn is_about(&self, call: &Call) -> bool {
        let fits = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        self.left != Some(0)
            && fits(&self.verb, &call.verb)
            && fits(&self.resource, &call.resource)
            && fits(&self.namespace, call.namespace.as_deref().unwrap_or_default())
    }
}

/// The faults that are set.
#[derive(Default)]
pub(crate) struct Faults {
    faults: Vec<Fault>,
}

/// What is to be done with a request.
pub(crate) enum Verdict {
    Fine,
    Fail(Failure),
    Delay(Duration),
    Hang,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.faults.clear();
    }

    /// The effect of the first fault that is about this request, which is counted.
    pub(crate) fn verdict(&mut self, call: &Call) -> Verdict {
        let Some(fault) = self.faults.iter_mut().find(|fault| fault.is_about(call)) else { return Verdict::Fine };
        if let Some(left) = &mut fault.left {
            *left -= 1;
        }
        match fault.effect {
            Effect::Delay(by) => Verdict::Delay(by),
            Effect::Hang => Verdict::Hang,
            Effect::Answer { code, retry_after } => {
                let failure = Failure::of_code(code, message(code, call));
                Verdict::Fail(match retry_after {
                    Some(seconds) => failure.retry_after(seconds),
                    None => failure,
                })
            }
        }
    }
}

fn message(code: u16, call: &Call) -> String {
    let resource =
        if call.group.is_empty() { call.resource.clone() } else { format!("{}.{}", call.resource, call.group) };
    match code {
        403 => {
            let scope = match &call.namespace {
                Some(namespace) => format!("in the namespace \"{namespace}\""),
                None => "at the cluster scope".to_owned(),
            };
            let name = call.name.as_ref().map(|name| format!(" \"{name}\"")).unwrap_or_default();
            format!(
                "{resource}{name} is forbidden: User \"test\" cannot {} resource \"{}\" in API group \"{}\" {scope}",
                call.verb, call.resource, call.group
            )
        }
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        code => format!("an error of the server ({code}) was asked for"),
    }
}
