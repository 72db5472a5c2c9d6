//! The functions and operators there are, with the types they take and give.

use std::{collections::HashMap, sync::LazyLock};

use super::types::Type;

/// One way to call a function.
#[derive(Debug)]
pub(super) struct Overload {
    /// Called as `target.function(arguments)`; the target is the first parameter.
    pub(super) member: bool,
    pub(super) parameters: Vec<Type>,
    pub(super) result: Type,
}

/// The ways to call `function`, or `None` if there is no such function.
pub(super) fn overloads(function: &str) -> Option<&'static [Overload]> {
    FUNCTIONS.get(function).map(Vec::as_slice)
}

/// The type that `name` stands for, for names of types such as `int` or `google.protobuf.Duration`.
pub(super) fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "google.protobuf.Duration" => Type::Duration,
        "google.protobuf.Timestamp" => Type::Timestamp,
        "int" => Type::Int,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "null_type" => Type::Null,
        "optional_type" => Type::optional(Type::Dyn),
        "string" => Type::String,
        "type" => Type::type_of(Type::Dyn),
        "uint" => Type::Uint,
        _ => return None,
    })
}

/// A function per line: its name, then the ways to call it, `(parameters) -> result` or
/// `target.(parameters) -> result`. A single capital letter is any type, the same one wherever it stands in a line's
/// alternative.
const DECLARATIONS: &str = "
_?_:_               (bool, A, A) -> A
_&&_                (bool, bool) -> bool
_||_                (bool, bool) -> bool
!_                  (bool) -> bool
@not_strictly_false (bool) -> bool
-_                  (int) -> int | (double) -> double
_==_                (A, A) -> bool
_!=_                (A, A) -> bool
_+_                 (bytes, bytes) -> bytes | (double, double) -> double | (duration, duration) -> duration | (duration, timestamp) -> timestamp | (timestamp, duration) -> timestamp | (int, int) -> int | (list(A), list(A)) -> list(A) | (string, string) -> string | (uint, uint) -> uint
_-_                 (double, double) -> double | (duration, duration) -> duration | (int, int) -> int | (timestamp, duration) -> timestamp | (timestamp, timestamp) -> duration | (uint, uint) -> uint
_*_                 (double, double) -> double | (int, int) -> int | (uint, uint) -> uint
_/_                 (double, double) -> double | (int, int) -> int | (uint, uint) -> uint
_%_                 (int, int) -> int | (uint, uint) -> uint
_<_                 (bool, bool) -> bool | (int, int) -> bool | (uint, uint) -> bool | (double, double) -> bool | (string, string) -> bool | (bytes, bytes) -> bool | (timestamp, timestamp) -> bool | (duration, duration) -> bool
_<=_                (bool, bool) -> bool | (int, int) -> bool | (uint, uint) -> bool | (double, double) -> bool | (string, string) -> bool | (bytes, bytes) -> bool | (timestamp, timestamp) -> bool | (duration, duration) -> bool
_>_                 (bool, bool) -> bool | (int, int) -> bool | (uint, uint) -> bool | (double, double) -> bool | (string, string) -> bool | (bytes, bytes) -> bool | (timestamp, timestamp) -> bool | (duration, duration) -> bool
_>=_                (bool, bool) -> bool | (int, int) -> bool | (uint, uint) -> bool | (double, double) -> bool | (string, string) -> bool | (bytes, bytes) -> bool | (timestamp, timestamp) -> bool | (duration, duration) -> bool
_[_]                (list(A), int) -> A | (map(K, V), K) -> V | (optional(list(A)), int) -> optional(A) | (optional(map(K, V)), K) -> optional(V)
_[?_]               (list(A), int) -> optional(A) | (optional(list(A)), int) -> optional(A) | (map(K, V), K) -> optional(V) | (optional(map(K, V)), K) -> optional(V)
@in                 (A, list(A)) -> bool | (K, map(K, V)) -> bool
size                (string) -> int | (bytes) -> int | (list(A)) -> int | (map(K, V)) -> int | string.() -> int | bytes.() -> int | list(A).() -> int | map(K, V).() -> int
type                (A) -> type(A)
dyn                 (A) -> dyn
bool                (bool) -> bool | (string) -> bool
bytes               (bytes) -> bytes | (string) -> bytes
double              (double) -> double | (int) -> double | (string) -> double | (uint) -> double
duration            (duration) -> duration | (string) -> duration
int                 (int) -> int | (double) -> int | (string) -> int | (timestamp) -> int | (uint) -> int
string              (string) -> string | (bool) -> string | (bytes) -> string | (double) -> string | (duration) -> string | (int) -> string | (timestamp) -> string | (uint) -> string
timestamp           (timestamp) -> timestamp | (int) -> timestamp | (string) -> timestamp
uint                (uint) -> uint | (double) -> uint | (int) -> uint | (string) -> uint
contains            string.(string) -> bool
endsWith            string.(string) -> bool
startsWith          string.(string) -> bool
matches             (string, string) -> bool | string.(string) -> bool
getFullYear         timestamp.() -> int | timestamp.(string) -> int
getMonth            timestamp.() -> int | timestamp.(string) -> int
getDate             timestamp.() -> int | timestamp.(string) -> int
getDayOfMonth       timestamp.() -> int | timestamp.(string) -> int
getDayOfWeek        timestamp.() -> int | timestamp.(string) -> int
getDayOfYear        timestamp.() -> int | timestamp.(string) -> int
getHours            timestamp.() -> int | timestamp.(string) -> int | duration.() -> int
getMinutes          timestamp.() -> int | timestamp.(string) -> int | duration.() -> int
getSeconds          timestamp.() -> int | timestamp.(string) -> int | duration.() -> int
getMilliseconds     timestamp.() -> int | timestamp.(string) -> int | duration.() -> int
charAt              string.(int) -> string
format              string.(list(dyn)) -> string
indexOf             string.(string) -> int | string.(string, int) -> int
join                list(string).() -> string | list(string).(string) -> string
lastIndexOf         string.(string) -> int | string.(string, int) -> int
lowerAscii          string.() -> string
replace             string.(string, string) -> string | string.(string, string, int) -> string
reverse             string.() -> string
split               string.(string) -> list(string) | string.(string, int) -> list(string)
strings.quote       (string) -> string
substring           string.(int) -> string | string.(int, int) -> string
trim                string.() -> string
upperAscii          string.() -> string
optional.none       () -> optional(A)
optional.of         (A) -> optional(A)
optional.ofNonZeroValue (A) -> optional(A)
hasValue            optional(A).() -> bool
or                  optional(A).(optional(A)) -> optional(A)
orValue             optional(A).(A) -> A
value               optional(A).() -> A
";

static FUNCTIONS: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    DECLARATIONS
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, alternatives)| (name, read(alternatives, &[])))
        .collect()
});

/// Reads alternatives as in [`DECLARATIONS`]; `objects` are the names of further types.
pub(super) fn read(alternatives: &str, objects: &[&'static str]) -> Vec<Overload> {
    alternatives.split(" | ").filter_map(|declaration| overload(declaration, objects)).collect()
}

/// Reads `(parameters) -> result` or `target.(parameters) -> result`.
fn overload(declaration: &str, objects: &[&'static str]) -> Option<Overload> {
    let type_expression = |text| type_expression(text, objects);
    let (signature, result) = declaration.trim().split_once(" -> ")?;
    let (target, parameters) = match signature.split_once(".(") {
        Some((target, parameters)) => (Some(type_expression(target)?), parameters),
        None => (None, signature.strip_prefix('(')?),
    };
    let member = target.is_some();
    let mut all: Vec<Type> = target.into_iter().collect();
    for parameter in separate(parameters.strip_suffix(')')?) {
        all.push(type_expression(parameter)?);
    }
    Some(Overload { member, parameters: all, result: type_expression(result)? })
}

pub(super) fn type_expression(text: &str, objects: &[&'static str]) -> Option<Type> {
    let text = text.trim();
    if let Some(object) = objects.iter().find(|object| **object == text) {
        return Some(Type::Object(object));
    }
    if let Some((name, inner)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        let mut parts = separate(inner).into_iter().map(|part| type_expression(part, objects));
        let first = parts.next()??;
        return Some(match name {
            "list" => Type::list(first),
            "optional" => Type::optional(first),
            "type" => Type::type_of(first),
            "map" => Type::map(first, parts.next()??),
            _ => return None,
        });
    }
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(letter), None) if letter.is_ascii_uppercase() => Some(Type::Parameter(letter)),
        _ => match text {
            "dyn" => Some(Type::Dyn),
            "duration" => Some(Type::Duration),
            "timestamp" => Some(Type::Timestamp),
            name => type_named(name),
        },
    }
}

/// Splits at the commas that are not inside parentheses.
fn separate(list: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    list.split(|character| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    })
    .filter(|part| !part.trim().is_empty())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_declaration_can_be_read() {
        for line in DECLARATIONS.lines().filter(|line| !line.is_empty()) {
            let (name, alternatives) = line.split_once(' ').unwrap();
            let read = overloads(name).unwrap();
            assert_eq!(read.len(), alternatives.split(" | ").count(), "{line}");
        }
    }

    #[test]
    fn targets_are_first_parameters() {
        let [join, join_with] = overloads("join").unwrap() else { panic!("two ways to join") };
        assert!(join.member && join_with.member);
        assert_eq!(join.parameters, [Type::list(Type::String)]);
        assert_eq!(join_with.parameters, [Type::list(Type::String), Type::String]);
        let [_, index, ..] = overloads("_[_]").unwrap() else { panic!("several ways to index") };
        let (key, value) = (Type::Parameter('K'), Type::Parameter('V'));
        assert_eq!(index.parameters, [Type::map(key.clone(), value.clone()), key]);
        assert_eq!(index.result, value);
    }
}
