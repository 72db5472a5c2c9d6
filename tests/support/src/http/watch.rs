//! Watches: a line of JSON for each event.
//!
//! A watch holds nothing but the version that it has told of.
//! When something is written, it looks up in the history what came after.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::{
    sync::watch::Receiver,
    time::{Instant, sleep_until},
};

use super::answer::{Answer, raw_answer};
use crate::{
    failure::Failure,
    filter::Filter,
    kind::Kind,
    state::{Signal, State},
    store::{self, Event, Stored, View},
};

/// The most events that are looked up at once.
const MOST_AT_ONCE: usize = 1000;

/// What a client wants to watch.
pub(crate) struct Watching {
    pub(crate) kind: Arc<Kind>,
    pub(crate) filter: Filter,
    pub(crate) view: View,
    pub(crate) bookmarks: bool,
    pub(crate) time: Duration,
}

/// A watch that runs.
struct Watch {
    state: Arc<State>,
    wanted: Watching,
    signal: Receiver<Signal>,
    seen: Signal,
    /// All events up to this version were told.
    told: u64,
    ready: VecDeque<Bytes>,
    end: Instant,
    next_bookmark: Instant,
    over: bool,
    _open: Open,
}

/// Counts open watches.
struct Open {
    state: Arc<State>,
    resource: String,
}

/// Answers a watch that begins after `version`; with 0, at any time: first come the objects that there are.
///
/// # Errors
///
/// 410 if events after `version` are forgotten, and the server is set to say so at once.
pub(crate) fn answer(state: &Arc<State>, wanted: Watching, version: u64) -> Result<Response<Answer>, Failure> {
    let signal = state.signal.subscribe();
    let seen = *signal.borrow();
    let (bookmark_interval, refuse) = {
        let settings = state.settings();
        (settings.bookmark_interval, settings.refuse_expired_watches)
    };
    let mut ready = VecDeque::new();
    let mut over = false;
    let mut told = version;
    let store = state.store();
    if version == 0 {
        told = store.version();
        let asked = store::Question { filter: &wanted.filter, limit: 0, token: None, exactly: None };
        let page = store.list(&wanted.kind, &asked)?;
        ready.extend(page.objects.iter().map(|object| wanted.line("ADDED", object)));
    } else if let Err(expired) = store.check_start(&wanted.kind, version) {
        if refuse {
            return Err(expired);
        }
        ready.push_back(error_line(&expired));
        over = true;
    }
    drop(store);
    let now = Instant::now();
    let watch = Watch {
        state: Arc::clone(state),
        signal,
        seen,
        told,
        ready,
        end: now + wanted.time,
        next_bookmark: now + bookmark_interval,
        over,
        _open: Open::new(state, &wanted.kind.plural),
        wanted,
    };
    let lines = stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(line)), watch))
    });
    let mut answer = raw_answer(200, Bytes::new());
    *answer.body_mut() = StreamBody::new(lines).boxed_unsync();
    Ok(answer)
}

impl Watch {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.ready.is_empty() {
                return Some(self.take_ready());
            }
            if self.over {
                return None;
            }
            let signal = *self.signal.borrow_and_update();
            if signal.cuts != self.seen.cuts {
                return None;
            }
            // A watch that is too slow for the history ends; its client lists again.
            self.look_up().ok()?;
            if signal.bookmarks != self.seen.bookmarks {
                self.bookmark();
            }
            self.seen = signal;
            if !self.ready.is_empty() {
                continue;
            }
            tokio::select! {
                changed = self.signal.changed() => changed.ok()?,
                () = sleep_until(self.next_bookmark) => {
                    self.next_bookmark = Instant::now() + self.state.settings().bookmark_interval;
                    self.bookmark();
                }
                () = sleep_until(self.end) => {
                    self.bookmark();
                    self.over = true;
                }
            }
        }
    }

    /// Makes lines of what was written since.
    fn look_up(&mut self) -> Result<(), Failure> {
        loop {
            let (events, version) = {
                let store = self.state.store();
                (store.events_after(&self.wanted.kind, self.told, MOST_AT_ONCE)?, store.version())
            };
            self.ready.extend(events.iter().filter_map(|event| self.wanted.tell(event)));
            if events.len() < MOST_AT_ONCE {
                self.told = self.told.max(version);
                return Ok(());
            }
            if let Some(last) = events.last() {
                self.told = last.version;
            }
        }
    }

    fn bookmark(&mut self) {
        if self.wanted.bookmarks {
            let line = self.wanted.bookmark(self.told);
            self.ready.push_back(line);
        }
    }

    fn take_ready(&mut self) -> Bytes {
        if self.ready.len() == 1
            && let Some(line) = self.ready.pop_front()
        {
            return line;
        }
        let lines: Vec<Bytes> = self.ready.drain(..).collect();
        lines.concat().into()
    }
}

impl Watching {
    /// The line of an event, if it is about something that was or is selected.
    fn tell(&self, event: &Event) -> Option<Bytes> {
        let selected = |object: &Option<Arc<Stored>>| object.clone().filter(|object| self.filter.matches(object));
        match (selected(&event.previous), selected(&event.object)) {
            (None, None) => None,
            (None, Some(object)) => Some(self.line("ADDED", &object)),
            (Some(_), Some(object)) => Some(self.line("MODIFIED", &object)),
            (Some(previous), None) => Some(self.line("DELETED", &previous.at_version(&self.kind, event.version))),
        }
    }

    fn line(&self, event: &str, object: &Stored) -> Bytes {
        let mut line = format!("{{\"type\":\"{event}\",\"object\":").into_bytes();
        object.write(&self.kind, self.view, &mut line);
        line.extend_from_slice(b"}\n");
        line.into()
    }

    fn bookmark(&self, version: u64) -> Bytes {
        let (kind, api_version) = if self.view == View::Metadata {
            ("PartialObjectMetadata".to_owned(), "meta.k8s.io/v1".to_owned())
        } else {
            (self.kind.kind.clone(), self.kind.api_version())
        };
        let metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        event_line(&json!({"type": "BOOKMARK", "object": object}))
    }
}

fn error_line(failure: &Failure) -> Bytes {
    event_line(&json!({"type": "ERROR", "object": failure.to_value()}))
}

fn event_line(event: &Value) -> Bytes {
    format!("{event}\n").into()
}

impl Open {
    fn new(state: &Arc<State>, resource: &str) -> Self {
        state.journal().open_watches.push(resource.to_owned());
        state.poke();
        Self { state: Arc::clone(state), resource: resource.to_owned() }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut journal = self.state.journal();
        if let Some(at) = journal.open_watches.iter().position(|resource| *resource == self.resource) {
            journal.open_watches.swap_remove(at);
        }
        drop(journal);
        self.state.poke();
    }
}
