//! What must hold: the methods of `spec.authorization`.

pub mod kubernetes_subject_access_review;
pub mod opa;
pub mod patterns;
pub mod spicedb;

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
            Method::boxed("AUTHORIZATION_OPA", opa::build(name, spec, &at.field("opa"), context, problems))
        }
        AuthorizationMethod::KubernetesSubjectAccessReview(spec) => {
            let at = at.field("kubernetesSubjectAccessReview");
            Method::new(
                "AUTHORIZATION_KUBERNETES",
                kubernetes_subject_access_review::build(spec, &at, context, problems),
            )
        }
        AuthorizationMethod::SpiceDb(spec) => {
            Method::new("AUTHORIZATION_AUTHZED", spicedb::build(spec, &at.field("spicedb"), context, problems))
        }
    });
    step(name, &spec.common, method, at, context, problems)
}
