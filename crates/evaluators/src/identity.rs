//! Who is asking: the methods of `spec.authentication`.

pub mod anonymous;
pub mod api_key;
pub mod extension;
pub mod jwt;
pub mod plain;

use usher_api::{AuthenticationMethod, AuthenticationSpec};
use usher_engine::plan::IdentityRule;

use crate::{
    BuildContext, FieldPath, Problems,
    credentials::{self, Credentials},
    step::{Method, step},
};

/// Builds the authentication rule `name`.
pub fn build(
    name: &str,
    spec: &AuthenticationSpec,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<IdentityRule> {
    let location = Credentials::build(spec.credentials.as_ref(), &at.field("credentials"), problems);
    let method = problems.take(at, spec.method());
    let challenge = match method {
        Some(AuthenticationMethod::Plain(_)) => Some(credentials::challenge("Plain", name)),
        _ => location.as_ref().map(|location| location.challenge(name)),
    };
    let extension = extension::build(spec, at, problems);
    let method = method.map(|method| match method {
        AuthenticationMethod::Anonymous(_) => Method::new("IDENTITY_NOOP", Some(anonymous::Anonymous::new())),
        AuthenticationMethod::ApiKey(spec) => {
            Method::new("IDENTITY_APIKEY", api_key::build(spec, location, &at.field("apiKey"), context, problems))
        }
        AuthenticationMethod::Jwt(spec) => {
            Method::new("IDENTITY_JWT", jwt::build(spec, location, &at.field("jwt"), context, problems))
        }
        AuthenticationMethod::Plain(spec) => {
            Method::new("IDENTITY_PLAIN", plain::build(spec, &at.field("plain"), problems))
        }
        AuthenticationMethod::OAuth2Introspection(_) => Method::unsupported("oauth2Introspection", at, problems),
        AuthenticationMethod::KubernetesTokenReview(_) => Method::unsupported("kubernetesTokenReview", at, problems),
        AuthenticationMethod::X509(_) => Method::unsupported("x509", at, problems),
    });
    let step = step(name, &spec.common, method, at, context, problems)?;
    Some(IdentityRule { step, extension, challenge: challenge? })
}
