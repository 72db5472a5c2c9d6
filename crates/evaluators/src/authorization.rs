//! What must hold: the methods of `spec.authorization`.

pub mod opa;
pub mod patterns;

use usher_api::{AuthorizationMethod, AuthorizationSpec};
use usher_engine::Step;

use crate::{
    BuildContext, FieldPath, Problems,
    step::{Method, step},
};

/// Builds the authorization rule `name`.
pub fn build(
    name: &str,
    spec: &AuthorizationSpec,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<Step> {
    let method = problems.take(at, spec.method()).map(|method| match method {
        AuthorizationMethod::PatternMatching(spec) => {
            Method::new("AUTHORIZATION_JSON", patterns::build(spec, &at.field("patternMatching"), context, problems))
        }
        AuthorizationMethod::Opa(spec) => {
            Method::boxed("AUTHORIZATION_OPA", opa::build(spec, &at.field("opa"), context, problems))
        }
        AuthorizationMethod::KubernetesSubjectAccessReview(_) => {
            Method::unsupported("kubernetesSubjectAccessReview", at, problems)
        }
        AuthorizationMethod::SpiceDb(_) => Method::unsupported("spicedb", at, problems),
    });
    step(name, &spec.common, method, at, context, problems)
}
