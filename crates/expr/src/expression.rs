//! One value that a configuration asks for: written down, selected, or computed.

use std::borrow::Cow;

use serde_json::Value;

use crate::{
    cel,
    document::Document,
    error::{EvaluationError, ParseError},
    jsonpath::JsonPath,
    references::References,
    selector::Selector,
    template::Template,
    text,
};

/// A value that is known, or known how to be found. Parsed and checked when loaded, evaluated per request.
#[derive(Clone, Debug)]
pub enum Expression {
    /// The JSON as it was written, with its text form made in advance.
    Value {
        /// The JSON as it was written.
        value: Value,
        /// What stands in headers and bodies for it.
        text: String,
    },
    /// A path into the document.
    Selector(Selector),
    /// Text with paths in braces.
    Template(Template),
    /// A JSONPath query (RFC 9535).
    JsonPath(JsonPath),
    /// A CEL program.
    Cel(cel::Program),
}

impl Expression {
    /// A value that does not depend on the request.
    #[must_use]
    pub fn value(value: Value) -> Self {
        let text = text::stringify(&value).into_owned();
        Self::Value { value, text }
    }

    /// A selector: a path, or a template when it holds braces that belong to no modifier.
    ///
    /// # Errors
    /// When the path or the template cannot be parsed.
    pub fn selector(source: &str) -> Result<Self, ParseError> {
        if Template::is_template(source) {
            Template::parse(source).map(Self::Template)
        } else {
            Selector::parse(source).map(Self::Selector)
        }
    }

    /// A CEL expression of any type.
    ///
    /// # Errors
    /// When it cannot be parsed or does not type-check.
    pub fn cel(source: &str) -> Result<Self, ParseError> {
        cel::Program::expression(source).map(Self::Cel)
    }

    /// A JSONPath query.
    ///
    /// # Errors
    /// When it is not a query of RFC 9535.
    pub fn json_path(source: &str) -> Result<Self, ParseError> {
        JsonPath::parse(source).map(Self::JsonPath)
    }

    /// The parts of the document that it reads.
    #[must_use]
    pub fn references(&self) -> References {
        match self {
            Self::Value { .. } => References::default(),
            Self::Selector(selector) => selector.references(),
            Self::Template(template) => template.references(),
            Self::JsonPath(path) => path.references(),
            Self::Cel(program) => program.references(),
        }
    }

    /// The value for this document.
    ///
    /// # Errors
    /// CEL has values that do not exist; a selector that finds nothing yields null. Anything can take too much work
    /// for a document, or make too much of it.
    pub fn resolve(&self, document: &dyn Document) -> Result<Value, EvaluationError> {
        match self {
            Self::Value { value, .. } => Ok(value.clone()),
            Self::Selector(selector) => selector.try_select(document),
            Self::Template(template) => template.try_render(document).map(Value::String),
            Self::JsonPath(path) => path.try_select(document),
            Self::Cel(program) => program.evaluate(document),
        }
    }

    /// The value as text: strings as they are, null as the empty string, anything else as compact JSON. The members of
    /// objects are sorted by name, except in values that were written down.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn resolve_text<'a>(&'a self, document: &'a dyn Document) -> Result<Cow<'a, str>, EvaluationError> {
        match self {
            Self::Value { text, .. } => Ok(Cow::Borrowed(text)),
            Self::Selector(selector) => selector.try_stringify(document),
            Self::Template(template) => template.try_render(document).map(Cow::Owned),
            Self::JsonPath(path) => Ok(Cow::Owned(text::stringify_sorted(&path.try_select(document)?).into_owned())),
            Self::Cel(program) => Ok(Cow::Owned(text::stringify_sorted(&program.evaluate(document)?).into_owned())),
        }
    }
}
