//! The control interface: what the handle of a server can do, for other processes.
//!
//! | request | does |
//! |---|---|
//! | `GET /double/calls` | the recorded requests: `{"calls": […]}` |
//! | `DELETE /double/calls` | forgets them |
//! | `PUT /double/reviews` | scripts reviews: `{"tokenReviews": [{"match": {…}, "status": {…}}], "subjectAccessReviews": [{"match": {…}, "code": 500}]}`; replaces earlier scripts |
//! | `GET /double/reviews` | the reviews that were asked for: `{"reviews": […]}` |
//! | `PUT /double/faults` | sets faults, in place of earlier ones: `[{"code": 429, "verb": "list", "resource": "secrets", "times": 3}, {"delayMilliseconds": 50}, {"hang": true}]` |
//! | `DELETE /double/faults` | takes all faults away |
//! | `POST /double/compact` | forgets the history: a watch that begins earlier is too old |
//! | `POST /double/drop-watches` | ends all watches |
//! | `POST /double/bookmarks` | sends bookmarks to all watches that want them |
//! | `POST /double/away?milliseconds=500` | closes all connections and refuses new ones for this time |
//! | `PUT /double/token` | the bearer token that requests must have: `{"token": "…"}`, or `null` for none |

use std::{sync::Arc, time::Duration};

use http::Response;
use serde_json::{Value, json};

use super::{
    Question,
    answer::{Answer, json_answer},
};
use crate::{failure::Failure, faults::Fault, server::Control, state::State};

/// Answers a request to the control interface; `path` stands after `/double/`.
///
/// # Errors
///
/// 400 for what cannot be understood, 404 for other paths.
pub(crate) fn answer(
    state: &Arc<State>,
    control: &Control,
    path: &str,
    question: &Question,
) -> Result<Response<Answer>, Failure> {
    match (question.method.as_str(), path) {
        ("GET", "calls") => {
            let calls: Vec<Value> = state.journal().calls().map(|call| call.to_value()).collect();
            return Ok(json_answer(200, &json!({"calls": calls})));
        }
        ("DELETE", "calls") => state.journal().forget(),
        ("PUT", "reviews") => state.reviews().read(&question.json()?).map_err(Failure::bad_request)?,
        ("GET", "reviews") => return Ok(json_answer(200, &json!({"reviews": state.reviews().asked}))),
        ("PUT", "faults") => {
            let wanted = question.json()?;
            let wanted = wanted.as_array().ok_or_else(|| Failure::bad_request("expected a list of faults"))?;
            let read: Vec<Fault> =
                wanted.iter().map(Fault::read).collect::<Result<_, _>>().map_err(Failure::bad_request)?;
            let mut faults = state.faults();
            faults.clear();
            read.into_iter().for_each(|fault| faults.add(fault));
            drop(faults);
            state.tell(|signal| signal.faults += 1);
        }
        ("DELETE", "faults") => {
            state.faults().clear();
            state.tell(|signal| signal.faults += 1);
        }
        ("POST", "compact") => state.store().compact(),
        ("POST", "drop-watches") => state.tell(|signal| signal.cuts += 1),
        ("POST", "bookmarks") => state.tell(|signal| signal.bookmarks += 1),
        ("POST", "away") => {
            let time = question.query.number("milliseconds")?.unwrap_or(1000);
            control.go_away_for(Duration::from_millis(time));
        }
        ("PUT", "token") => {
            state.settings().token = question.json()?["token"].as_str().map(str::to_owned);
        }
        _ => return Err(Failure::no_such_path()),
    }
    Ok(json_answer(200, &json!({})))
}
