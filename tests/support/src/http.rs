//! The HTTP side: from a request to its answer.
//!
//! ```text
//!  request -> record -> faults -> token -> reviews | discovery | objects (get, list, watch, write)
//!          -> /double/… (control), which knows neither faults nor tokens
//! ```

mod answer;
mod control;
mod discovery;
mod objects;
mod route;
mod watch;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::Value;

pub(crate) use answer::Answer;
use answer::{failed, json_answer};
use route::{Query, Route, Target};

use crate::{calls::Call, failure::Failure, faults::Verdict, reviews::ReviewKind, server::Control, state::State};

/// The largest body, in bytes: that of kube-apiserver.
const MAX_BODY: usize = 3 << 20;

/// A request with its body.
pub(crate) struct Question {
    method: Method,
    path: String,
    query: Query,
    accept: String,
    content_type: String,
    body: Bytes,
}

impl Question {
    fn json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Failure::bad_request(format!("the object provided is unrecognized: {error}")))
    }
}

/// Answers a request.
pub(crate) async fn answer(state: Arc<State>, control: Control, request: Request<Incoming>) -> Response<Answer> {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return failed(&Failure::of_code(413, format!("the request cannot be read: {error}"))),
    };
    let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let question = Question {
        path: parts.uri.path().to_owned(),
        query: Query::parse(parts.uri.query().unwrap_or_default()),
        accept: header(header::ACCEPT),
        content_type: header(header::CONTENT_TYPE),
        method: parts.method,
        body,
    };
    if let Some(path) = question.path.strip_prefix("/double/") {
        return control::answer(&state, &control, path, &question).unwrap_or_else(|failure| failed(&failure));
    }
    let route = Route::find(&state, &question.path);
    let mut call = call(&question, &route);
    call.path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    call.user_agent = Some(header(header::USER_AGENT)).filter(|agent| !agent.is_empty());
    state.journal().record(call.clone());
    state.poke();
    if let Err(failure) = faults(&state, &call).await {
        return failed(&failure);
    }
    let token = state.settings().token.clone();
    if token.is_some_and(|token| header(header::AUTHORIZATION) != format!("Bearer {token}")) {
        return failed(&Failure::of_code(401, "Unauthorized"));
    }
    let answered = match route {
        Ok(Route::Discovery(found)) => Ok(json_answer(200, &found)),
        Ok(Route::Review(kind)) => review(&state, kind, &question),
        Ok(Route::Objects(target)) => objects::answer(&state, &target, &question).await,
        Err(failure) => Err(failure),
    };
    answered.unwrap_or_else(|failure| failed(&failure))
}

fn review(state: &State, kind: ReviewKind, question: &Question) -> Result<Response<Answer>, Failure> {
    if question.method != Method::POST {
        return Err(Failure::of_code(405, "the server does not allow this method on the requested resource"));
    }
    let answer = state.reviews().answer(kind, question.json()?)?;
    state.poke();
    Ok(json_answer(201, &answer))
}

/// Does what the faults say, until none is about this request any more.
async fn faults(state: &State, call: &Call) -> Result<(), Failure> {
    let mut signal = state.signal.subscribe();
    loop {
        signal.mark_unchanged();
        let seen = signal.borrow().faults;
        // The guard of the lock must not live across a wait.
        let verdict = state.faults().verdict(call);
        match verdict {
            Verdict::Fine => return Ok(()),
            Verdict::Fail(failure) => return Err(failure),
            Verdict::Delay(by) => {
                tokio::time::sleep(by).await;
                return Ok(());
            }
            Verdict::Hang => {
                if signal.wait_for(|signal| signal.faults != seen).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

fn call(question: &Question, route: &Result<Route, Failure>) -> Call {
    let mut call = Call {
        verb: question.method.as_str().to_ascii_lowercase(),
        group: String::new(),
        resource: String::new(),
        namespace: None,
        name: None,
        path: String::new(),
        user_agent: None,
        content_type: Some(question.content_type.clone()).filter(|value| !value.is_empty()),
        body: serde_json::from_slice(&question.body).ok(),
    };
    match route {
        Ok(Route::Objects(target)) => {
            call.verb = verb(question, target).to_owned();
            call.group = target.kind.group.clone();
            call.resource = match &target.subresource {
                Some(subresource) => format!("{}/{subresource}", target.kind.plural),
                None => target.kind.plural.clone(),
            };
            (call.namespace, call.name) = (target.namespace.clone(), target.name.clone());
        }
        Ok(Route::Review(kind)) => {
            let (group, resource) = match kind {
                ReviewKind::Token => ("authentication.k8s.io", "tokenreviews"),
                ReviewKind::SubjectAccess => ("authorization.k8s.io", "subjectaccessreviews"),
            };
            (call.verb, call.group, call.resource) = ("create".to_owned(), group.to_owned(), resource.to_owned());
        }
        Ok(Route::Discovery(_)) | Err(_) => {}
    }
    call
}

/// What a request for objects is called in the rules of roles.
fn verb(question: &Question, target: &Target) -> &'static str {
    match (question.method.as_str(), &target.name) {
        ("GET" | "HEAD", _) if question.query.is_true("watch") => "watch",
        ("GET" | "HEAD", Some(_)) => "get",
        ("GET" | "HEAD", None) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", Some(_)) => "delete",
        ("DELETE", None) => "deletecollection",
        _ => "other",
    }
}

/// How long a watch runs if it does not say.
const WATCH_TIME: Duration = Duration::from_secs(30 * 60);
