//! What of a request may be logged: everything but what looks like a credential.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::{Map, Value, json};
use usher_engine::{Request, request::Peer};

/// Which names are hidden in log lines.
#[derive(Debug, Default, Args)]
pub(crate) struct RedactOptions {
    /// Hide this field of logged objects too; may be repeated.
    #[arg(long, value_name = "NAME")]
    log_redact_add_field: Vec<String>,
    /// Do not hide this field of logged objects; may be repeated.
    #[arg(long, value_name = "NAME")]
    log_redact_remove_field: Vec<String>,
    /// Hide this header too; may be repeated.
    #[arg(long, value_name = "NAME")]
    log_redact_add_header: Vec<String>,
    /// Do not hide this header; may be repeated.
    #[arg(long, value_name = "NAME")]
    log_redact_remove_header: Vec<String>,
}

/// Hides values by name. Names are compared without regard to case.
#[derive(Debug)]
pub(crate) struct Redaction {
    fields: BTreeSet<String>,
    headers: BTreeSet<String>,
}

const FIELDS: [&str; 9] =
    ["token", "access_token", "refresh_token", "id_token", "client_secret", "password", "secret", "api_key", "apikey"];
const HEADERS: [&str; 4] = ["authorization", "cookie", "x-api-key", "apikey"];

/// Stands for what is hidden.
const HIDDEN: &str = "***REDACTED***";

impl Redaction {
    /// The usual names, with those that the operator adds and without those that the operator removes.
    pub(crate) fn new(options: &RedactOptions) -> Self {
        let names = |usual: &[&str], add: &[String], remove: &[String]| {
            let mut names: BTreeSet<_> = usual.iter().map(|name| (*name).to_owned()).collect();
            names.extend(add.iter().map(|name| name.to_lowercase()));
            for name in remove {
                names.remove(&name.to_lowercase());
            }
            names
        };
        Self {
            fields: names(&FIELDS, &options.log_redact_add_field, &options.log_redact_remove_field),
            headers: names(&HEADERS, &options.log_redact_add_header, &options.log_redact_remove_header),
        }
    }

    /// A request as it may be logged: without its body, and without its query, which may hold credentials.
    pub(crate) fn request(&self, request: &Request) -> Value {
        let parts = request.parts();
        let headers = parts.headers.iter().map(|(name, value)| {
            let shown = match name {
                ":path" => without_query(value),
                name if self.headers.contains(name) => HIDDEN,
                _ => value,
            };
            (name.to_owned(), shown.into())
        });
        let mut object = json!({
            "request": {
                "id": parts.id,
                "method": parts.method,
                "host": parts.host,
                "path": without_query(&parts.path),
                "scheme": parts.scheme,
                "protocol": parts.protocol,
                "headers": Value::Object(headers.collect()),
            },
            "source": peer(&parts.source),
            "destination": peer(&parts.destination),
            "context_extensions": parts.context_extensions,
        });
        if let (Some(metadata), Value::Object(members)) = (&parts.metadata, &mut object) {
            let filters = metadata.filter_metadata.iter().map(|(name, value)| (name.clone(), self.value(value)));
            members.insert("metadata".to_owned(), Value::Object(filters.collect()));
        }
        object
    }

    fn value(&self, value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let members = members.iter().map(|(name, value)| {
                    let hidden = self.fields.contains(&name.to_lowercase());
                    (name.clone(), if hidden { HIDDEN.into() } else { self.value(value) })
                });
                Value::Object(members.collect::<Map<_, _>>())
            }
            Value::Array(elements) => elements.iter().map(|element| self.value(element)).collect(),
            other => other.clone(),
        }
    }
}

fn peer(peer: &Peer) -> Value {
    json!({ "address": peer.ip(), "port": peer.port(), "principal": peer.principal })
}

/// The path of a request target, without what may hold credentials.
pub(crate) fn without_query(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use usher_engine::{RequestParts, request::Metadata};

    use super::*;

    #[test]
    fn credentials_are_hidden_by_name() {
        let headers = [
            ("authorization", "Bearer s3cret"),
            ("x-mine", "s3cret"),
            ("apikey", "shown"),
            (":path", "/a?key=s3cret"),
            ("accept", "*/*"),
        ];
        let request = Request::new(RequestParts {
            path: "/a?key=s3cret".to_owned(),
            body: "s3cret".to_owned(),
            headers: headers.into(),
            metadata: Some(Metadata {
                filter_metadata: BTreeMap::from([(
                    "f".to_owned(),
                    json!({"a": [{"Token": "s3cret"}], "pin": "s3cret", "sub": "joe"}),
                )]),
                ..Metadata::default()
            }),
            ..RequestParts::default()
        });
        let options = RedactOptions {
            log_redact_add_field: vec!["PIN".to_owned()],
            log_redact_remove_field: Vec::new(),
            log_redact_add_header: vec!["X-Mine".to_owned(), "accept".to_owned()],
            log_redact_remove_header: vec!["apikey".to_owned(), "Accept".to_owned()],
        };
        let logged = Redaction::new(&options).request(&request);
        let text = logged.to_string();
        assert!(!text.contains("s3cret"), "{text}");
        assert!(
            text.contains("joe") && text.contains("*/*") && text.contains("shown") && text.contains(HIDDEN),
            "{text}"
        );
        assert_eq!(logged.pointer("/request/path"), Some(&json!("/a")));
    }
}
