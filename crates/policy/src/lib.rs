//! AuthorizationPolicies of the Kyverno Envoy plugin (`envoy.kyverno.io/v1alpha1`): compiled once, run on requests for
//! whose host there is no AuthConfig.
//!
//! ```text
//!  AuthorizationPolicy ──compile()──► CompiledPolicy, or all problems with their field paths
//!
//!  all CompiledPolicies, by name ──► Policies ──► a plan of the engine
//!      all deny rules, policy by policy; then all allow rules; the first that matches answers
//! ```
//!
//! ```yaml
//! apiVersion: envoy.kyverno.io/v1alpha1
//! kind: AuthorizationPolicy
//! metadata: {name: demo}
//! spec:
//!   variables:
//!   - {name: role, expression: 'object.attributes.request.http.headers[?"x-role"].orValue("")'}
//!   deny:
//!   - {match: 'variables.role == "guest"', response: 'envoy.Denied(403).WithBody("no guests").Response()'}
//!   allow:
//!   - {response: 'envoy.Allowed().WithHeader("x-validated-by", "usher").Response()'}
//! ```
//!
//! What differs from the plugin is stricter: a request that no rule matches is denied, a policy that is left out because
//! of an error (`failurePolicy: Ignore`) allows nothing, and a deny rule cannot allow.

mod compile;
mod envoy;
mod jwt;
mod policies;
mod request;

pub use compile::{CompiledPolicy, compile};
pub use policies::Policies;
