//! A record of the requests.

use std::collections::VecDeque;

use serde_json::Value;

/// The most calls that are remembered; the oldest are forgotten first.
const MOST: usize = 200_000;

/// One request to the server, as it came in. Also those that were refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, or `deletecollection`; for other paths the HTTP
    /// method in lower case.
    pub verb: String,
    /// The API group; empty for the core group and for other paths.
    pub group: String,
    /// The plural, with the subresource if there is one: `secrets`, `authconfigs/status`. Empty for other paths.
    pub resource: String,
    /// The namespace in the path.
    pub namespace: Option<String>,
    /// The name in the path.
    pub name: Option<String>,
    /// Path and query.
    pub path: String,
    /// The header `User-Agent`.
    pub user_agent: Option<String>,
    /// The header `Content-Type`.
    pub content_type: Option<String>,
    /// The body, if it is JSON.
    pub body: Option<Value>,
}

/// What was called.
#[derive(Default)]
pub(crate) struct Journal {
    calls: VecDeque<Call>,
    /// Watches that are open now.
    pub(crate) open_watches: Vec<String>,
}

impl Journal {
    pub(crate) fn record(&mut self, call: Call) {
        if self.calls.len() == MOST {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }

    pub(crate) fn calls(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter()
    }

    pub(crate) fn forget(&mut self) {
        self.calls.clear();
    }
}

impl Call {
    /// As the control interface shows it.
    pub(crate) fn to_value(&self) -> Value {
        serde_json::json!({
            "verb": self.verb, "group": self.group, "resource": self.resource, "namespace": self.namespace,
            "name": self.name, "path": self.path, "userAgent": self.user_agent, "contentType": self.content_type,
            "body": self.body,
        })
    }
}
