//! Who is asking: the methods of `spec.authentication`.

pub mod anonymous;
pub mod api_key;
pub mod extension;
pub mod jwt;
pub mod kubernetes_token_review;
pub mod oauth2_introspection;
pub mod plain;
pub mod spiffe;
pub mod x509;
mod xfcc;

use std::{collections::BTreeMap, sync::Arc};

use usher_api::{AuthenticationMethod, AuthenticationSpec};
use usher_engine::plan::{CredentialRemoval, IdentityRule};

use crate::{
    BuildContext, FieldPath, Problems,
    credentials::{self, Credentials},
    resources::oidc::Source,
    step::{Method, step},
};

/// What other rules may want to know of the authentication rules of an AuthConfig, by name.
pub type Identities = BTreeMap<String, Facts>;

/// What other rules may want to know of an authentication rule.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Where the credential of a request stands, if the rule looks for one.
    pub credentials: Option<Credentials>,
    /// The issuer of `jwt.issuerUrl`.
    pub issuer: Option<Arc<Source>>,
    /// Whether the members of its identities always stand in one order, which others know them by: that of an object
    /// of the Kubernetes API or of the subject of a certificate.
    pub is_ordered: bool,
}

/// Builds the authentication rule `name`, and says what other rules may want to know of it.
pub fn build(
    name: &str,
    spec: &AuthenticationSpec,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<(IdentityRule, Facts)> {
    let location = Credentials::build(spec.credentials.as_ref(), &at.field("credentials"), problems);
    let method = problems.take(at, spec.method());
    let challenge = match method {
        Some(AuthenticationMethod::Plain(_)) => Some(credentials::challenge("Plain", name)),
        Some(AuthenticationMethod::Spiffe(_)) => Some(credentials::challenge("SPIFFE", name)),
        Some(AuthenticationMethod::X509(_)) => Some(credentials::challenge("Certificate", name)),
        _ => location.as_ref().map(|location| location.challenge(name)),
    };
    let mut facts =
        Facts { credentials: location.clone(), issuer: None, is_ordered: is_ordered(spec, method.as_ref()) };
    let remove_credential = remove_credential(spec, method.as_ref(), location.as_ref(), at, problems);
    let extension = extension::build(spec, at, problems);
    let method = method.map(|method| match method {
        AuthenticationMethod::Anonymous(_) => Method::new("IDENTITY_NOOP", Some(anonymous::Anonymous::new())),
        AuthenticationMethod::ApiKey(spec) => {
            Method::new("IDENTITY_APIKEY", api_key::build(spec, location, &at.field("apiKey"), context, problems))
        }
        AuthenticationMethod::Jwt(spec) => {
            let jwt = jwt::build(spec, location, &at.field("jwt"), context, problems);
            facts.issuer = jwt.as_ref().and_then(jwt::Jwt::issuer);
            Method::new("IDENTITY_JWT", jwt)
        }
        AuthenticationMethod::Plain(spec) => {
            facts.credentials = None;
            Method::new("IDENTITY_PLAIN", plain::build(spec, &at.field("plain"), problems))
        }
        AuthenticationMethod::OAuth2Introspection(spec) => {
            let at = &at.field("oauth2Introspection");
            Method::new("IDENTITY_OAUTH2", oauth2_introspection::build(spec, location, at, context, problems))
        }
        AuthenticationMethod::KubernetesTokenReview(spec) => {
            let at = at.field("kubernetesTokenReview");
            Method::new("IDENTITY_KUBERNETES", kubernetes_token_review::build(spec, location, &at, context, problems))
        }
        AuthenticationMethod::Spiffe(spec) => {
            facts.credentials = None;
            Method::new("IDENTITY_SPIFFE", spiffe::build(spec, &at.field("spiffe"), problems))
        }
        AuthenticationMethod::X509(spec) => {
            facts.credentials = None;
            Method::new("IDENTITY_MTLS", x509::build(spec, &at.field("x509"), context, problems))
        }
    });
    let step = step(name, &spec.common, method, at, context, problems)?;
    Some((IdentityRule { step, extension, challenge: challenge?, remove_credential }, facts))
}

fn remove_credential(
    spec: &AuthenticationSpec,
    method: Option<&AuthenticationMethod<'_>>,
    location: Option<&Credentials>,
    at: &FieldPath<'_>,
    problems: &mut Problems,
) -> Option<Box<dyn CredentialRemoval>> {
    if !spec.remove_credential {
        return None;
    }
    match method? {
        AuthenticationMethod::ApiKey(_)
        | AuthenticationMethod::Jwt(_)
        | AuthenticationMethod::OAuth2Introspection(_)
        | AuthenticationMethod::KubernetesTokenReview(_) => Some(Box::new(location?.clone())),
        AuthenticationMethod::X509(_)
        | AuthenticationMethod::Spiffe(_)
        | AuthenticationMethod::Plain(_)
        | AuthenticationMethod::Anonymous(_) => {
            problems.add(&at.field("removeCredential"), "this method takes no credential from `credentials`");
            None
        }
    }
}

/// An identity that is extended is an object like any other.
fn is_ordered(spec: &AuthenticationSpec, method: Option<&AuthenticationMethod<'_>>) -> bool {
    use AuthenticationMethod::{ApiKey, KubernetesTokenReview, X509};
    let is_extended = !spec.defaults.is_empty() || !spec.overrides.is_empty();
    !is_extended && matches!(method, Some(ApiKey(_) | KubernetesTokenReview(_) | X509(_)))
}
