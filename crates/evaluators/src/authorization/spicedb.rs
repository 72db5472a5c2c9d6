//! `spicedb`: SpiceDB, a database of relationships, decides.
//!
//! # What it does
//! Asks the server at `endpoint` (gRPC, `authzed.api.v1.PermissionsService/CheckPermission`) whether `subject` has
//! `permission` on `resource`, and grants access if it has. The result is the answer:
//! ```json
//! {"checked_at": {"token": "…"}, "permissionship": 2}
//! ```
//!
//! | field | |
//! | --- | --- |
//! | `endpoint` | `host:port`, or `host` for port 443; empty for `grpc.authzed.com:443` |
//! | `insecure` | without TLS. With TLS the server must have a certificate that an authority of the machine vouches for |
//! | `sharedSecretRef` | the entry of a Secret with the preshared key, sent as `authorization: Bearer KEY`; without it, or if it is empty, none is sent |
//! | `subject`, `resource` | required; `kind` (the type in the schema) and `name` (the id): values; their texts |
//! | `permission` | required; a value; its text: a permission or a relation |
//! | `consistency` | `minimizeLatency` or `fullyConsistent`; what the server takes for its default if not given |
//! | `timeout` | the most milliseconds for the answer. Default: 5000. With 0 only the deadline of the check counts ([`LONGEST_QUESTION`](crate::resources::spicedb::LONGEST_QUESTION) at the most) |
//!
//! All rules with one endpoint share a connection. Where it may go is limited as for all outbound requests. A changed
//! Secret counts from the next check on.
//!
//! # Example
//! ```yaml
//! authorization:
//!   relations:
//!     spicedb:
//!       endpoint: spicedb.spicedb.svc.cluster.local:50051
//!       insecure: true
//!       sharedSecretRef: {name: spicedb, key: grpc-preshared-key}
//!       subject: {kind: {value: user}, name: {expression: auth.identity.metadata.annotations.username}}
//!       resource: {kind: {value: document}, name: {selector: 'request.path.@extract:{"sep":"/","pos":2}'}}
//!       permission: {expression: 'request.method == "GET" ? "read" : "write"'}
//! ```
//!
//! # Errors
//! - `PERMISSIONSHIP_NO_PERMISSION;token=…`: the subject does not have the permission. The token names the state of the
//!   data; without one the text ends before the semicolon.
//! - `PERMISSIONSHIP_CONDITIONAL_PERMISSION;token=…`: it depends on values that the request did not give. A number
//!   stands for an outcome that is not known here. None of them grants.
//! - `subject.name is empty`, and so on: a value has no text for this request; the server is not asked.
//! - `SpiceDB refused the question`: the preshared key is wrong or is missing.
//! - The error of an expression. Access is denied in all these cases.
//! - undecidable, `SpiceDB timed out` or `SpiceDB failed`: there is no answer, or it is any other error. Among these are
//!   types and permissions that the schema does not have.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use usher_api::{SpiceDbConsistency, SpiceDbObjectSpec, SpiceDbSpec, ValueOrSelector};
use usher_engine::{Context, Evaluation, Evaluator, Failure, Outcome};
use usher_expr::Expression;
use usher_proto::authzed::api::v1::{
    CheckPermissionRequest, CheckPermissionResponse, Consistency, ObjectReference, SubjectReference,
    check_permission_response::Permissionship, consistency::Requirement,
};

use crate::{
    BuildContext, FieldPath, Problems,
    resources::{
        http::{Onward, time_limit},
        spicedb::{Endpoint, Key, Server},
    },
    secrets::SecretUse,
    values,
};

/// Grants access where SpiceDB says that there is a permission.
#[derive(Debug)]
pub struct SpiceDb {
    server: Arc<Server>,
    key: Option<Key>,
    subject: Object,
    resource: Object,
    permission: Named,
    consistency: Option<SpiceDbConsistency>,
    timeout: Option<Duration>,
}

/// An object in SpiceDB.
#[derive(Debug)]
struct Object {
    kind: Named,
    name: Named,
}

/// A value, and how it is called when it is empty.
#[derive(Debug)]
struct Named {
    value: Expression,
    empty: &'static str,
}

/// Reads `spicedb` of a rule.
pub fn build(
    spec: &SpiceDbSpec,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<SpiceDb> {
    let endpoint = if spec.endpoint.is_empty() { DEFAULT_ENDPOINT } else { &spec.endpoint };
    let address = problems.take(&at.field("endpoint"), endpoint.parse());
    let key = match &spec.shared_secret_ref {
        Some(reference) => {
            let at = at.field("sharedSecretRef");
            let text = context.secrets.text(&reference.name, &reference.key, SecretUse::Credential, &at, problems);
            text.and_then(|text| problems.take(&at, Key::new(text.reveal())))
        }
        None => Some(None),
    };
    let subject = Object::build(spec.subject.as_ref(), "subject", SUBJECT, at, problems);
    let resource = Object::build(spec.resource.as_ref(), "resource", RESOURCE, at, problems);
    let permission = Named::build(spec.permission.as_ref(), "permission", "permission is empty", at, problems);
    let (subject, resource, permission, key) = (subject?, resource?, permission?, key?);
    let server = context.resources.spicedb.server(Endpoint { address: address?, tls: !spec.insecure });
    Some(SpiceDb {
        server,
        key,
        subject,
        resource,
        permission,
        consistency: spec.consistency,
        timeout: time_limit(spec.timeout),
    })
}

const DEFAULT_ENDPOINT: &str = "grpc.authzed.com:443";
/// The texts about an empty kind and an empty name.
const SUBJECT: [&str; 2] = ["subject.kind is empty", "subject.name is empty"];
const RESOURCE: [&str; 2] = ["resource.kind is empty", "resource.name is empty"];

impl Object {
    fn build(
        spec: Option<&SpiceDbObjectSpec>,
        field: &str,
        [empty_kind, empty_name]: [&'static str; 2],
        at: &FieldPath<'_>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let at = at.field(field);
        let Some(spec) = spec else {
            problems.add(&at, REQUIRED);
            return None;
        };
        let kind = Named::build(spec.kind.as_ref(), "kind", empty_kind, &at, problems);
        let name = Named::build(spec.name.as_ref(), "name", empty_name, &at, problems);
        Some(Self { kind: kind?, name: name? })
    }

    fn resolve(&self, context: &Context<'_>) -> Result<ObjectReference, Failure> {
        Ok(ObjectReference { object_type: self.kind.text(context)?, object_id: self.name.text(context)? })
    }
}

const REQUIRED: &str = "required";

impl Named {
    fn build(
        spec: Option<&ValueOrSelector>,
        field: &str,
        empty: &'static str,
        at: &FieldPath<'_>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let at = at.field(field);
        match spec {
            Some(spec) => Some(Self { value: values::build(spec, &at, problems)?, empty }),
            None => {
                problems.add(&at, REQUIRED);
                None
            }
        }
    }

    fn text(&self, context: &Context<'_>) -> Result<String, Failure> {
        let text = self.value.resolve_text(context)?;
        if text.is_empty() { Err(Failure::denied(self.empty)) } else { Ok(text.into_owned()) }
    }
}

impl Evaluator for SpiceDb {
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
        match self.question(context) {
            Ok(question) => Evaluation::pending(async move {
                let onward = Onward::of(context.request())?;
                let answer = self.server.check(question, self.key.as_ref(), self.timeout, &onward).await?;
                outcome(&answer)
            }),
            Err(failure) => Evaluation::failure(failure),
        }
    }
}

impl SpiceDb {
    fn question(&self, context: &Context<'_>) -> Result<CheckPermissionRequest, Failure> {
        let requirement = self.consistency.map(|consistency| match consistency {
            SpiceDbConsistency::MinimizeLatency => Requirement::MinimizeLatency(true),
            SpiceDbConsistency::FullyConsistent => Requirement::FullyConsistent(true),
        });
        Ok(CheckPermissionRequest {
            consistency: requirement.map(|requirement| Consistency { requirement: Some(requirement) }),
            resource: Some(self.resource.resolve(context)?),
            permission: self.permission.text(context)?,
            subject: Some(SubjectReference {
                object: Some(self.subject.resolve(context)?),
                optional_relation: String::new(),
            }),
            context: None,
        })
    }
}

fn outcome(answer: &CheckPermissionResponse) -> Outcome {
    let token = answer.checked_at.as_ref().map(|checked_at| checked_at.token.as_str());
    let known = Permissionship::try_from(answer.permissionship);
    if known == Ok(Permissionship::HasPermission) {
        let mut value = Map::new();
        if let Some(token) = token {
            value.insert("checked_at".to_owned(), json!({ "token": token }));
        }
        value.insert("permissionship".to_owned(), answer.permissionship.into());
        return Ok(Arc::new(Value::Object(value)));
    }
    let name = known.map_or_else(|_| answer.permissionship.to_string(), |known| known.as_str_name().to_owned());
    let token = token.filter(|token| !token.is_empty()).map(|token| format!(";token={token}"));
    Err(Failure::denied(name + &token.unwrap_or_default()))
}

#[cfg(test)]
mod tests;
