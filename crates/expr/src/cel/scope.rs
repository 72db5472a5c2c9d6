//! One evaluation of the expressions of an environment over one document.
//!
//! Definitions are evaluated when they are first needed, at most once. Their values are kept apart from the document,
//! so that they can be borrowed by whatever needs them.

use std::{collections::HashMap, sync::OnceLock};

use cel::{
    ExecutionError,
    common::{
        types::{
            CelBool, CelBytes, CelDouble, CelDuration, CelInt, CelList, CelMap, CelMapKey, CelNull, CelOptional,
            CelString, CelTimestamp, CelUInt, Kind,
        },
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use serde_json::Value;

use super::{
    Program, Resolver, Variables,
    budget::{self, Budget},
    environment::Environment,
    extension::{Object, ObjectValue},
    functions::failure,
    lower::definition_index,
};
use crate::{document::Document, error::EvaluationError};

/// The expressions of an environment over a document. All that is evaluated shares one budget.
pub struct Scope<'a> {
    environment: &'a Environment,
    document: &'a dyn Document,
    kept: Box<[OnceLock<Result<Kept, EvaluationError>>]>,
}

/// The value of a definition.
struct Kept {
    value: Box<dyn Val>,
    /// What a copy of it costs.
    size: u64,
}

impl std::fmt::Debug for Scope<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Scope").finish_non_exhaustive()
    }
}

impl<'a> Scope<'a> {
    /// Nothing is evaluated yet. What will be is paid for out of the budget.
    #[must_use]
    pub fn new(environment: &'a Environment, document: &'a dyn Document, _: &'a Budget) -> Self {
        let kept = environment.definitions().iter().map(|_| OnceLock::new()).collect();
        Self { environment, document, kept }
    }

    /// The truth of a predicate of the environment.
    ///
    /// # Errors
    /// When it has no value, or one that is not boolean.
    pub fn test(&self, program: &Program) -> Result<bool, EvaluationError> {
        program.truth(self.document, &self.resolver(program))
    }

    /// The value of an expression of the environment as JSON.
    ///
    /// # Errors
    /// When it has no value, or one without a JSON form.
    pub fn evaluate(&self, program: &Program) -> Result<Value, EvaluationError> {
        program.value(self.document, &self.resolver(program))
    }

    /// The object that an expression of the environment gives.
    ///
    /// # Errors
    /// When it has no value, or one of another type.
    pub fn object<T: Object + Clone>(&self, program: &Program) -> Result<T, EvaluationError> {
        program.interpret(self.document, &self.resolver(program), |value| {
            let object = value.downcast_ref::<ObjectValue>().and_then(ObjectValue::as_object::<T>);
            object.cloned().ok_or_else(|| failure("the value is not of the type that is wanted"))
        })
    }

    fn resolver<'s>(&'s self, program: &'s Program) -> InScope<'s> {
        InScope { variables: program.variables(self.document), scope: self }
    }
}

/// The variables of a lowered tree, those that stand for definitions included.
struct InScope<'s> {
    variables: Variables<'s>,
    scope: &'s Scope<'s>,
}

impl InScope<'_> {
    fn definition(&self, index: usize) -> Option<&Result<Kept, EvaluationError>> {
        let definition = self.scope.environment.definitions().get(index)?;
        Some(self.scope.kept.get(index)?.get_or_init(|| {
            let (program, document) = (&definition.program, self.scope.document);
            let value = program.interpret(document, &self.scope.resolver(program), |value| own(value.as_ref()));
            value.map(|value| Kept { size: budget::size(value.as_ref()), value })
        }))
    }
}

impl Resolver for InScope<'_> {
    fn failure(&self, error: &ExecutionError) -> Option<EvaluationError> {
        let ExecutionError::UndeclaredReference(name) = error else { return None };
        let index = definition_index(name)?;
        let name = &self.scope.environment.definitions().get(index)?.name;
        let failed = self.scope.kept.get(index)?.get()?.as_ref().err()?;
        Some(EvaluationError::new(format!("{name}: {failed}")))
    }
}

impl VariableResolver for InScope<'_> {
    /// A definition without a value is an unknown variable to the interpreter; [`Resolver::failure`] says why.
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let Some(index) = definition_index(variable) else { return self.variables.resolve(variable) };
        let kept = self.definition(index)?.as_ref().ok()?;
        budget::charge(kept.size).ok()?;
        Some(CowVal::Borrowed(kept.value.as_ref()))
    }
}

/// A copy that borrows nothing. Objects of the document become maps of the members that are there.
fn own(value: &dyn Val) -> Result<Box<dyn Val>, ExecutionError> {
    budget::charge(1)?;
    Ok(match value.get_type().kind() {
        Kind::NullType => Box::new(CelNull),
        Kind::List => {
            let mut elements = value.as_iterable().ok_or_else(unsupported)?.iter();
            let mut owned = Vec::new();
            while let Some(element) = elements.next() {
                owned.push(own(element)?);
            }
            Box::new(CelList::from(owned))
        }
        Kind::Map => {
            let members = value.as_indexer().ok_or_else(unsupported)?;
            let mut keys = value.as_iterable().ok_or_else(unsupported)?.iter();
            let mut owned = HashMap::new();
            while let Some(key) = keys.next() {
                let member = own(members.get(key)?.as_ref())?;
                owned.insert(CelMapKey::try_from(own(key)?).map_err(|_| unsupported())?, member);
            }
            Box::new(CelMap::from(owned))
        }
        _ => scalar(value)?,
    })
}

fn scalar(value: &dyn Val) -> Result<Box<dyn Val>, ExecutionError> {
    Ok(if let Some(value) = value.downcast_ref::<CelString>() {
        budget::charge_text(value.len())?;
        Box::new(CelString::from(value.inner().to_owned()))
    } else if let Some(value) = value.downcast_ref::<CelBytes>() {
        budget::charge_text(value.inner().len())?;
        Box::new(CelBytes::from(value.inner().to_vec()))
    } else if let Some(value) = value.downcast_ref::<CelOptional>() {
        Box::new(value.option().map(own).transpose()?.map_or_else(CelOptional::none, CelOptional::of))
    } else if let Some(value) = value.downcast_ref::<ObjectValue>() {
        value.clone_as_boxed()
    } else if let Some(value) = value.downcast_ref::<CelBool>() {
        value.clone_as_boxed()
    } else if let Some(value) = value.downcast_ref::<CelInt>() {
        value.clone_as_boxed()
    } else if let Some(value) = value.downcast_ref::<CelUInt>() {
        value.clone_as_boxed()
    } else if let Some(value) = value.downcast_ref::<CelDouble>() {
        value.clone_as_boxed()
    } else if let Some(value) = value.downcast_ref::<CelTimestamp>() {
        value.clone_as_boxed()
    } else if let Some(value) = value.downcast_ref::<CelDuration>() {
        value.clone_as_boxed()
    } else {
        return Err(unsupported());
    })
}

fn unsupported() -> ExecutionError {
    failure("a value of this type cannot be kept")
}

/// JSON as a value: all numbers are doubles, as those of the document.
pub(super) fn of_json(value: Value) -> Box<dyn Val> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(value) => Box::new(CelBool::from(value)),
        Value::Number(number) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        Value::String(text) => Box::new(CelString::from(text)),
        Value::Array(elements) => Box::new(CelList::from(elements.into_iter().map(of_json).collect::<Vec<_>>())),
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| (CelMapKey::from(name), of_json(value)));
            Box::new(CelMap::from(members.collect::<HashMap<_, _>>()))
        }
    }
}
