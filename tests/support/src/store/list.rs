//! Lists: of one moment, in pages.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::{Event, ObjectKey, Store, Stored};
use crate::{failure::Failure, filter::Filter, kind::Kind};

/// What a list asks for.
pub(crate) struct Question<'a> {
    pub(crate) filter: &'a Filter,
    /// The most objects of a page; 0 for all.
    pub(crate) limit: usize,
    /// From the page before.
    pub(crate) token: Option<&'a str>,
    /// The state at exactly this version.
    pub(crate) exactly: Option<u64>,
}

/// A list, or a part of one.
pub(crate) struct Page {
    pub(crate) objects: Vec<Arc<Stored>>,
    pub(crate) version: u64,
    pub(crate) token: Option<String>,
    pub(crate) remaining: Option<usize>,
}

/// Where the next page begins.
#[derive(Serialize, Deserialize)]
struct Token {
    version: u64,
    after: ObjectKey,
    remaining: Option<usize>,
}

impl Store {
    /// A page of the objects of a kind.
    ///
    /// # Errors
    ///
    /// 410 if the moment of the first page is forgotten, 400 for a token that is none.
    pub(crate) fn list(&self, kind: &Kind, question: &Question<'_>) -> Result<Page, Failure> {
        let Some(collection) = self.collections.get(&kind.key()) else { return Err(Failure::no_such_path()) };
        let token = question.token.map(Token::read).transpose()?;
        let version = token.as_ref().map(|token| token.version).or(question.exactly).unwrap_or(self.version);
        collection.check(version).map_err(|expired| match token {
            Some(_) => Failure::of_code(
                410,
                "The provided continue parameter is too old to display a consistent list result.  You can start a new \
                 list without the continue parameter.",
            ),
            None => expired,
        })?;
        // What was written since then, undone: the oldest event of an object knows what it was before.
        let mut before: BTreeMap<ObjectKey, Option<Arc<Stored>>> = BTreeMap::new();
        let start = collection.history.partition_point(|event| event.version <= version);
        for event in collection.history.iter().skip(start) {
            if let Some(key) = Event::key(event) {
                before.entry(key).or_insert_with(|| event.previous.clone());
            }
        }

        let filter = question.filter;
        let after = match (&token, &filter.namespace) {
            (Some(token), _) => Excluded(token.after.clone()),
            // No name is empty, so this is before the first of the namespace.
            (None, Some(namespace)) => Excluded((namespace.clone(), String::new())),
            (None, None) => Unbounded,
        };
        let range = (after, Unbounded);
        let mut page = Page { objects: Vec::new(), version, token: None, remaining: None };
        for object in Merged::new(collection.objects.range(range.clone()), before.range(range)) {
            if filter.namespace.as_ref().is_some_and(|namespace| *namespace != object.namespace) {
                break;
            }
            if !filter.matches(&object) {
                continue;
            }
            if question.limit > 0 && page.objects.len() == question.limit {
                page.token = page.objects.last().map(|last| last.key()).map(|after| {
                    page.remaining = if filter.has_selectors() {
                        None
                    } else {
                        let left = token.as_ref().map_or_else(
                            || count(&collection.objects, filter.namespace.as_deref()),
                            |token| token.remaining.unwrap_or_default(),
                        );
                        Some(left.saturating_sub(page.objects.len()))
                    };
                    Token { version, after, remaining: page.remaining }.write()
                });
                break;
            }
            page.objects.push(object);
        }
        Ok(page)
    }
}

impl Token {
    fn read(text: &str) -> Result<Self, Failure> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        bytes
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(|| Failure::bad_request("continue key is not valid"))
    }

    fn write(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap())
    }
}

fn count(objects: &BTreeMap<ObjectKey, Arc<Stored>>, namespace: Option<&str>) -> usize {
    match namespace {
        None => objects.len(),
        Some(namespace) => objects
            .range((Excluded((namespace.to_owned(), String::new())), Unbounded))
            .take_while(|((of, _), _)| of == namespace)
            .count(),
    }
}

/// The objects that there are, in order, with some of them replaced by what they were.
struct Merged<N: Iterator, B: Iterator> {
    now: std::iter::Peekable<N>,
    before: std::iter::Peekable<B>,
}

impl<N: Iterator, B: Iterator> Merged<N, B> {
    fn new(now: N, before: B) -> Self {
        Self { now: now.peekable(), before: before.peekable() }
    }
}

impl<'a, N, B> Iterator for Merged<N, B>
where
    N: Iterator<Item = (&'a ObjectKey, &'a Arc<Stored>)>,
    B: Iterator<Item = (&'a ObjectKey, &'a Option<Arc<Stored>>)>,
{
    type Item = Arc<Stored>;

    fn next(&mut self) -> Option<Arc<Stored>> {
        loop {
            let replaced = match (self.now.peek(), self.before.peek()) {
                (_, None) => return self.now.next().map(|(_, object)| Arc::clone(object)),
                (None, Some(_)) => false,
                (Some((now, _)), Some((before, _))) if now < before => {
                    return self.now.next().map(|(_, object)| Arc::clone(object));
                }
                (Some((now, _)), Some((before, _))) => now == before,
            };
            if replaced {
                self.now.next();
            }
            if let Some((_, Some(object))) = self.before.next() {
                return Some(Arc::clone(object));
            }
        }
    }
}
