//! Errors as the API server says them: a `Status` object with an HTTP status code.

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::kind::Kind;

/// An error answer.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: u16,
    reason: &'static str,
    message: String,
    details: Map<String, Value>,
}

impl Failure {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Map::new() }
    }

    /// One with the usual reason of this status code.
    pub(crate) fn of_code(code: u16, message: impl Into<String>) -> Self {
        let reason = match code {
            400 => "BadRequest",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "NotFound",
            405 => "MethodNotAllowed",
            409 => "Conflict",
            410 => "Expired",
            413 => "RequestEntityTooLarge",
            415 => "UnsupportedMediaType",
            422 => "Invalid",
            429 => "TooManyRequests",
            500 => "InternalError",
            503 => "ServiceUnavailable",
            504 => "Timeout",
            _ => "",
        };
        Self::new(code, reason, message)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::of_code(400, message)
    }

    /// There is nothing at this path.
    pub(crate) fn no_such_path() -> Self {
        Self::of_code(404, "the server could not find the requested resource")
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        Self::of_code(404, format!("{} \"{name}\" not found", kind.qualified_plural())).about(kind, &kind.plural, name)
    }

    pub(crate) fn already_exists(kind: &Kind, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} \"{name}\" already exists", kind.qualified_plural())).about(
            kind,
            &kind.plural,
            name,
        )
    }

    pub(crate) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.qualified_plural());
        Self::of_code(409, message).about(kind, &kind.plural, name)
    }

    /// The object was written since the writer read it.
    pub(crate) fn modified(kind: &Kind, name: &str) -> Self {
        Self::conflict(
            kind,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// Another object of this name stands there now.
    pub(crate) fn other_uid(kind: &Kind, name: &str, asked: &str, found: &str) -> Self {
        let why = format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {found}");
        Self::conflict(kind, name, &why)
    }

    pub(crate) fn invalid(kind: &Kind, name: &str, causes: &[Cause]) -> Self {
        let texts: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let what = if let [one] = texts.as_slice() { one.clone() } else { format!("[{}]", texts.join(", ")) };
        let mut failure = Self::of_code(422, format!("{} \"{name}\" is invalid: {what}", kind.qualified_kind()))
            .about(kind, &kind.kind, name);
        let causes =
            causes.iter().map(|cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field}));
        failure.details.insert("causes".to_owned(), causes.collect());
        failure
    }

    /// Why a watch or a further page cannot be given: what it builds on is gone.
    pub(crate) fn expired(asked: u64, oldest: u64) -> Self {
        Self::of_code(410, format!("too old resource version: {asked} ({oldest})"))
    }

    pub(crate) fn too_large(asked: u64, current: u64) -> Self {
        let mut failure =
            Self::of_code(504, format!("Too large resource version: {asked}, current: {current}")).retry_after(1);
        let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
        failure.details.insert("causes".to_owned(), json!([cause]));
        failure
    }

    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.details.insert("retryAfterSeconds".to_owned(), json!(seconds));
        self
    }

    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        self.details.get("retryAfterSeconds").and_then(Value::as_u64)
    }

    fn about(mut self, kind: &Kind, kind_name: &str, name: &str) -> Self {
        self.details.insert("name".to_owned(), json!(name));
        if !kind.group.is_empty() {
            self.details.insert("group".to_owned(), json!(kind.group));
        }
        self.details.insert("kind".to_owned(), json!(kind_name));
        self
    }

    pub(crate) fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The `Status` object.
    pub(crate) fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        });
        if self.reason.is_empty() {
            status.as_object_mut().unwrap().remove("reason");
        }
        if !self.details.is_empty() {
            status["details"] = Value::Object(self.details.clone());
        }
        status["code"] = json!(self.code);
        status
    }
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) reason: &'static str,
    pub(crate) field: String,
    pub(crate) message: String,
}

impl Cause {
    pub(crate) fn required(field: &str, detail: &str) -> Self {
        let message = if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        Self { reason: "FieldValueRequired", field: field.to_owned(), message }
    }

    /// `value` is how the value is shown; strings come with their quotes.
    pub(crate) fn invalid(field: &str, value: &str, detail: &str) -> Self {
        Self {
            reason: "FieldValueInvalid",
            field: field.to_owned(),
            message: format!("Invalid value: {value}: {detail}"),
        }
    }
}
