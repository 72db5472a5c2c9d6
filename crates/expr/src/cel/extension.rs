//! Functions that are written in Rust, and the values that they make.
//!
//! The interpreter sees one function, `@call`, whose first argument says which one is meant, and one type of values:
//! which object is which is known to the type checker and to the functions.

use std::{any::Any, fmt, sync::Arc};

use cel::{
    ExecutionError,
    common::{
        traits::{Container, Indexer},
        types::{CelBool, CelInt, CelString, Type},
        value::{CowVal, StaticVal, Val},
    },
};
use serde_json::Value;

use super::{
    budget,
    functions::{Arguments, Outcome, failure, owned},
    json, scope,
};
use crate::error::EvaluationError;

/// What any call costs, in units of the budget.
const CALL: u64 = 20;

/// How much more a function does with its arguments than reading them once.
const WORK: u64 = 4;

/// What a function of a library does.
///
/// # Errors
/// When there is no value for these arguments. The text is shown in logs: it names types and functions, never values.
pub type Call = fn(&[Argument<'_>]) -> Result<Box<dyn Object>, EvaluationError>;

/// A value that a function of a library made. Expressions hand it on, and read its fields.
pub trait Object: Any + fmt::Debug + Send + Sync {
    /// The fields of the type, with their values.
    fn fields(&self) -> Vec<(&'static str, Value)> {
        Vec::new()
    }

    /// About how many bytes it holds: what functions that copy it have to pay for.
    fn size(&self) -> usize {
        0
    }
}

/// An argument of a function.
#[derive(Clone, Copy)]
pub struct Argument<'a>(&'a (dyn Val + 'a));

/// Shows no value: it may be a credential.
impl fmt::Debug for Argument<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("argument")
    }
}

impl<'a> Argument<'a> {
    /// The text.
    ///
    /// # Errors
    /// When it is something else.
    pub fn text(&self) -> Result<&'a str, EvaluationError> {
        self.0.downcast_ref::<CelString<'a>>().map(CelString::inner).ok_or_else(no_overload)
    }

    /// The whole number.
    ///
    /// # Errors
    /// When it is something else.
    pub fn integer(&self) -> Result<i64, EvaluationError> {
        self.0.downcast_ref::<CelInt>().map(|value| *value.inner()).ok_or_else(no_overload)
    }

    /// True or false.
    ///
    /// # Errors
    /// When it is something else.
    pub fn boolean(&self) -> Result<bool, EvaluationError> {
        self.0.downcast_ref::<CelBool>().map(|value| *value.inner()).ok_or_else(no_overload)
    }

    /// The value as JSON.
    ///
    /// # Errors
    /// When it has no JSON form, or is too large.
    pub fn json(&self) -> Result<Value, EvaluationError> {
        json::of_value(self.0).map_err(|error| match error {
            ExecutionError::FunctionError { message, .. } => EvaluationError::new(message),
            _ => no_overload(),
        })
    }

    /// The object, if it is one of this type.
    #[must_use]
    pub fn object<T: Object>(&self) -> Option<&'a T> {
        self.0.downcast_ref::<ObjectValue>().and_then(ObjectValue::as_object)
    }
}

fn no_overload() -> EvaluationError {
    EvaluationError::new("no such overload")
}

/// `@call(function, arguments…)`
pub(super) fn call<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let [function, arguments @ ..] = arguments.as_slice() else { return Err(failure("no such overload")) };
    let Some(Extension(function)) = function.downcast_ref::<Extension>() else {
        return Err(failure("no such overload"));
    };
    let price = arguments.iter().fold(0, |price: u64, argument| {
        let object = argument.downcast_ref::<ObjectValue>().map_or(0, |object| budget::text(object.object.size()));
        price.saturating_add(budget::size(argument.as_ref())).saturating_add(object)
    });
    budget::charge(CALL.saturating_add(price.saturating_mul(WORK)))?;
    let arguments: Vec<Argument<'_>> = arguments.iter().map(|argument| Argument(argument.as_ref())).collect();
    let object = function(&arguments).map_err(|error| failure(error.message))?;
    owned(ObjectValue::new(Arc::from(object)))
}

/// A function of a library, as a value that the interpreter carries from the program to [`call`].
#[derive(Clone, Copy)]
pub(super) struct Extension(pub(super) Call);

static EXTENSION_TYPE: Type = Type::new_unspecified_type("function");

impl fmt::Debug for Extension {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("function")
    }
}

impl Val for Extension {
    fn get_type(&self) -> &Type {
        &EXTENSION_TYPE
    }

    fn cel_type() -> &'static Type {
        &EXTENSION_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(*self)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Extension {}

/// An object as a CEL value. Its fields are made into values once.
#[derive(Clone)]
pub(super) struct ObjectValue {
    object: Arc<dyn Object>,
    fields: Arc<[(&'static str, Box<dyn Val>)]>,
}

static OBJECT_TYPE: Type = Type::new_unspecified_type("object");

impl ObjectValue {
    fn new(object: Arc<dyn Object>) -> Self {
        let fields = object.fields().into_iter().map(|(name, value)| (name, scope::of_json(value))).collect();
        Self { object, fields }
    }

    /// The object, if it is one of this type.
    pub(super) fn as_object<T: Object>(&self) -> Option<&T> {
        let object: &dyn Any = &*self.object;
        object.downcast_ref::<T>()
    }

    fn field(&self, key: &dyn Val) -> Option<&(dyn Val + 'static)> {
        let key = key.downcast_ref::<CelString>()?;
        self.fields.iter().find(|(name, _)| *name == key.inner()).map(|(_, value)| value.as_ref())
    }
}

/// Shows no values: they are credentials as often as not.
impl fmt::Debug for ObjectValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("object")
    }
}

impl Val for ObjectValue {
    fn get_type(&self) -> &Type {
        &OBJECT_TYPE
    }

    fn cel_type() -> &'static Type {
        &OBJECT_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        other.downcast_ref::<Self>().is_some_and(|other| Arc::ptr_eq(&self.object, &other.object))
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for ObjectValue {}

impl Container for ObjectValue {
    fn contains(&self, key: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(self.field(key).is_some())
    }
}

impl Indexer for ObjectValue {
    fn get<'b, 'v>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let missing = || ExecutionError::no_such_key(key.downcast_ref::<CelString>().map_or("", CelString::inner));
        self.field(key).map(CowVal::Borrowed).ok_or_else(missing)
    }

    fn steal<'v>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(key).map(CowVal::into_owned)
    }
}
