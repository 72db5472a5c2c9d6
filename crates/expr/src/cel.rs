//! The Common Expression Language over the authorization document.
//!
//! ```text
//!  source ─► parse ─► check ─► lower ─► Program          once, when a configuration is loaded
//!            limits   types    paths, constants, costs
//!
//!  Program + Document ─► interpreter of the crate `cel` ─► JSON or boolean          per request
//!                    └─► or directly, where it is simple enough
//!                        variables: paths, followed through the document
//! ```
//!
//! What an expression can name is said by an [`Environment`]. That of AuthConfigs is built in ([`Program::expression`],
//! [`Program::predicate`]); others have roots, definitions and functions of their own and are evaluated in a [`Scope`].
//!
//! The language is that of the standard library with its macros, the strings extension and optional values. The
//! variables of AuthConfigs are `request`, `source`, `destination`, `metadata` and `auth`, each of type
//! `map(string, dyn)`; one that the document does not have is null. Numbers of the document are doubles.
//!
//! Four things differ from cel-go, which other implementations of the AuthConfig API use:
//!
//! - where types are known only at run time, whole numbers and doubles mix in arithmetic, and the result is a double:
//!   `auth.identity.age + 1` works;
//! - `string()` prints the digits of whole numbers below 2^53: `string(request.time.seconds)` is no `1.7e+09`;
//! - a well-known scalar of the request that is empty reads as the empty value, while `has()` is false;
//! - a constant pattern of `matches` that is no regular expression is refused when it is loaded.
//!
//! # Limits
//!
//! Sources are at most [`SOURCE_LIMIT`] bytes long and [`DEPTH_LIMIT`] levels deep, with at most
//! [`COMPREHENSION_LIMIT`] comprehensions inside one another. An evaluation has a budget (see `cel/budget.rs`) out of
//! which the passes of comprehensions, what is read from the document and what is made of it are paid for; it ends
//! with `cost limit exceeded` within a second. Costs are estimates: what is not counted is
//! bounded by the length of the source times the length of the longest text.

mod bindings;
mod budget;
mod check;
mod declarations;
mod describe;
mod direct;
mod environment;
mod extension;
mod format;
mod functions;
mod json;
mod lower;
mod matches;
mod parse;
mod path;
mod references;
mod report;
mod scope;
mod text;
mod types;
mod value;

use std::{fmt, sync::Arc};

use cel::{
    Context, ExecutionError,
    common::{
        ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators},
        types::{CelBool, CelOptional},
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use serde_json::Value;

pub use self::{
    budget::{Budget, COST_LIMIT_EXCEEDED},
    environment::{Environment, Function, Library, ObjectType, Output},
    extension::{Argument, Call, Object},
    parse::with_large_stack,
    scope::Scope,
};
use self::{
    direct::Test,
    functions::ENVIRONMENT,
    lower::{Lowered, constant_index, path_index},
    parse::Parsed,
    path::Found,
    report::Report,
    types::Type,
};
use crate::{
    document::{Document, Node},
    error::{EvaluationError, ParseError},
    interner::Interner,
};

/// The most bytes that a source may have.
pub const SOURCE_LIMIT: usize = 16 * 1024;

/// The most levels that an expression may be deep, counted in operators, calls and selections inside one another.
pub const DEPTH_LIMIT: usize = 250;

/// The most comprehensions (`all`, `exists`, `exists_one`, `map`, `filter`) that may stand inside one another.
pub const COMPREHENSION_LIMIT: usize = 4;

/// A CEL expression, parsed and checked. Cheap to clone.
#[derive(Clone)]
pub struct Program {
    inner: Arc<Inner>,
}

struct Inner {
    source: String,
    lowered: Lowered,
    shape: Shape,
}

/// What kind of tree a program is. The most common ones need no interpreter.
enum Shape {
    /// A path alone.
    Path(usize),
    /// A path that must always be there, compared with a text.
    Comparison { path: usize, text: String, equal: bool },
    /// A predicate that can mostly be answered without the interpreter.
    Test(Test),
    /// Anything else.
    Tree,
}

/// A program and what is known about it.
struct Compiled {
    program: Program,
    output: Type,
    /// How many levels deep an evaluation may go, that of definitions included.
    depth: usize,
}

/// Accepts what may be boolean.
fn boolean(output: &Type) -> Result<(), ParseError> {
    match output {
        Type::Bool | Type::Dyn => Ok(()),
        other => Err(ParseError::new(format!("type error: got {other}, wanted bool output type"))),
    }
}

impl Program {
    /// An expression of any type.
    ///
    /// # Errors
    /// When it cannot be parsed, does not type-check, or exceeds a limit. The message shows the places.
    pub fn expression(source: &str) -> Result<Self, ParseError> {
        static KNOWN: Interner<Inner> = Interner::new();
        Self::shared(&KNOWN, source, |_| Ok(()))
    }

    /// As [`expression`](Self::expression), for a text that a request brought: it is not shared, so that requests cannot fill
    /// what all share.
    ///
    /// # Errors
    /// As [`expression`](Self::expression).
    pub fn expression_of_request(source: &str) -> Result<Self, ParseError> {
        Self::compile(source, Environment::of_auth_configs(), |_| Ok(())).map(|compiled| compiled.program)
    }

    /// An expression that must be boolean, or of a type that is known only at run time.
    ///
    /// # Errors
    /// As [`expression`](Self::expression), and when the type is another one.
    pub fn predicate(source: &str) -> Result<Self, ParseError> {
        static KNOWN: Interner<Inner> = Interner::new();
        Self::shared(&KNOWN, source, boolean)
    }

    /// A program that all who have the same source share: there are many with the same in a cluster.
    fn shared(
        known: &Interner<Inner>,
        source: &str,
        accept: impl FnOnce(&Type) -> Result<(), ParseError> + Send,
    ) -> Result<Self, ParseError> {
        let environment = Environment::of_auth_configs();
        let compile = || Self::compile(source, environment, accept).map(|compiled| compiled.program.inner);
        known.get_or_compile(source, compile).map(|inner| Self { inner })
    }

    fn compile(
        source: &str,
        environment: &Environment,
        accept: impl FnOnce(&Type) -> Result<(), ParseError> + Send,
    ) -> Result<Compiled, ParseError> {
        let (lowered, output, depth) = parse::on_large_stack(source, || {
            let Parsed { tree, positions, depth } = parse::parse(source)?;
            let mut report = Report::new(source);
            let checked = check::check(&tree, environment, &positions, &mut report);
            if !report.is_empty() {
                return Err(report.into_error());
            }
            accept(&checked.output)?;
            let lowered = lower::lower(tree, &checked, environment, &positions, &mut report);
            if !report.is_empty() {
                return Err(report.into_error());
            }
            let depth = environment.depth(depth, &lowered.definitions)?;
            Ok((lowered, checked.output, depth))
        })?;
        let shape = Shape::of(&lowered);
        let program = Self { inner: Arc::new(Inner { source: source.to_owned(), lowered, shape }) };
        Ok(Compiled { program, output, depth })
    }

    /// The text that the program was made from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.inner.source
    }

    /// The value for this document, by the rules of the protobuf JSON mapping: whole numbers beyond 2^53 and times are
    /// texts, bytes are base64.
    ///
    /// # Errors
    /// When the expression has no value for this document, or one without a JSON form.
    pub fn evaluate(&self, document: &dyn Document) -> Result<Value, EvaluationError> {
        let _budget = Budget::start();
        self.value(document, &self.variables(document))
    }

    fn value(&self, document: &dyn Document, resolver: &dyn Resolver) -> Result<Value, EvaluationError> {
        match &self.inner.shape {
            Shape::Path(index) => self.path(*index, document, |found| match found {
                Found::Plain(node) | Found::Optional(Some(node)) => json::of_node(node),
                Found::Optional(None) => Err(functions::failure("optional.none() dereference")),
                Found::Presence(present) => Ok(Value::Bool(present)),
            }),
            Shape::Comparison { path, text, equal } => {
                self.path(*path, document, |found| Ok(Value::Bool(is_text(&found, text) == *equal)))
            }
            Shape::Test(test) if let Some(answer) = test.answer(&self.inner.lowered, document) => {
                Ok(Value::Bool(answer))
            }
            Shape::Test(_) | Shape::Tree => self.interpret(document, resolver, |value| json::of_value(value.as_ref())),
        }
    }

    /// The truth of a predicate for this document.
    ///
    /// # Errors
    /// When it has no value for this document, or one that is not boolean.
    pub fn test(&self, document: &dyn Document) -> Result<bool, EvaluationError> {
        let _budget = Budget::start();
        self.truth(document, &self.variables(document))
    }

    fn truth(&self, document: &dyn Document, resolver: &dyn Resolver) -> Result<bool, EvaluationError> {
        match &self.inner.shape {
            Shape::Path(index) => self.path(*index, document, |found| match found {
                Found::Plain(Node::Bool(value) | Node::Json(&Value::Bool(value))) | Found::Presence(value) => Ok(value),
                Found::Plain(node) => Err(not_boolean(value::value(node)?.as_ref())),
                Found::Optional(_) => Err(not_boolean(&CelOptional::none())),
            }),
            Shape::Comparison { path, text, equal } => {
                self.path(*path, document, |found| Ok(is_text(&found, text) == *equal))
            }
            Shape::Test(test) if let Some(answer) = test.answer(&self.inner.lowered, document) => Ok(answer),
            Shape::Test(_) | Shape::Tree => {
                self.interpret(document, resolver, |value| match value.downcast_ref::<CelBool>() {
                    Some(value) => Ok(*value.inner()),
                    None => Err(not_boolean(value.as_ref())),
                })
            }
        }
    }

    /// Evaluates a program that is little more than a path.
    fn path<T>(
        &self,
        index: usize,
        document: &dyn Document,
        finish: impl FnOnce(Found<'_>) -> Result<T, ExecutionError>,
    ) -> Result<T, EvaluationError> {
        let Some(path) = self.inner.lowered.paths.get(index) else {
            return Err(EvaluationError::new("the expression cannot be evaluated"));
        };
        let found = path.follow(document).map_err(|lost| EvaluationError::new(describe::describe_lost(&lost)))?;
        finish(found).map_err(|error| self.error(&error, document))
    }

    fn interpret<T>(
        &self,
        document: &dyn Document,
        resolver: &dyn Resolver,
        finish: impl FnOnce(CowVal<'_, '_>) -> Result<T, ExecutionError>,
    ) -> Result<T, EvaluationError> {
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        context.set_variable_resolver(resolver);
        let outcome = cel::Value::resolve_val(&self.inner.lowered.tree, &context).and_then(finish);
        if budget::exceeded() {
            return Err(EvaluationError::new(budget::COST_LIMIT_EXCEEDED));
        }
        outcome.map_err(|error| resolver.failure(&error).unwrap_or_else(|| self.error(&error, document)))
    }

    fn variables<'a>(&'a self, document: &'a dyn Document) -> Variables<'a> {
        Variables { document, lowered: &self.inner.lowered }
    }

    fn error(&self, error: &ExecutionError, document: &dyn Document) -> EvaluationError {
        let Inner { source, lowered, .. } = self.inner.as_ref();
        EvaluationError::new(describe::describe(error, source, &lowered.paths, document))
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Program").field(&self.inner.source).finish()
    }
}

impl Shape {
    fn of(lowered: &Lowered) -> Self {
        let variable = |expression: &IdedExpr| match &expression.expr {
            Expr::Ident(name) => path_index(name),
            _ => None,
        };
        if let Some(index) = variable(&lowered.tree) {
            return Self::Path(index);
        }
        if let Expr::Call(CallExpr { func_name, target: None, args }) = &lowered.tree.expr
            && let [left, right] = args.as_slice()
            && (func_name == operators::EQUALS || func_name == operators::NOT_EQUALS)
            && let (Some(path), Expr::Literal(LiteralValue::String(text))) = match (variable(left), variable(right)) {
                (None, path) => (path, &left.expr),
                (path, _) => (path, &right.expr),
            }
            && lowered.paths.get(path).is_some_and(|path| !path.presence && !path.is_optional())
        {
            return Self::Comparison { path, text: text.inner().to_owned(), equal: func_name == operators::EQUALS };
        }
        Test::of(&lowered.tree, lowered).map_or(Self::Tree, Self::Test)
    }
}

fn is_text(found: &Found<'_>, text: &str) -> bool {
    match found {
        Found::Plain(Node::Text(found)) => *found == text,
        Found::Plain(Node::Json(Value::String(found))) => found == text,
        Found::Plain(node @ Node::Bytes(_)) => node.to_value() == text,
        _ => false,
    }
}

fn not_boolean(value: &dyn Val) -> ExecutionError {
    functions::failure(format!("type error: got {}, wanted bool output type", value.get_type().name()))
}

/// Gives variables of a lowered tree their values.
trait Resolver: VariableResolver {
    /// Why there is no value, where the resolver knows more than the interpreter.
    fn failure(&self, error: &ExecutionError) -> Option<EvaluationError>;
}

/// The variables of a lowered tree that stand for paths and constants.
struct Variables<'a> {
    document: &'a dyn Document,
    lowered: &'a Lowered,
}

impl Resolver for Variables<'_> {
    fn failure(&self, _: &ExecutionError) -> Option<EvaluationError> {
        None
    }
}

impl VariableResolver for Variables<'_> {
    /// A path that leads nowhere is an unknown variable to the interpreter; [`describe`] finds out why.
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(index) = path_index(variable) {
            return match self.lowered.paths.get(index)?.follow(self.document).ok()? {
                Found::Plain(node) => value::value(node).ok(),
                Found::Presence(present) => Some(CowVal::owned(CelBool::from(present))),
                Found::Optional(None) => Some(CowVal::owned(CelOptional::none())),
                Found::Optional(Some(node)) => {
                    Some(CowVal::owned(CelOptional::of(value::value(node).ok()?.into_owned())))
                }
            };
        }
        let constant = self.lowered.constants.get(constant_index(variable)?)?;
        Some(CowVal::Borrowed(constant.value()))
    }
}
