//! From a review that asks to one that answers.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Deserialize;
use serde_json::{Value, json};

use super::workers::Reviewed;
use super::{Finding, Findings, Reviewer, Subject};

/// The most problems that are shown; the rest is only counted.
const MAX_PROBLEMS: usize = 50;

/// The most characters of a message of a problem.
const MAX_MESSAGE: usize = 1000;

/// The most warnings that are shown; the rest is only counted. The API server takes 4096 characters in all.
const MAX_WARNINGS: usize = 16;

/// The most characters of a warning; the API server cuts longer ones.
const MAX_WARNING: usize = 256;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<Asked>,
}

/// What is asked.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    uid: String,
    /// Of the object, as it is sent here.
    kind: Kind,
    /// Such as `status`; empty for the object itself.
    #[serde(default)]
    sub_resource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    operation: String,
    #[serde(default)]
    object: Value,
    /// What is there so far.
    #[serde(default)]
    old_object: Value,
}

#[derive(Deserialize)]
struct Kind {
    group: String,
    version: String,
    kind: String,
}

/// The answer to a review, or why it cannot be understood.
pub(super) fn answer(body: &[u8], subject: &Subject, reviewer: &dyn Reviewer) -> Reviewed {
    let review: Review =
        serde_json::from_slice(body).map_err(|error| format!("the body is not an {KIND} in JSON: {error}"))?;
    if (review.api_version.as_str(), review.kind.as_str()) != (API_VERSION, KIND) {
        return Err(format!(
            "the body must be an {KIND} of {API_VERSION}, and is `{}` of `{}`",
            short(&review.kind, MAX_WARNING),
            short(&review.api_version, MAX_WARNING)
        ));
    }
    let mut asked = review.request.ok_or_else(|| format!("the {KIND} has no request"))?;
    let verdict = match asked.operation.as_str() {
        // What is wrong with an object must not keep anybody from taking it away.
        "DELETE" | "CONNECT" => json!({ "allowed": true }),
        "CREATE" | "UPDATE" if !asked.kind.is(subject) => misplaced(&asked.kind, subject),
        // A status says what became of an object; whoever writes it cannot help what the object is like.
        "CREATE" | "UPDATE" if !asked.sub_resource.is_empty() => json!({ "allowed": true }),
        "CREATE" | "UPDATE" if asked.object.is_null() => return Err(format!("the {KIND} has no object")),
        "CREATE" | "UPDATE" => verdict(&mut asked, subject, reviewer),
        other => return Err(format!("the operation `{}` is not known", short(other, MAX_WARNING))),
    };
    let Value::Object(mut response) = verdict else { return Err("internal error".to_owned()) };
    response.insert("uid".to_owned(), asked.uid.into());
    Ok(json!({ "apiVersion": API_VERSION, "kind": KIND, "response": response }).to_string())
}

fn verdict(asked: &mut Asked, subject: &Subject, reviewer: &dyn Reviewer) -> Value {
    let object = std::mem::take(&mut asked.object);
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or(&asked.name).to_owned();
    // Labels, finalizers and the like of an object that was stored without us can be changed all the same: that makes
    // nothing worse, and without its finalizers taken off an object cannot go.
    let is_same = asked.operation == "UPDATE"
        && asked.old_object.get("spec").is_some_and(|old_spec| object.get("spec") == Some(old_spec));
    let Findings { problems, warnings } =
        catch_unwind(AssertUnwindSafe(|| reviewer.review(object))).unwrap_or_else(|_| {
            tracing::error!(namespace = asked.namespace, name, "reviewing an object panicked");
            let message = "it cannot be compiled: internal error".to_owned();
            Findings { problems: vec![Finding { path: "spec".to_owned(), message }], warnings: Vec::new() }
        });
    let (kind, namespace, operation) = (subject.kind, &asked.namespace, &asked.operation);
    if problems.is_empty() || is_same {
        let problems_before = problems.len();
        tracing::debug!(kind, namespace, name, operation, problems_before, warnings = warnings.len(), "allowed");
        let warnings: Vec<_> = problems.into_iter().chain(warnings).collect();
        let mut verdict = json!({ "allowed": true });
        if let (false, Some(verdict)) = (warnings.is_empty(), verdict.as_object_mut()) {
            verdict.insert("warnings".to_owned(), shown_as_warnings(&warnings).into());
        }
        return verdict;
    }
    tracing::info!(kind, namespace, name, operation, problems = problems.len(), "refused");
    json!({ "allowed": false, "status": invalid(&name, &problems, subject) })
}

/// The status of an object that is refused, of the form that objects have which the schema refuses: command line tools
/// show one cause on each line, others show the message.
fn invalid(name: &str, problems: &[Finding], subject: &Subject) -> Value {
    let mut shown: Vec<_> = problems
        .iter()
        .take(MAX_PROBLEMS)
        .map(|Finding { path, message }| {
            let path = if path.is_empty() { subject.kind } else { path };
            (short(path, MAX_MESSAGE), short(message, MAX_MESSAGE))
        })
        .collect();
    if let Some(more @ 1..) = problems.len().checked_sub(MAX_PROBLEMS) {
        shown.push((subject.kind.into(), format!("and {more} more problems").into()));
    }
    // Messages of compilers have several lines, of which the last points at a place.
    let between = if shown.iter().any(|(_, message)| message.contains('\n')) { "\n" } else { "; " };
    let message = shown.iter().map(|(path, message)| format!("{path}: {message}")).collect::<Vec<_>>().join(between);
    let causes: Vec<_> = shown
        .iter()
        .map(|(field, message)| json!({ "reason": "FieldValueInvalid", "field": field, "message": message }))
        .collect();
    json!({
        "status": "Failure",
        "code": 422,
        "reason": "Invalid",
        "message": message,
        "details": { "group": subject.group, "kind": subject.kind, "name": name, "causes": causes },
    })
}

/// The verdict about an object that nothing is known about here: to let it pass unseen would look like a review.
fn misplaced(found: &Kind, subject: &Subject) -> Value {
    let message = format!(
        "this webhook reviews objects of kind {} in {}/{}, not of kind {} in {}/{}: its registration names others",
        subject.kind,
        subject.group,
        subject.version,
        short(&found.kind, MAX_WARNING),
        short(&found.group, MAX_WARNING),
        short(&found.version, MAX_WARNING),
    );
    tracing::warn!(message, "refused");
    json!({
        "allowed": false,
        "status": { "status": "Failure", "code": 400, "reason": "BadRequest", "message": message },
    })
}

/// Texts that fit into the `Warning` header that they end up in: of bounded length, in one line.
fn shown_as_warnings(findings: &[Finding]) -> Vec<String> {
    let text = |Finding { path, message }: &Finding| {
        let text = if path.is_empty() { message.clone() } else { format!("{path}: {message}") };
        let text = text.replace(char::is_control, " ");
        short(&text.split_whitespace().collect::<Vec<_>>().join(" "), MAX_WARNING).into_owned()
    };
    let more = findings.len().saturating_sub(MAX_WARNINGS);
    if more == 0 {
        return findings.iter().map(text).collect();
    }
    let shown = findings.iter().take(MAX_WARNINGS - 1).map(text);
    shown.chain([format!("and {} more warnings", more + 1)]).collect()
}

/// At most so many characters of a text.
fn short(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => text.into(),
        Some(_) => {
            let end = text.char_indices().nth(most.saturating_sub(1)).map_or(0, |(end, _)| end);
            format!("{}…", text.get(..end).unwrap_or_default()).into()
        }
    }
}

impl Kind {
    fn is(&self, subject: &Subject) -> bool {
        (self.group.as_str(), self.version.as_str(), self.kind.as_str())
            == (subject.group, subject.version, subject.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: Subject = Subject { group: "test.example", version: "v2", kind: "Thing" };

    /// Finds what the object says.
    struct Echo;

    impl Reviewer for Echo {
        fn review(&self, object: Value) -> Findings {
            let findings = |member: &str| {
                let list = object["spec"][member].as_array().cloned().unwrap_or_default();
                list.iter()
                    .map(|finding| Finding {
                        path: finding[0].as_str().unwrap().to_owned(),
                        message: finding[1].as_str().unwrap().to_owned(),
                    })
                    .collect()
            };
            assert!(object["spec"]["panic"].is_null(), "told to");
            Findings { problems: findings("problems"), warnings: findings("warnings") }
        }
    }

    fn ask(request: &Value) -> Result<Value, String> {
        let review = json!({ "apiVersion": API_VERSION, "kind": KIND, "request": request });
        answer(review.to_string().as_bytes(), &SUBJECT, &Echo).map(|text| {
            let answer: Value = serde_json::from_str(&text).unwrap();
            assert_eq!((answer["apiVersion"].as_str(), answer["kind"].as_str()), (Some(API_VERSION), Some(KIND)));
            answer["response"].clone()
        })
    }

    fn request(operation: &str, spec: &Value) -> Value {
        json!({
            "uid": "u-1",
            "kind": { "group": SUBJECT.group, "version": SUBJECT.version, "kind": SUBJECT.kind },
            "resource": { "group": SUBJECT.group, "version": SUBJECT.version, "resource": "things" },
            "namespace": "ns", "name": "a", "operation": operation, "userInfo": { "username": "emilia" },
            "object": { "metadata": { "name": "a" }, "spec": spec }, "oldObject": null, "dryRun": true, "options": null,
        })
    }

    fn with(mut request: Value, member: &str, value: Value) -> Value {
        request[member] = value;
        request
    }

    #[test]
    fn the_path_is_made_of_the_subject() {
        let subject = Subject { group: "authorino.kuadrant.io", version: "v1beta3", kind: "AuthConfig" };
        assert_eq!(subject.path(), "/validate-authorino-kuadrant-io-v1beta3-authconfig");
    }

    #[test]
    fn what_is_allowed() {
        let bad = json!({ "problems": [["spec.a", "is bad"]] });
        let doubtful = json!({ "warnings": [["spec.a", "is\n  odd"], ["", "odd"]] });
        let allowed = json!({ "allowed": true, "uid": "u-1" });
        let old = |spec: &Value| json!({ "metadata": {}, "spec": spec });
        let other_kind = json!({ "group": "", "version": "v1", "kind": "Pod" });
        for (name, request, expected) in [
            ("good", request("CREATE", &json!({})), allowed.clone()),
            ("changed", with(request("UPDATE", &json!({})), "oldObject", old(&bad)), allowed.clone()),
            (
                "doubtful",
                request("CREATE", &doubtful),
                json!({ "allowed": true, "uid": "u-1", "warnings": ["spec.a: is odd", "odd"] }),
            ),
            (
                "bad as it was",
                with(request("UPDATE", &bad), "oldObject", old(&bad)),
                json!({ "allowed": true, "uid": "u-1", "warnings": ["spec.a: is bad"] }),
            ),
            ("deleted", request("DELETE", &bad), allowed.clone()),
            ("deleted, of another kind", with(request("DELETE", &bad), "kind", other_kind), allowed.clone()),
            ("nothing is left", with(request("DELETE", &bad), "object", Value::Null), allowed.clone()),
            ("connected", request("CONNECT", &bad), allowed.clone()),
            ("only its status", with(request("UPDATE", &bad), "subResource", json!("status")), allowed),
        ] {
            assert_eq!(ask(&request), Ok(expected), "{name}");
        }
    }

    #[test]
    fn what_is_refused() {
        let two = json!({ "problems": [["spec.a", "is bad"], ["spec.b[0]", "is `x`"]] });
        let status = json!({
            "status": "Failure", "code": 422, "reason": "Invalid",
            "message": "spec.a: is bad; spec.b[0]: is `x`",
            "details": { "group": "test.example", "kind": "Thing", "name": "a", "causes": [
                { "reason": "FieldValueInvalid", "field": "spec.a", "message": "is bad" },
                { "reason": "FieldValueInvalid", "field": "spec.b[0]", "message": "is `x`" },
            ] },
        });
        let refused = json!({ "allowed": false, "status": status, "uid": "u-1" });
        assert_eq!(ask(&request("CREATE", &two)), Ok(refused.clone()));
        let changed = with(request("UPDATE", &two), "oldObject", json!({ "spec": { "problems": [] } }));
        assert_eq!(ask(&changed), Ok(refused));
        // A creation has no earlier version, whatever is said.
        let created = with(request("CREATE", &two), "oldObject", json!({ "spec": two }));
        assert_eq!(ask(&created).unwrap()["allowed"], json!(false));
        let message = |spec: Value| {
            let answer = ask(&request("CREATE", &spec)).unwrap();
            assert_eq!((&answer["allowed"], &answer["status"]["code"]), (&json!(false), &json!(422)));
            answer["status"]["message"].as_str().unwrap().to_owned()
        };
        assert_eq!(message(json!({ "problems": [["", "is bad"]] })), "Thing: is bad");
        let lines = json!({ "problems": [["spec.a", "is\n..^"], ["spec.b", "is bad"]] });
        assert_eq!(message(lines), "spec.a: is\n..^\nspec.b: is bad");
        assert_eq!(message(json!({ "panic": true })), "spec: it cannot be compiled: internal error");
    }

    #[test]
    fn objects_of_other_kinds_are_refused() {
        for (group, version, kind) in [
            ("", "v1", "Pod"),
            ("test.example", "v1", "Thing"),
            ("test.example", "v2", "Other"),
            ("other.example", "v2", "Thing"),
        ] {
            let kind_found = json!({ "group": group, "version": version, "kind": kind });
            let answer = ask(&with(request("CREATE", &json!({})), "kind", kind_found)).unwrap();
            assert_eq!(answer["allowed"], json!(false), "{answer}");
            assert_eq!(answer["status"]["code"], json!(400));
            let message = answer["status"]["message"].as_str().unwrap();
            let expected = format!(
                "this webhook reviews objects of kind Thing in test.example/v2, not of kind {kind} in {group}/{version}: \
                 its registration names others"
            );
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn answers_are_bounded() {
        let many = |count: usize, text: &str| -> Vec<Value> {
            (0..count).map(|number| json!([format!("spec.a[{number}]"), text])).collect()
        };
        let long = "é".repeat(2000);
        let answer = ask(&request("CREATE", &json!({ "problems": many(60, &long) }))).unwrap();
        let causes = answer["status"]["details"]["causes"].as_array().unwrap();
        assert_eq!(causes.len(), 51);
        assert_eq!(causes[0]["message"].as_str().unwrap(), format!("{}…", "é".repeat(999)));
        assert_eq!(causes[50]["message"], json!("and 10 more problems"));
        assert!(answer["status"]["message"].as_str().unwrap().ends_with("; Thing: and 10 more problems"));

        let warnings = |count: usize, text: &str| -> Vec<String> {
            let answer = ask(&request("CREATE", &json!({ "warnings": many(count, text) }))).unwrap();
            serde_json::from_value(answer["warnings"].clone()).unwrap()
        };
        assert_eq!(warnings(16, "odd").len(), 16);
        let shown = warnings(20, &long);
        assert_eq!((shown.len(), shown[15].as_str()), (16, "and 5 more warnings"));
        assert!(shown.iter().all(|warning| warning.chars().count() <= 256), "{shown:?}");
        assert!(shown.iter().map(|warning| warning.chars().count()).sum::<usize>() <= 4096);
    }

    #[test]
    fn what_is_not_a_review() {
        let good = request("CREATE", &json!({}));
        let review = |api_version: &str, kind: &str, request: &Value| {
            json!({ "apiVersion": api_version, "kind": kind, "request": request }).to_string()
        };
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        for (body, expected) in [
            (String::new(), "the body is not an AdmissionReview in JSON: EOF"),
            ("text".to_owned(), "the body is not an AdmissionReview in JSON: "),
            ("{}".to_owned(), "the body must be an AdmissionReview of admission.k8s.io/v1, and is `` of ``"),
            ("[]".to_owned(), "the body is not an AdmissionReview in JSON: "),
            (
                review("admission.k8s.io/v1beta1", KIND, &good),
                "the body must be an AdmissionReview of admission.k8s.io/v1, and is `AdmissionReview` of \
                 `admission.k8s.io/v1beta1`",
            ),
            (review(API_VERSION, "TokenReview", &good), "the body must be an AdmissionReview"),
            (review(API_VERSION, KIND, &Value::Null), "the AdmissionReview has no request"),
            (review(API_VERSION, KIND, &json!({})), "the body is not an AdmissionReview in JSON: missing field `uid`"),
            (
                review(API_VERSION, KIND, &with(good.clone(), "object", Value::Null)),
                "the AdmissionReview has no object",
            ),
            (review(API_VERSION, KIND, &request("PATCH", &json!({}))), "the operation `PATCH` is not known"),
            (
                review(API_VERSION, KIND, &with(good.clone(), "kind", json!("Thing"))),
                "the body is not an AdmissionReview in JSON: ",
            ),
            (review(API_VERSION, KIND, &good).replace("null", &deep), "the body is not an AdmissionReview in JSON: "),
        ] {
            let found = answer(body.as_bytes(), &SUBJECT, &Echo).unwrap_err();
            assert!(found.starts_with(expected), "{found:?} for {body}");
        }
    }
}
