//! The headers of a request: a few long texts instead of many short ones.
//!
//! ```text
//!  text     :methodGETacceptapplication/jsonx-request-id42
//!  entries  (0..7..10) (10..16..32) (32..44..46)           by name
//! ```
//!
//! Every check brings a dozen of them and looks at one or two. Kept in a map they would be thirty allocations.

use std::fmt;

/// Headers by lower-case name, in the order of their names; no name comes twice.
#[derive(Clone, Default)]
pub struct Headers {
    /// Name and value of each, one after the other.
    text: String,
    /// Sorted by name.
    entries: Vec<Entry>,
}

/// Where a header is in the text: `name_start..value_start..end`.
#[derive(Debug, Clone, Copy)]
struct Entry {
    name_start: usize,
    value_start: usize,
    end: usize,
}

impl Headers {
    /// The value of a header; the name is given in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let position = self.entries.binary_search_by(|entry| self.name(*entry).cmp(name)).ok()?;
        self.entries.get(position).map(|entry| self.value(*entry))
    }

    /// Names and values, in the order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.entries.iter().map(|entry| (self.name(*entry), self.value(*entry)))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sets a header in place of any of that name, which is given in lower case. Many at once are collected, or extended with.
    pub fn insert(&mut self, name: impl AsRef<str>, value: impl AsRef<str>) {
        self.extend([(name, value)]);
    }

    /// The memory that they hold, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.text.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    fn name(&self, entry: Entry) -> &str {
        self.text.get(entry.name_start..entry.value_start).unwrap_or_default()
    }

    fn value(&self, entry: Entry) -> &str {
        self.text.get(entry.value_start..entry.end).unwrap_or_default()
    }
}

/// Takes headers in any order.
#[derive(Debug, Default)]
pub struct Collector {
    headers: Headers,
    has_upper_case: bool,
    is_sorted: bool,
}

impl Collector {
    /// For names and values of so many bytes together, more or less.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let headers = Headers { text: String::with_capacity(bytes), entries: Vec::with_capacity(16) };
        Self { headers, has_upper_case: false, is_sorted: true }
    }

    /// Adds one. Of several with the very same name the last one counts, as in a map of protobuf.
    pub fn add(&mut self, name: &str, value: &str) {
        let Headers { text, entries } = &mut self.headers;
        let name_start = text.len();
        text.push_str(name);
        let value_start = text.len();
        text.push_str(value);
        self.has_upper_case |= name.bytes().any(|byte| byte.is_ascii_uppercase());
        let last = entries.last().and_then(|last| text.get(last.name_start..last.value_start));
        self.is_sorted &= last.is_none_or(|last| last < name);
        entries.push(Entry { name_start, value_start, end: text.len() });
    }

    /// The headers. Gateways send lower-case names. Should one not, two spellings do not become two headers, but one with
    /// both values.
    #[must_use]
    pub fn finish(self) -> Headers {
        let mut headers = self.headers;
        if !self.is_sorted {
            headers.sort();
        }
        if self.has_upper_case { headers.in_lower_case() } else { headers }
    }
}

impl Headers {
    /// Sorts by name; of several with the same name, the last one stays.
    fn sort(&mut self) {
        let text = &*self.text;
        let name = |entry: &Entry| text.get(entry.name_start..entry.value_start).unwrap_or_default();
        // What was added later lies further behind in the text.
        let place = |entry: &Entry| (entry.name_start, entry.end);
        self.entries
            .sort_unstable_by(|one, other| name(one).cmp(name(other)).then_with(|| place(other).cmp(&place(one))));
        self.entries.dedup_by(|later, kept| name(later) == name(kept));
        self.entries.shrink_to(self.entries.len() * 2);
    }

    fn in_lower_case(&self) -> Self {
        let mut spellings: Vec<(String, &str)> =
            self.iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        // Stable: the values of one name stay in the order of its spellings.
        spellings.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut collector = Collector::new(self.text.len());
        for spelled in spellings.chunk_by(|(one, _), (other, _)| one == other) {
            let values: Vec<&str> = spelled.iter().map(|(_, value)| *value).collect();
            if let [(name, _), ..] = spelled {
                collector.add(name, &values.join(","));
            }
        }
        collector.headers
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(headers: I) -> Self {
        let mut collector = Collector::new(0);
        headers.into_iter().for_each(|(name, value)| collector.add(name.as_ref(), value.as_ref()));
        collector.finish()
    }
}

impl<N: AsRef<str>, V: AsRef<str>> Extend<(N, V)> for Headers {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, headers: I) {
        let mut collector = Collector::new(self.text.len());
        self.iter().for_each(|(name, value)| collector.add(name, value));
        headers.into_iter().for_each(|(name, value)| collector.add(name.as_ref(), value.as_ref()));
        *self = collector.finish();
    }
}

impl<N: AsRef<str>, V: AsRef<str>, const LENGTH: usize> From<[(N, V); LENGTH]> for Headers {
    fn from(headers: [(N, V); LENGTH]) -> Self {
        headers.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_have_one_spelling() {
        let headers = Headers::from([("x-role", "b"), ("X-Role", "a"), ("x-other", "c"), ("X-ROLE", "d")]);
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("x-other", "c"), ("x-role", "d,a,b")]);
    }

    #[test]
    fn a_name_that_comes_twice_has_its_last_value() {
        let mut headers = Headers::from([("b", "1"), ("a", "2"), ("b", "3")]);
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
        assert_eq!(Headers::from([("a", "1"), ("a", "2")]).get("a"), Some("2"));
        headers.insert("a", "4");
        headers.insert("", "");
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("", ""), ("a", "4"), ("b", "3")]);
        assert_eq!(headers.get("c"), None);
    }

    /// The same by means of maps.
    fn expected(headers: &[(String, String)]) -> BTreeMap<String, String> {
        let as_sent: BTreeMap<&str, &str> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let mut expected: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in as_sent {
            expected
                .entry(name.to_ascii_lowercase())
                .and_modify(|present| {
                    present.push(',');
                    present.push_str(value);
                })
                .or_insert(value.to_owned());
        }
        expected
    }

    proptest! {
        #[test]
        fn headers_are_a_map(headers in prop::collection::vec(("[a-cA-Cé]{0,3}", "[a-b]{0,2}"), 0..20)) {
            let expected = expected(&headers);
            let found: Headers = headers.iter().map(|(name, value)| (name, value)).collect();
            prop_assert_eq!(found.len(), expected.len());
            prop_assert!(found.iter().eq(expected.iter().map(|(name, value)| (&**name, &**value))));
            for (name, value) in &expected {
                prop_assert_eq!(found.get(name), Some(&**value));
            }
            prop_assert_eq!(found.get("d"), None);
        }
    }
}
