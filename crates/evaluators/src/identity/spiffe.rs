//! `spiffe`: the SPIFFE identity of the caller, as the gateway or the mesh has verified it.
//!
//! # What it does
//! Takes the SPIFFE ID of the caller, such as `spiffe://cluster.local/ns/shop/sa/web`, and splits it into its parts. The
//! ID is believed as it is told. That it is true is for the gateway to see to, in the TLS handshake with the caller, and
//! `trust` says how the gateway tells it:
//!
//! | `trust` | the ID |
//! | --- | --- |
//! | `connection` | `source.principal`: the name in the certificate of the connection. The gateway must refuse certificates that it cannot verify |
//! | `xfcc` | the field `URI` of the header `x-forwarded-client-cert`. The gateway must write that header itself, or take it out of requests: a header that clients may set proves nothing |
//!
//! A header with several elements is refused, unless `xfccElement` says which one counts: each proxy that appends adds
//! one, so that the first one is of the farthest proxy. An element with several `URI` is refused.
//!
//! With `trustDomains` only identities of these count. Without, whoever the gateway's authorities vouch for counts.
//!
//! # Example
//! ```yaml
//! authentication:
//!   workload: {spiffe: {trust: connection, trustDomains: [cluster.local]}}
//! authorization:
//!   shop: {patternMatching: {patterns: [{predicate: auth.identity.namespace == "shop"}]}}
//! ```
//!
//! The identity; `namespace` and `serviceAccount` are null unless the path is `/ns/NAMESPACE/sa/ACCOUNT`, as meshes on
//! Kubernetes write it:
//! ```json
//! {"id": "spiffe://cluster.local/ns/shop/sa/web", "trustDomain": "cluster.local", "path": "/ns/shop/sa/web",
//!  "namespace": "shop", "serviceAccount": "web"}
//! ```
//!
//! # Errors
//! All of them are denials.
//! - `the connection has no SPIFFE identity`: the caller showed no certificate, or the gateway does not tell.
//! - `header x-forwarded-client-cert not found in request`, `XFCC header is empty`, `malformed XFCC header`, `no XFCC elements
//!   found`, `several XFCC elements found`, `no SPIFFE identity found in XFCC header`, `several URIs found in XFCC header`.
//! - `not a SPIFFE ID`: it does not follow the SPIFFE specification (SPIFFE-ID, section 2).
//! - `the trust domain is not accepted`.

use std::borrow::Cow;

use serde_json::{Value, json};
use usher_api::{SpiffeSpec, SpiffeTrust, XFCC_HEADER, XfccElement};
use usher_engine::{Context, Evaluation, Evaluator, Failure};

use super::xfcc;
use crate::{FieldPath, Problems};

/// Finds out which workload is calling.
#[derive(Debug)]
pub struct Spiffe {
    trust: Trust,
    /// Empty: all.
    trust_domains: Vec<String>,
}

#[derive(Debug)]
enum Trust {
    Connection,
    Xfcc(Option<XfccElement>),
}

const NO_HEADER: &str = "header x-forwarded-client-cert not found in request";

/// Reads `spiffe` of a rule.
pub fn build(spec: &SpiffeSpec, at: &FieldPath<'_>, problems: &mut Problems) -> Option<Spiffe> {
    let trust = match spec.trust {
        SpiffeTrust::Connection => {
            if spec.xfcc_element.is_some() {
                problems.warn(&at.field("xfccElement"), "it says something only together with `trust: xfcc`");
            }
            Trust::Connection
        }
        SpiffeTrust::Xfcc => Trust::Xfcc(spec.xfcc_element),
    };
    let at = at.field("trustDomains");
    let mut are_sound = true;
    for (index, domain) in spec.trust_domains.iter().enumerate() {
        if !is_trust_domain(domain) {
            problems.add(&at.index(index), "it is not a trust domain such as `cluster.local`");
            are_sound = false;
        }
    }
    are_sound.then(|| Spiffe { trust, trust_domains: spec.trust_domains.clone() })
}

impl Spiffe {
    fn identify(&self, context: &Context<'_>) -> Result<Value, Failure> {
        let text = self.text(context)?;
        let id = SpiffeId::parse(&text).ok_or_else(|| Failure::denied("not a SPIFFE ID"))?;
        if !self.trust_domains.is_empty() && !self.trust_domains.iter().any(|domain| domain == id.trust_domain) {
            return Err(Failure::denied("the trust domain is not accepted"));
        }
        let (namespace, service_account) = id.workload().unzip();
        Ok(json!({
            "id": text,
            "trustDomain": id.trust_domain,
            "path": id.path,
            "namespace": namespace,
            "serviceAccount": service_account,
        }))
    }

    fn text<'a>(&self, context: &Context<'a>) -> Result<Cow<'a, str>, Failure> {
        let request = context.request();
        match self.trust {
            Trust::Connection => match &*request.parts().source.principal {
                "" => Err(Failure::denied("the connection has no SPIFFE identity")),
                principal => Ok(Cow::Borrowed(principal)),
            },
            Trust::Xfcc(element) => {
                let header = request.header(XFCC_HEADER);
                let header = header.ok_or_else(|| Failure::denied(NO_HEADER))?;
                xfcc::uri(header, element).map_err(Failure::denied)
            }
        }
    }
}

impl Evaluator for Spiffe {
    fn evaluate<'a>(&'a self, context: &'a Context<'a>) -> Evaluation<'a> {
        self.identify(context).map(Into::into).into()
    }

    fn credential<'a>(&self, context: &'a Context<'a>) -> Result<Option<Cow<'a, str>>, Failure> {
        self.text(context).map(Some)
    }
}

/// A SPIFFE ID, taken apart.
struct SpiffeId<'a> {
    trust_domain: &'a str,
    /// Empty, or it begins with a slash.
    path: &'a str,
}

/// The longest SPIFFE ID, and the longest trust domain, in bytes (SPIFFE-ID, section 2.3).
const MAX_ID: usize = 2048;
const MAX_TRUST_DOMAIN: usize = 255;

impl<'a> SpiffeId<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("spiffe://").filter(|_| text.len() <= MAX_ID)?;
        let (trust_domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let is_segment = |segment: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            !matches!(segment, "" | "." | "..") && segment.bytes().all(fits)
        };
        let mut segments = path.split('/').skip(1);
        (is_trust_domain(trust_domain) && segments.all(is_segment)).then_some(Self { trust_domain, path })
    }

    /// Namespace and service account, if the path has that form.
    fn workload(&self) -> Option<(&'a str, &'a str)> {
        let (namespace, account) = self.path.strip_prefix("/ns/")?.split_once("/sa/")?;
        (!namespace.contains('/') && !account.contains('/')).then_some((namespace, account))
    }
}

fn is_trust_domain(text: &str) -> bool {
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    (1..=MAX_TRUST_DOMAIN).contains(&text.len()) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use usher_engine::{Request, RequestParts};

    use super::*;

    const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";

    fn rule(spec: Value) -> Spiffe {
        let mut problems = Problems::default();
        let spec = serde_json::from_value(spec).unwrap();
        let rule = build(&spec, &FieldPath::root("spiffe"), &mut problems);
        assert!(problems.into_parts().0.is_empty());
        rule.unwrap()
    }

    fn connection(principal: &str) -> RequestParts {
        let mut parts = RequestParts::default();
        principal.clone_into(&mut parts.source.principal);
        parts
    }

    fn xfcc(header: &str) -> RequestParts {
        RequestParts { headers: [(XFCC_HEADER, header)].into(), ..RequestParts::default() }
    }

    fn identify(rule: &Spiffe, parts: RequestParts) -> Result<Value, String> {
        let request = Request::new(parts);
        let context = Context::new(&request, None, None);
        rule.identify(&context).map_err(|failure| match failure {
            Failure::Denied(reason) => reason.to_string(),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn an_id_has_parts() {
        let rule = rule(json!({"trust": "connection"}));
        let parts = |id: &str, domain: &str, path: &str, namespace: Value, account: Value| {
            let identity = json!({
                "id": id, "trustDomain": domain, "path": path, "namespace": namespace, "serviceAccount": account,
            });
            assert_eq!(identify(&rule, connection(id)), Ok(identity), "{id}");
        };
        parts(WEB, "cluster.local", "/ns/shop/sa/web", json!("shop"), json!("web"));
        for (id, domain, path) in [
            ("spiffe://example.org/billing/db", "example.org", "/billing/db"),
            ("spiffe://example.org", "example.org", ""),
            ("spiffe://td/ns/shop/sa/web/x", "td", "/ns/shop/sa/web/x"),
            ("spiffe://td/ns/shop/other/sa/web", "td", "/ns/shop/other/sa/web"),
            ("spiffe://td/ns/shop/sa", "td", "/ns/shop/sa"),
            ("spiffe://td/x/ns/shop/sa/web", "td", "/x/ns/shop/sa/web"),
        ] {
            parts(id, domain, path, Value::Null, Value::Null);
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let rule = rule(json!({"trust": "connection"}));
        let long = format!("spiffe://td/{}", "a".repeat(MAX_ID));
        for id in [
            "CN=carol,O=acme",
            "web.shop.svc",
            "https://cluster.local/ns/shop/sa/web",
            "SPIFFE://cluster.local/ns/shop/sa/web",
            "spiffe://",
            "spiffe:///ns/shop/sa/web",
            "spiffe://Cluster.local/ns/shop/sa/web",
            "spiffe://user@td/ns/shop/sa/web",
            "spiffe://td:443/ns/shop/sa/web",
            "spiffe://td/ns/shop/sa/web/",
            "spiffe://td//ns/shop/sa/web",
            "spiffe://td/ns/shop/sa/../sa/admin",
            "spiffe://td/ns/shop/sa/web?x=1",
            "spiffe://td/ns/shop/sa/web#x",
            "spiffe://td/ns/sh%6fp/sa/web",
            "spiffe://td/ns/shop/sa/wéb",
            &long,
        ] {
            assert_eq!(identify(&rule, connection(id)), Err("not a SPIFFE ID".to_owned()), "{id}");
        }
        assert_eq!(identify(&rule, connection("")), Err("the connection has no SPIFFE identity".to_owned()));
        assert_eq!(
            identify(&rule, xfcc(&format!("URI={WEB}"))),
            Err("the connection has no SPIFFE identity".to_owned())
        );
    }

    #[test]
    fn a_header_counts_only_where_it_is_trusted() {
        let any = rule(json!({"trust": "xfcc"}));
        let account = |rule: &Spiffe, parts| identify(rule, parts).map(|identity| identity["serviceAccount"].clone());
        assert_eq!(
            account(&any, xfcc(&format!("By=spiffe://cluster.local/ns/gw/sa/waypoint;URI={WEB}"))),
            Ok(json!("web"))
        );
        assert_eq!(account(&any, connection(WEB)), Err(NO_HEADER.to_owned()));
        assert_eq!(account(&any, xfcc("Hash=abc")), Err("no SPIFFE identity found in XFCC header".to_owned()));
        let two = "URI=spiffe://td/ns/a/sa/first,URI=spiffe://td/ns/a/sa/last";
        assert_eq!(account(&any, xfcc(two)), Err("several XFCC elements found".to_owned()));
        for element in ["first", "last"] {
            let chosen = rule(json!({"trust": "xfcc", "xfccElement": element}));
            assert_eq!(account(&chosen, xfcc(two)), Ok(json!(element)));
        }
        let names = format!("URI={WEB};URI=spiffe://cluster.local/ns/shop/sa/admin");
        assert_eq!(account(&any, xfcc(&names)), Err("several URIs found in XFCC header".to_owned()));
        assert_eq!(account(&any, xfcc("URI=https://web.shop")), Err("not a SPIFFE ID".to_owned()));
    }

    #[test]
    fn trust_domains_can_be_named() {
        let rule = rule(json!({"trust": "connection", "trustDomains": ["cluster.local", "other.org"]}));
        assert!(identify(&rule, connection(WEB)).is_ok());
        assert!(identify(&rule, connection("spiffe://other.org/x")).is_ok());
        for id in ["spiffe://evil.org/ns/shop/sa/web", "spiffe://cluster.local.evil.org/x", "spiffe://local/x"] {
            assert_eq!(identify(&rule, connection(id)), Err("the trust domain is not accepted".to_owned()));
        }
        let mut problems = Problems::default();
        let spec = json!({"trust": "connection", "trustDomains": ["spiffe://td", "td/"], "xfccElement": "last"});
        assert!(build(&serde_json::from_value(spec).unwrap(), &FieldPath::root("s"), &mut problems).is_none());
        let (problems, warnings) = problems.into_parts();
        assert_eq!((problems.len(), warnings.len()), (2, 1));
    }

    #[test]
    fn the_id_is_the_credential_that_caches_go_by() {
        let rule = rule(json!({"trust": "connection"}));
        let request = Request::new(connection(WEB));
        let context = Context::new(&request, None, None);
        assert_eq!(rule.credential(&context).unwrap().as_deref(), Some(WEB));
        assert!(matches!(rule.evaluate(&context), Evaluation::Ready(Ok(_))));
    }
}
