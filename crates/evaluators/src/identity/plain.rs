//! `plain`: an identity that the request already carries.
//!
//! # What it does
//! Takes the value of a selector or expression for the identity, without any proof. It is meant for what the gateway
//! or another trusted filter has put into the request: dynamic metadata, a header that clients cannot set. The
//! `credentials` of the rule are not looked at.
//!
//! # Example
//! ```yaml
//! authentication:
//!   gateway:
//!     plain: {selector: 'metadata.filter_metadata.envoy\.filters\.http\.jwt_authn.payload'}
//! ```
//!
//! # Errors
//! - `could not retrieve identity object or null`: there is no such value, or it is null.
//! - The error of the expression, for example `no such key: x-user`.

use std::borrow::Cow;

use serde_json::Value;
use usher_api::PlainIdentitySpec;
use usher_engine::{Context, Evaluation, Evaluator, Failure};
use usher_expr::Expression;

use crate::{FieldPath, Problems, values};

/// Takes a value of the request for the identity.
#[derive(Debug)]
pub struct Plain {
    identity: Expression,
}

/// Reads `plain` of a rule.
pub fn build(spec: &PlainIdentitySpec, at: &FieldPath<'_>, problems: &mut Problems) -> Option<Plain> {
    let source = problems.take(at, spec.source())?;
    Some(Plain { identity: values::source(source, at, problems)? })
}

impl Plain {
    fn identity(&self, context: &Context<'_>) -> Result<Value, Failure> {
        match self.identity.resolve(context)? {
            Value::Null => Err(Failure::denied("could not retrieve identity object or null")),
            identity => Ok(identity),
        }
    }
}

impl Evaluator for Plain {
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
        self.identity(context).map(Into::into).into()
    }

    /// The value is its own credential: with a cache whose key depends on less of the request, nobody may be taken
    /// for whom the cache saw first.
    fn credential<'a>(&self, context: &'a Context<'a>) -> Result<Option<Cow<'a, str>>, Failure> {
        Ok(Some(Cow::Owned(self.identity(context)?.to_string())))
    }
}
