//! Checks a document against its schema, and tells everything that is wrong.

use serde_json::{Map, Value};

use crate::problem::Problems;
use crate::schema::{Kind, Schema};

/// What becomes of fields that the schema does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnknownFields {
    /// They are a problem: in files a slip of the pen must not switch a rule off.
    Refuse,
    /// They are dropped, as the Kubernetes API does.
    Drop,
}

/// Checks a value and leaves in it only what the types can read: fields that are null count as missing, as for the
/// Kubernetes API. `path` is where the value stands in its document.
pub(crate) fn check(schema: &Schema, value: &mut Value, path: &str, unknown: UnknownFields, problems: &mut Problems) {
    Checker { path: path.to_owned(), unknown, problems }.check(schema, value);
}

struct Checker<'a> {
    /// Where the checker is, such as `spec.when[0]`.
    path: String,
    unknown: UnknownFields,
    problems: &'a mut Problems,
}

impl Checker<'_> {
    fn check(&mut self, schema: &Schema, value: &mut Value) {
        match (&schema.kind, &mut *value) {
            (Kind::Any, _) => {}
            (Kind::NestedCondition, _) => self.check(Schema::condition(), value),
            (Kind::Object { properties, required, max_properties }, Value::Object(members)) => {
                self.members(properties, members);
                for name in required.iter().filter(|name| !members.contains_key(*name)) {
                    self.problem_at(name, "Required value".to_owned());
                }
                if let Some(max) = max_properties.filter(|max| members.len() as u64 > *max) {
                    self.problem(format!("Too many: {}: must have at most {max} items", members.len()));
                }
                for rule in &schema.rules {
                    if let Some((field, message)) = rule.check(members) {
                        self.problem_at(&field, message);
                    }
                }
            }
            (Kind::Map(values), Value::Object(members)) => {
                for (name, value) in members.iter_mut() {
                    self.at(name, |checker| checker.check(values, value));
                }
            }
            (Kind::Array(items), Value::Array(list)) => {
                for (index, value) in list.iter_mut().enumerate() {
                    let length = self.path.len();
                    self.path.push_str(&format!("[{index}]"));
                    self.check(items, value);
                    self.path.truncate(length);
                }
            }
            (Kind::String { values, .. }, Value::String(text)) => {
                if !values.is_empty() && !values.contains(text) {
                    let supported: Vec<_> = values.iter().map(|value| format!("\"{value}\"")).collect();
                    self.problem(format!("Unsupported value: \"{text}\": supported values: {}", supported.join(", ")));
                }
            }
            (Kind::Boolean, Value::Bool(_)) => {}
            (Kind::Integer { minimum, maximum }, Value::Number(number)) => match number.as_i64() {
                Some(number) => {
                    if let Some(minimum) = minimum.filter(|minimum| number < *minimum) {
                        self.problem(format!("Invalid value: {number}: should be greater than or equal to {minimum}"));
                    }
                    if let Some(maximum) = maximum.filter(|maximum| number > *maximum) {
                        self.problem(format!("Invalid value: {number}: should be less than or equal to {maximum}"));
                    }
                }
                None if number.is_u64() => self.problem(format!("Invalid value: {number}: is too large")),
                None => self.wrong_type("integer", value),
            },
            (Kind::Object { .. } | Kind::Map(_), _) => self.wrong_type("object", value),
            (Kind::Array(_), _) => self.wrong_type("array", value),
            (Kind::String { .. }, _) => self.wrong_type("string", value),
            (Kind::Integer { .. }, _) => self.wrong_type("integer", value),
            (Kind::Boolean, _) => self.wrong_type("boolean", value),
        }
    }

    fn members(&mut self, properties: &[(String, Schema)], members: &mut Map<String, Value>) {
        members.retain(|name, value| {
            let Some((_, schema)) = properties.iter().find(|(known, _)| known == name) else {
                if self.unknown == UnknownFields::Refuse && self.problems.is_full() {
                    self.problems.count();
                } else if self.unknown == UnknownFields::Refuse {
                    self.problem_at(name, suggest(name, properties.iter().map(|(known, _)| known.as_str())));
                }
                return false;
            };
            if value.is_null() {
                return false;
            }
            self.at(name, |checker| checker.check(schema, value));
            true
        });
    }

    fn at(&mut self, name: &str, then: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if !name.is_empty() && !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(name);
        then(self);
        self.path.truncate(length);
    }

    fn problem(&mut self, message: String) {
        self.problems.add(self.path.clone(), message);
    }

    fn problem_at(&mut self, field: &str, message: String) {
        self.at(field, |checker| checker.problem(message));
    }

    /// Names the types only: the value may be a secret.
    fn wrong_type(&mut self, expected: &str, found: &Value) {
        self.problem(format!("must be of type {expected}, found {}", type_name(found)));
    }
}

/// The name of a JSON value's type.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The message for an unknown field, with the known name that is nearest to it, if one is near.
pub(crate) fn suggest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let shown = shorten(name);
    // Names that are longer than any field cannot be near one; comparing them would only take time.
    let nearest = known
        .filter(|_| name.len() <= 64)
        .map(|candidate| (edits(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4);
    match nearest {
        Some((_, candidate)) => format!("unknown field `{shown}`, did you mean `{candidate}`?"),
        None => format!("unknown field `{shown}`"),
    }
}

/// A name for a message, cut if it is very long.
pub(crate) fn shorten(name: &str) -> String {
    const MOST: usize = 100;
    match name.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", name.split_at(end).0),
        None => name.to_owned(),
    }
}

/// How many letters must be inserted, deleted or replaced to get from one word to the other (Levenshtein distance).
fn edits(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut distances: Vec<usize> = (0..=other.len()).collect();
    for (row, a) in one.chars().enumerate() {
        let mut diagonal = row;
        let mut left = row + 1;
        for (b, above) in other.iter().zip(distances.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = *above;
            left = replaced.min(left + 1).min(*above + 1);
            *above = left;
        }
        if let Some(first) = distances.first_mut() {
            *first = row + 1;
        }
    }
    distances.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_between_words() {
        for (one, other, distance) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("selector", "selector", 0),
            ("selecter", "selector", 1),
            ("ab", "ba", 2),
        ] {
            assert_eq!(edits(one, other), distance, "{one} {other}");
        }
    }

    #[test]
    fn the_nearest_name_is_suggested_if_it_is_near() {
        let known = || ["issuerUrl", "jwksUrl", "ttl"].into_iter();
        assert_eq!(suggest("issuerURL", known()), "unknown field `issuerURL`, did you mean `issuerUrl`?");
        assert_eq!(suggest("isuerUrl", known()), "unknown field `isuerUrl`, did you mean `issuerUrl`?");
        assert_eq!(suggest("tll", known()), "unknown field `tll`, did you mean `ttl`?");
        assert_eq!(suggest("audience", known()), "unknown field `audience`");
        let long = "x".repeat(100_000);
        assert!(suggest(&long, known()).len() < 200);
    }
}
