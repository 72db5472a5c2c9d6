//! The built-in functions: which there are, which of the engine's are watched, and which are ours.
//!
//! | where | functions |
//! | --- | --- |
//! | the engine | most of OPA's; those that can make much of little, or panic, pass a guard first ([`guards`]) |
//! | [`bounded`] | the engine's, written anew because no guard would do |
//! | [`crypto`] | hashes and message authentication codes |
//! | [`jwt`] | `io.jwt.decode`, `decode_verify`, `verify_*` |
//! | [`net`] | sets of networks |
//! | [`http`] | `http.send` |
//!
//! A function that fails is undefined, as in OPA without strict errors. A limit that is hit ends the evaluation.

mod bounded;
mod crypto;
mod guards;
pub(super) mod http;
mod jwt;
mod jwt_keys;
mod net;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
};

use regorus::{
    Extension, LimitError, Source, Value,
    unstable::{BUILTINS, BuiltinFcn, Expr, Ref, Span},
};

use super::budget::{Exhausted, exhaust};

/// A function of ours.
type Builtin = fn(&[Value]) -> Result<Value, Trouble>;
/// Looks at the arguments of a function of the engine before it is called.
type Guard = fn(&[Value]) -> Result<(), Trouble>;

/// Why a function has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// The arguments make no sense: undefined.
    Undefined,
    /// A limit was hit: the evaluation ends.
    Limit(Exhausted),
}

impl From<Exhausted> for Trouble {
    fn from(exhausted: Exhausted) -> Self {
        Self::Limit(exhausted)
    }
}

/// Our functions, by name, with the number of arguments.
const OURS: &[&[(&str, u8, Builtin)]] = &[bounded::FUNCTIONS, crypto::FUNCTIONS, jwt::FUNCTIONS, net::FUNCTIONS];

/// Functions of OPA that neither the engine nor we have.
const MISSING: &[&str] = &[
    "all",
    "any",
    "cast_array",
    "cast_boolean",
    "cast_null",
    "cast_object",
    "cast_set",
    "cast_string",
    "crypto.parse_private_keys",
    "crypto.x509.parse_and_verify_certificates",
    "crypto.x509.parse_and_verify_certificates_with_options",
    "crypto.x509.parse_certificate_request",
    "crypto.x509.parse_certificates",
    "crypto.x509.parse_keypair",
    "crypto.x509.parse_rsa_private_key",
    "graphql.is_valid",
    "graphql.parse",
    "graphql.parse_and_verify",
    "graphql.parse_query",
    "graphql.parse_schema",
    "graphql.schema_is_valid",
    "io.jwt.encode_sign",
    "io.jwt.encode_sign_raw",
    "json.match_schema",
    "json.verify_schema",
    "net.cidr_overlap",
    "net.lookup_ip_addr",
    "providers.aws.sign_req",
    "re_match",
    "regex.globs_match",
    "rego.metadata.chain",
    "rego.metadata.rule",
    "rego.parse_module",
    "set_diff",
    "strings.render_template",
];

/// How many arguments a function takes; `None` if there is no such function.
pub(super) fn arity(name: &str) -> Option<usize> {
    if name == "print" {
        return Some(1);
    }
    if MISSING.contains(&name) {
        return None;
    }
    ours(name).map(|(arity, _)| arity).or_else(|| BUILTINS.get(name).map(|(_, arity)| *arity)).map(usize::from)
}

/// Whether the engine does not know the function, so that it does not know how many arguments it takes either.
pub(super) fn is_ours(name: &str) -> bool {
    ours(name).is_some() && !BUILTINS.contains_key(name)
}

/// Whether OPA has the function, and we have not.
pub(super) fn is_missing(name: &str) -> bool {
    MISSING.contains(&name)
}

/// Whether the function may make much of little, or take long.
pub(super) fn grows(name: &str) -> bool {
    guards::guard(name).is_some() || ours(name).is_some()
}

/// What has to be registered with an engine for the function: nothing for those of the engine that need no guard.
pub(super) fn extension(name: &str, http: Option<&Arc<dyn http::HttpSend>>) -> Option<(u8, Box<dyn Extension>)> {
    if name == "http.send" {
        let client = Arc::clone(http?);
        return Some((1, Box::new(move |arguments: Vec<Value>| finish(http::send(client.as_ref(), &arguments)))));
    }
    if let Some((arity, function)) = ours(name) {
        return Some((arity, Box::new(move |arguments: Vec<Value>| finish(function(&arguments)))));
    }
    let guard = guards::guard(name)?;
    let (function, arity) = *BUILTINS.get(name)?;
    Some((arity, Box::new(move |arguments: Vec<Value>| finish(guarded((function, arity), guard, &arguments)))))
}

fn ours(name: &str) -> Option<(u8, Builtin)> {
    OURS.iter()
        .flat_map(|functions| functions.iter())
        .find(|(known, ..)| *known == name)
        .map(|(_, arity, f)| (*arity, *f))
}

fn finish(result: Result<Value, Trouble>) -> anyhow::Result<Value> {
    match result {
        Ok(value) => Ok(value),
        Err(Trouble::Undefined) => Ok(Value::Undefined),
        Err(Trouble::Limit(exhausted)) => Err(anyhow::Error::new(exhausted)),
    }
}

fn guarded(function: BuiltinFcn, guard: Guard, arguments: &[Value]) -> Result<Value, Trouble> {
    guard(arguments)?;
    native(function, arguments)
}

/// Calls a function of the engine as the engine would, without a place in a policy. Some panic on odd arguments.
fn native((function, _): BuiltinFcn, arguments: &[Value]) -> Result<Value, Trouble> {
    let Some((span, parameters)) = nowhere() else { return Err(Trouble::Undefined) };
    match catch_unwind(AssertUnwindSafe(|| function(span, parameters, arguments, false))) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if error.is::<LimitError>() => Err(exhaust("a built-in function hit a limit of its own").into()),
        Ok(Err(_)) => Err(Trouble::Undefined),
        Err(_) => Err(exhaust("a built-in function broke").into()),
    }
}

/// A place for errors that nobody will read.
fn nowhere() -> Option<(&'static Span, &'static [Ref<Expr>])> {
    static NOWHERE: OnceLock<Option<(Span, Vec<Ref<Expr>>)>> = OnceLock::new();
    NOWHERE
        .get_or_init(|| {
            let source = Source::from_contents(String::new(), String::new()).ok()?;
            let span = Span { source, line: 1, col: 1, start: 0, end: 0 };
            let parameter = || Ref::new(Expr::Null { span: span.clone(), value: Value::Null, eidx: 0 });
            let parameters = (0..8).map(|_| parameter()).collect();
            Some((span, parameters))
        })
        .as_ref()
        .map(|(span, parameters)| (span, parameters.as_slice()))
}

/// The text that is an argument.
fn text(arguments: &[Value], index: usize) -> Result<&str, Trouble> {
    match arguments.get(index) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(Trouble::Undefined),
    }
}

/// The argument.
fn argument(arguments: &[Value], index: usize) -> Result<&Value, Trouble> {
    arguments.get(index).ok_or(Trouble::Undefined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_known_once() {
        let mut names: Vec<&str> = OURS.iter().flat_map(|functions| functions.iter().map(|(name, ..)| *name)).collect();
        names.extend(guards::names());
        names.extend(MISSING);
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn guards_stand_before_functions_that_the_engine_has() {
        for name in guards::names() {
            assert!(BUILTINS.contains_key(name), "{name}");
        }
        for name in MISSING {
            assert_eq!(arity(name), None, "{name}");
        }
        assert_eq!(arity("io.jwt.decode_verify"), Some(2));
        assert_eq!(arity("count"), Some(1));
        assert_eq!(arity("no_such_function"), None);
    }
}
