//! `kubernetesSubjectAccessReview`: Kubernetes RBAC decides.
//!
//! # What it does
//! Asks the Kubernetes API, with a SubjectAccessReview (`authorization.k8s.io/v1`), whether a user, or somebody in these
//! groups, may do something. Granted if the API allows it; the result is `true`.
//!
//! | field | in the review | |
//! | --- | --- | --- |
//! | `user` | `user` | a value; its text |
//! | `authorizationGroups` | `groups` | a value: a list of strings, or the text of one in JSON; `null` in the list is the empty group |
//! | `groups` | `groups` | fixed; counts if there is no `authorizationGroups` |
//! | `resourceAttributes` | `resourceAttributes` | `namespace`, `group`, `resource`, `subresource`, `name`, `verb`: values; their texts |
//! | without `resourceAttributes` | `nonResourceAttributes` | `path`: the path of the request as it was received, without its query; `verb`: the method in lower case |
//!
//! `timeout` is the most milliseconds for the whole review. Default: 5000. With 0 only the deadline of the check counts
//! ([`LONGEST_REVIEW`](crate::resources::kubernetes::LONGEST_REVIEW) at the most). Nothing is kept: every check asks,
//! unless the rule has a cache.
//!
//! # Example
//! ```yaml
//! authorization:
//!   kubernetes-rbac:
//!     kubernetesSubjectAccessReview:
//!       user: {expression: auth.identity.user.username}
//!       authorizationGroups: {expression: auth.identity.user.groups}
//!       resourceAttributes:
//!         namespace: {value: default}
//!         group: {value: pets.example}
//!         resource: {value: pets}
//!         verb: {expression: request.method.lowerAscii()}
//! ```
//!
//! # Errors
//! - `not authorized: …`: the Kubernetes API does not allow it; its reason follows, or `unknown reason`.
//! - `not authorized: neither a user nor groups`: both are empty; the API is not asked.
//! - `not authorized: the path has dot segments`: without `resourceAttributes`, a path such as `/public/../admin` is
//!   not asked about.
//! - `authorizationGroups is not a list of strings`.
//! - The error of an expression. Access is denied in all these cases.
//! - undecidable, `kubernetes API is not configured`: the process knows of no Kubernetes API. There is a warning when
//!   the AuthConfig is loaded.
//! - undecidable, `kubernetes API failed`, `kubernetes API timed out`, `kubernetes API is busy`: it did not answer.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use usher_api::{KubernetesSubjectAccessReviewSpec, ResourceAttributesSpec, ValueOrSelector};
use usher_engine::{Context, Evaluation, Evaluator, Failure, Outcome};
use usher_expr::Expression;

use crate::{
    BuildContext, FieldPath, Problems,
    resources::{
        http::time_limit,
        kubernetes::{
            NOT_CONFIGURED, NonResourceAttributes, ResourceAttributes, Reviews, SubjectAccessReviewSpec, needed,
        },
    },
    values,
};

/// Grants access where the Kubernetes API does.
#[derive(Debug)]
pub struct KubernetesSubjectAccessReview {
    user: Option<Expression>,
    groups: Groups,
    attributes: Option<Attributes>,
    timeout: Option<Duration>,
    reviews: Option<Arc<dyn Reviews>>,
    granted: Arc<Value>,
}

#[derive(Debug)]
enum Groups {
    Fixed(Vec<String>),
    Value(Expression),
}

/// The values of `resourceAttributes`; what is not given is empty.
#[derive(Debug)]
struct Attributes {
    namespace: Option<Expression>,
    group: Option<Expression>,
    resource: Option<Expression>,
    subresource: Option<Expression>,
    name: Option<Expression>,
    verb: Option<Expression>,
}

/// Reads `kubernetesSubjectAccessReview` of a rule.
pub fn build(
    spec: &KubernetesSubjectAccessReviewSpec,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<KubernetesSubjectAccessReview> {
    build_with(spec, at, context.resources.kubernetes.for_one_rule().as_ref(), problems)
}

fn build_with(
    spec: &KubernetesSubjectAccessReviewSpec,
    at: &FieldPath<'_>,
    reviews: Option<&Arc<dyn Reviews>>,
    problems: &mut Problems,
) -> Option<KubernetesSubjectAccessReview> {
    let user = optional(spec.user.as_ref(), "user", at, problems);
    let groups = match optional(spec.authorization_groups.as_ref(), "authorizationGroups", at, problems) {
        Some(Some(value)) => Some(Groups::Value(value)),
        Some(None) => Some(Groups::Fixed(spec.groups.clone().unwrap_or_default())),
        None => None,
    };
    let attributes = match &spec.resource_attributes {
        Some(spec) => Attributes::build(spec, &at.field("resourceAttributes"), problems).map(Some),
        None => Some(None),
    };
    let reviews = needed(reviews, at, problems);
    Some(KubernetesSubjectAccessReview {
        user: user?,
        groups: groups?,
        attributes: attributes?,
        timeout: time_limit(spec.timeout),
        reviews,
        granted: Arc::new(Value::Bool(true)),
    })
}

impl Attributes {
    fn build(spec: &ResourceAttributesSpec, at: &FieldPath<'_>, problems: &mut Problems) -> Option<Self> {
        let mut value = |spec: &Option<ValueOrSelector>, field| optional(spec.as_ref(), field, at, problems);
        let (namespace, group) = (value(&spec.namespace, "namespace"), value(&spec.group, "group"));
        let (resource, subresource) = (value(&spec.resource, "resource"), value(&spec.subresource, "subresource"));
        let (name, verb) = (value(&spec.name, "name"), value(&spec.verb, "verb"));
        Some(Self {
            namespace: namespace?,
            group: group?,
            resource: resource?,
            subresource: subresource?,
            name: name?,
            verb: verb?,
        })
    }

    fn resolve(&self, context: &Context<'_>) -> Result<ResourceAttributes, Failure> {
        Ok(ResourceAttributes {
            namespace: text(self.namespace.as_ref(), context)?,
            verb: text(self.verb.as_ref(), context)?,
            group: text(self.group.as_ref(), context)?,
            resource: text(self.resource.as_ref(), context)?,
            subresource: text(self.subresource.as_ref(), context)?,
            name: text(self.name.as_ref(), context)?,
        })
    }
}

/// The expression of a value that may be left out; none if it is wrong.
fn optional(
    spec: Option<&ValueOrSelector>,
    field: &str,
    at: &FieldPath<'_>,
    problems: &mut Problems,
) -> Option<Option<Expression>> {
    match spec {
        Some(spec) => values::build(spec, &at.field(field), problems).map(Some),
        None => Some(None),
    }
}

impl Evaluator for KubernetesSubjectAccessReview {
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
        let spec = match self.question(context) {
            Ok(spec) => spec,
            Err(failure) => return Evaluation::failure(failure),
        };
        match &self.reviews {
            Some(reviews) => Evaluation::pending(self.review(&**reviews, spec)),
            None => Evaluation::failure(Failure::undecidable(NOT_CONFIGURED, "")),
        }
    }
}

impl KubernetesSubjectAccessReview {
    fn question(&self, context: &Context<'_>) -> Result<SubjectAccessReviewSpec, Failure> {
        let user = text(self.user.as_ref(), context)?;
        let groups = match &self.groups {
            Groups::Fixed(groups) => groups.clone(),
            Groups::Value(value) => list(value.resolve(context)?)?,
        };
        // The API would refuse such a review as malformed.
        if user.is_empty() && groups.is_empty() {
            return Err(Failure::denied("not authorized: neither a user nor groups"));
        }
        let (resource_attributes, non_resource_attributes) = match &self.attributes {
            Some(attributes) => (Some(attributes.resolve(context)?), None),
            None => (None, Some(requested(context)?)),
        };
        Ok(SubjectAccessReviewSpec { user, groups, resource_attributes, non_resource_attributes })
    }

    async fn review(&self, reviews: &dyn Reviews, spec: SubjectAccessReviewSpec) -> Outcome {
        let status = reviews.subject_access_review(spec, self.timeout).await?;
        if !status.evaluation_error.is_empty() {
            tracing::debug!(error = status.evaluation_error, "the Kubernetes API could not ask all its authorizers");
        }
        if status.allowed && !status.denied {
            return Ok(Arc::clone(&self.granted));
        }
        let reason = if status.reason.is_empty() { "unknown reason" } else { &status.reason };
        Err(Failure::denied(format!("not authorized: {reason}")))
    }
}

/// The path is left as it was received: one that is spelled in another way is not what the roles name. Roles name
/// beginnings of paths too, and a path that goes up again does not lead where it begins.
fn requested(context: &Context<'_>) -> Result<NonResourceAttributes, Failure> {
    let parts = context.request().parts();
    let path = parts.path.split(['?', '#']).next().unwrap_or_default();
    if path.split(['/', '\\']).any(is_dots) {
        return Err(Failure::denied("not authorized: the path has dot segments"));
    }
    Ok(NonResourceAttributes { path: path.to_owned(), verb: parts.method.to_lowercase() })
}

/// Whether a segment of a path is `.` or `..` (RFC 3986 §5.2.4), also with escapes, also of the slashes around it.
fn is_dots(segment: &str) -> bool {
    let decoded = segment.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    decoded.split('/').any(|segment| matches!(segment, "." | ".."))
}

fn text(expression: Option<&Expression>, context: &Context<'_>) -> Result<String, Failure> {
    match expression {
        Some(expression) => Ok(expression.resolve_text(context)?.into_owned()),
        None => Ok(String::new()),
    }
}

/// A list of strings, given as such or as its JSON text.
fn list(value: Value) -> Result<Vec<String>, Failure> {
    let elements = match value {
        Value::Array(elements) => Some(elements),
        Value::String(text) => serde_json::from_str(&text).ok(),
        _ => None,
    };
    let strings = elements.and_then(|elements| {
        let strings = elements.into_iter().map(|element| match element {
            Value::String(text) => Some(text),
            Value::Null => Some(String::new()),
            _ => None,
        });
        strings.collect::<Option<Vec<_>>>()
    });
    strings.ok_or(Failure::denied("authorizationGroups is not a list of strings"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use usher_engine::{Request, RequestParts, context::Identity};

    use super::*;
    use crate::resources::kubernetes::scripted::Scripted;

    fn rule(spec: Value, reviews: Option<Arc<Scripted>>) -> KubernetesSubjectAccessReview {
        let spec = serde_json::from_value(spec).unwrap();
        let reviews = reviews.map(|reviews| reviews as Arc<dyn Reviews>);
        let mut problems = Problems::default();
        let rule = build_with(&spec, &FieldPath::root("k"), reviews.as_ref(), &mut problems);
        let (problems, warnings) = problems.into_parts();
        assert_eq!((problems.len(), warnings.len()), (0, usize::from(reviews.is_none())));
        rule.unwrap()
    }

    async fn check(rule: &KubernetesSubjectAccessReview, identity: &Value) -> Outcome {
        let request = Request::new(RequestParts {
            method: "GET".to_owned(),
            path: "/hel%6Co?x=1#f".to_owned(),
            ..RequestParts::default()
        });
        let mut context = Context::new(&request, None, None);
        context.set_identity(Identity { rule: "who".into(), value: Arc::new(identity.clone()) });
        match rule.evaluate(&context) {
            Evaluation::Ready(outcome) => outcome,
            Evaluation::Pending(outcome) => outcome.await,
        }
    }

    /// The question that a rule asks about an identity, or why it asks none.
    async fn question(spec: Value, identity: Value) -> Result<Value, String> {
        let reviews = Scripted::status(json!({"allowed": true}));
        let outcome = check(&rule(spec, Some(Arc::clone(&reviews))), &identity).await;
        match (outcome, reviews.asked().as_slice()) {
            (Ok(granted), [(question, _)]) => {
                assert_eq!(*granted, json!(true));
                Ok(question.clone())
            }
            (Err(Failure::Denied(reason)), []) => Err(reason.into_owned()),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn the_question_is_about_the_request_or_about_a_resource() {
        let request = json!({"path": "/hel%6Co", "verb": "get"});
        let john = json!({"username": "john", "groups": ["g1", "g2"]});
        let cases = [
            (
                json!({"user": {"selector": "auth.identity.username"}, "authorizationGroups": {"selector": "auth.identity.groups"}}),
                json!({"user": "john", "groups": ["g1", "g2"], "nonResourceAttributes": request}),
            ),
            (json!({"groups": ["dev", "ops"]}), json!({"groups": ["dev", "ops"], "nonResourceAttributes": request})),
            (
                json!({"groups": ["dev"], "authorizationGroups": {"expression": "['x']"}}),
                json!({"groups": ["x"], "nonResourceAttributes": request}),
            ),
            (json!({"user": {"value": 7}}), json!({"user": "7", "nonResourceAttributes": request})),
            (json!({"user": {"value": "u"}, "resourceAttributes": {}}), json!({"user": "u", "resourceAttributes": {}})),
            (
                json!({"user": {"value": "u"}, "resourceAttributes": {
                    "namespace": {"value": "ns"}, "group": {"value": "g"}, "resource": {"value": "pets"},
                    "subresource": {"value": "s"}, "name": {"selector": "auth.identity.username"},
                    "verb": {"expression": "request.method.lowerAscii()"},
                }}),
                json!({"user": "u", "resourceAttributes": {
                    "namespace": "ns", "verb": "get", "group": "g", "resource": "pets", "subresource": "s", "name": "john",
                }}),
            ),
            (
                json!({"user": {"value": "u"}, "resourceAttributes": {"namespace": {"selector": "auth.identity.none"}}}),
                json!({"user": "u", "resourceAttributes": {}}),
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(question(spec.clone(), john.clone()).await, Ok(expected), "{spec}");
        }
    }

    #[test]
    fn paths_that_go_up_again_are_known() {
        for path in ["/a/../b", "/..", "/a/./b", "/a/%2e%2E/b", "/a/.%2e", "/a%2f..%2Fb", "/a\\..\\b", "/a%5c..%5Cb"] {
            assert!(path.split(['/', '\\']).any(is_dots), "{path}");
        }
        for path in ["/", "/a/b", "/a..b/...", "/.well-known/x", "/a/..b", "/%2e%2e%2e"] {
            assert!(!path.split(['/', '\\']).any(is_dots), "{path}");
        }
    }

    #[tokio::test]
    async fn groups_are_a_list_of_strings_however_they_are_written() {
        const WRONG: &str = "authorizationGroups is not a list of strings";
        let cases = [
            (json!(["a", "b"]), Ok(json!(["a", "b"]))),
            (json!(["a", null]), Ok(json!(["a", ""]))),
            (json!(r#"["a","b"]"#), Ok(json!(["a", "b"]))),
            (json!("group1"), Err(WRONG)),
            (json!(r#"{"a": 1}"#), Err(WRONG)),
            (json!(""), Err(WRONG)),
            (json!("null"), Err(WRONG)),
            (Value::Null, Err(WRONG)),
            (json!(5), Err(WRONG)),
            (json!({"a": "b"}), Err(WRONG)),
            (json!(["a", 1]), Err(WRONG)),
            (json!(["a", ["b"]]), Err(WRONG)),
            (json!([]), Err("not authorized: neither a user nor groups")),
        ];
        for (groups, expected) in cases {
            let spec = json!({"authorizationGroups": {"selector": "auth.identity.g"}});
            let asked = question(spec, json!({"g": groups})).await;
            let expected = expected.map_err(ToOwned::to_owned);
            assert_eq!(asked.map(|question| question["groups"].clone()), expected, "{groups}");
        }
        let spec = json!({"user": {"value": "u"}, "authorizationGroups": {"value": []}});
        assert!(question(spec, Value::Null).await.unwrap().get("groups").is_none());
    }

    #[tokio::test]
    async fn without_anybody_or_a_value_nothing_is_asked() {
        let cases = [
            (json!({"user": {"selector": "auth.identity.none"}}), "not authorized: neither a user nor groups"),
            (json!({"user": {"expression": "auth.identity.none"}}), "no such key: none"),
            (
                json!({"user": {"value": "u"}, "resourceAttributes": {"verb": {"expression": "auth.identity.none"}}}),
                "no such key: none",
            ),
        ];
        for (spec, reason) in cases {
            assert_eq!(question(spec.clone(), json!({})).await, Err(reason.to_owned()), "{spec}");
        }
    }

    #[tokio::test]
    async fn only_what_is_allowed_is_granted() {
        let cases = [
            (json!({"allowed": true}), Ok(())),
            (json!({"allowed": true, "reason": "RBAC", "evaluationError": "role not found"}), Ok(())),
            (json!({"allowed": false, "reason": "no rule matched"}), Err("not authorized: no rule matched")),
            (json!({"allowed": false}), Err("not authorized: unknown reason")),
            (json!({"allowed": false, "denied": true, "reason": null}), Err("not authorized: unknown reason")),
            (json!({"allowed": true, "denied": true}), Err("not authorized: unknown reason")),
            (json!({}), Err("not authorized: unknown reason")),
        ];
        for (status, expected) in cases {
            let rule = rule(json!({"user": {"value": "u"}}), Some(Scripted::status(status.clone())));
            let outcome = check(&rule, &Value::Null).await.map(|_| ());
            assert_eq!(outcome, expected.map_err(Failure::denied), "{status}");
        }
    }

    #[test]
    fn wrong_values_are_problems_of_their_fields() {
        let wrong = json!({"expression": "request.method +"});
        let spec =
            json!({"user": wrong, "authorizationGroups": wrong, "resourceAttributes": {"name": wrong, "verb": wrong}});
        let mut problems = Problems::default();
        let rule = build_with(&serde_json::from_value(spec).unwrap(), &FieldPath::root("k"), None, &mut problems);
        assert!(rule.is_none());
        let (problems, _) = problems.into_parts();
        let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
        let expected = ["user", "authorizationGroups", "resourceAttributes.name", "resourceAttributes.verb"];
        assert_eq!(paths, expected.map(|field| format!("k.{field}.expression")));
    }

    #[tokio::test]
    async fn without_an_answer_nothing_is_decided() {
        let spec = json!({"user": {"value": "u"}, "timeout": 250});
        let failure = check(&rule(spec.clone(), None), &Value::Null).await.unwrap_err();
        assert_eq!(failure, Failure::undecidable("kubernetes API is not configured", ""));
        let reviews = Scripted::broken();
        let failure = check(&rule(spec, Some(Arc::clone(&reviews))), &Value::Null).await.unwrap_err();
        assert_eq!(failure, Failure::undecidable("kubernetes API failed", "HTTP 500: it broke"));
        assert_eq!(reviews.asked()[0].1, Some(Duration::from_millis(250)));
    }
}
