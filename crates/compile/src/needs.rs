//! What an AuthConfig, or an AuthorizationPolicy, reads of a request, so that whoever sets up a gateway knows what it
//! must send along.
//!
//! ```text
//!   spec ──walk──► expressions ──references──► request.headers.x-tenant ──┐
//!          │                                                              ├─attributes─► header x-tenant
//!          └─────► credentials, certificates, headers of the answer ──────┘              body, as text
//! ```
//!
//! It is told from the specification alone, and never too little: of two requests that agree in all that is told, and
//! of which both have a header at all, an AuthConfig cannot tell one from the other. Where something is not known (the
//! name of a header is computed, a policy is downloaded), everything is told that it could be.

mod attributes;
mod walk;

use std::collections::BTreeMap;

use usher_api::{AuthConfig, AuthorizationPolicy};
use usher_engine::{request::NESTING_HEADER, route::RouteName};

/// What an AuthConfig reads, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs(BTreeMap<Attribute, Vec<Reading>>);

/// Something that a gateway may or may not send along with a check. Method, path with query, host, scheme, protocol,
/// time and addresses are always sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attribute {
    /// A header of the request, in lower case; `:path` and the like, too.
    Header(Which),
    /// A cookie. The header `cookie` is needed for it.
    Cookie(String),
    /// The list of headers as they came in, besides the headers.
    RawHeaders,
    /// The body.
    Body(Body),
    /// What the gateway's configuration says about the route, by name.
    ContextExtension(Which),
    /// The route, as the AuthConfig claims it.
    Route(RouteName),
    /// The name in the certificate of the client.
    SourcePrincipal,
    /// The certificate of the client.
    SourceCertificate,
    /// What the client calls itself, and its labels.
    SourceDetails,
    /// The name in the certificate of the gateway.
    DestinationPrincipal,
    /// The certificate, the service name and the labels of the gateway.
    DestinationDetails,
    /// What filters of the gateway found out before, by their namespace.
    FilterMetadata(Which),
    /// The same with types.
    TypedFilterMetadata(Which),
    /// What the gateway's configuration says about the route, by namespace.
    RouteMetadata(Which),
    /// The same with types.
    TypedRouteMetadata(Which),
    /// The server name of the TLS connection.
    TlsSession,
}

/// One of several that have names, or all of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// It is not known which.
    All,
    /// This one.
    Named(String),
}

/// How the body of a request is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Body {
    /// As text: bytes that are no text are lost.
    Text,
    /// As bytes.
    Bytes,
    /// Only how long it is.
    Size,
}

/// Where something is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The field, for example `spec.authorization.admins.opa.rego`. Empty: it is read whatever the configuration says.
    pub field: String,
    /// What is read there, in words that follow the name of the field: `reads `request.headers``.
    pub how: String,
}

/// The headers that a gateway must send along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Headers<'n> {
    /// All of them: it is not known which are read.
    All(&'n [Reading]),
    /// These, in alphabetical order.
    Named(Vec<&'n str>),
}

impl Needs {
    /// What an AuthConfig reads.
    ///
    /// Expressions that cannot be read make it read everything. Rego policies are compiled, which takes some
    /// milliseconds each.
    #[must_use]
    pub fn of(config: &AuthConfig) -> Self {
        let mut needs = Self::of_any();
        walk::auth_config(config, &mut needs);
        needs
    }

    /// What an AuthorizationPolicy reads. One that does not compile makes it everything.
    #[must_use]
    pub fn of_policy(policy: &AuthorizationPolicy) -> Self {
        let mut needs = Self::of_any();
        walk::authorization_policy(policy, &mut needs);
        needs
    }

    /// What is read whatever the configuration says.
    fn of_any() -> Self {
        let mut needs = Self::default();
        // Without any header `request.headers` does not exist, and expressions that read one have no value. Gateways
        // make this one up where the client sends none, so that there always is one.
        needs.add(Attribute::header("x-request-id"), "", "names the decision in the log and in answers");
        needs.add(
            Attribute::header(NESTING_HEADER),
            "",
            "counts requests of rules that lead back to rules, so that they come to an end",
        );
        needs
    }

    /// Adds what others read.
    pub fn add_all(&mut self, others: &Self) {
        for (attribute, readings) in &others.0 {
            let known = self.0.entry(attribute.clone()).or_default();
            for reading in readings {
                if !known.contains(reading) {
                    known.push(reading.clone());
                }
            }
        }
    }

    /// Everything that is read, and where.
    pub fn iter(&self) -> impl Iterator<Item = (&Attribute, &[Reading])> {
        self.0.iter().map(|(attribute, readings)| (attribute, readings.as_slice()))
    }

    /// Whether this is read.
    #[must_use]
    pub fn has(&self, attribute: &Attribute) -> bool {
        self.0.contains_key(attribute)
    }

    /// The headers that must be sent along.
    #[must_use]
    pub fn headers(&self) -> Headers<'_> {
        match self.0.get(&Attribute::Header(Which::All)) {
            Some(readings) => Headers::All(readings),
            None => Headers::Named(
                self.0
                    .keys()
                    .filter_map(|attribute| match attribute {
                        Attribute::Header(Which::Named(name)) => Some(name.as_str()),
                        _ => None,
                    })
                    .collect(),
            ),
        }
    }

    fn add(&mut self, attribute: Attribute, field: impl Into<String>, how: impl Into<String>) {
        let reading = Reading { field: field.into(), how: how.into() };
        let readings = self.0.entry(attribute).or_default();
        if !readings.contains(&reading) {
            readings.push(reading);
        }
    }
}

impl Attribute {
    fn header(name: &str) -> Self {
        Self::Header(Which::Named(name.to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests;
