//! Expression languages: parsed and checked once when a configuration is loaded, evaluated many times.
//!
//! | module | language |
//! | --- | --- |
//! | [`selector`] | paths such as `auth.identity.roles.#(name=="admin")`, with modifiers |
//! | [`template`] | text with selectors in braces |
//! | [`jsonpath`] | JSONPath, RFC 9535 |
//! | [`cel`] | the Common Expression Language with its strings extension and optional values |
//! | [`pattern`] | `selector operator value`, combined with all and any |
//!
//! All of them read a [`Document`]; none of them knows where it comes from.

pub mod cel;
pub mod document;
pub mod error;
pub mod expression;
mod interner;
pub mod jsonpath;
pub mod pattern;
pub mod references;
pub mod selector;
pub mod template;
pub mod text;

pub use document::{Document, Node, Part};
pub use error::{EvaluationError, ParseError};
pub use expression::Expression;
pub use pattern::Predicate;
pub use references::References;
