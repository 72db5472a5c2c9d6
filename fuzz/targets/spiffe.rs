//! Identities of workloads, from the name of the connection and from the header in which proxies tell it.
//!
//! Input: a line that says what follows.
//!
//! | first line | the rest |
//! | --- | --- |
//! | `connection` | the name in the certificate of the connection |
//! | `header` | the header `x-forwarded-client-cert` |
//! | `appended` | what a client sent as that header; the gateway appends an element with the identity of `web` |
//! | `uri` | the URI in the certificate of the caller, which gateways write into that header as it is |

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tokio::runtime::Runtime;
use usher_engine::{Plan, Request, RequestParts, Verdict};

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";

fuzz_target!(|text: &str| {
    WORLD.with(|world| {
        let (what, rest) = usher_fuzz::line(text);
        match what {
            "connection" => _ = world.who("connection", rest),
            "header" => {
                let (only, last) = (world.who("only", rest), world.who("last", rest));
                // The only element is the last one.
                assert!(only.is_none() || only == last, "{only:?} {last:?}");
            }
            "appended" => {
                let header = format!("{rest},By=spiffe://cluster.local/ns/gateway/sa/gateway;Hash=1f;URI={WEB}");
                for rule in ["only", "last"] {
                    let who = world.who(rule, &header);
                    assert!(who.as_deref().is_none_or(|who| who == WEB), "{rule}: {who:?}");
                }
            }
            "uri" => {
                // Whatever is in the certificate, an authority of the gateway has signed it; but nobody is somebody else.
                let who = world.who("only", &format!("Hash=1f;URI={rest}"));
                let written = rest.replace('\\', "");
                let written = written.trim_start_matches(|letter: char| letter == '"' || letter.is_whitespace());
                assert!(who.as_deref().is_none_or(|who| written.starts_with(who)), "{who:?}");
            }
            _ => {}
        }
    });
});

thread_local! {
    static WORLD: World = World::new();
}

struct World {
    runtime: Runtime,
    plans: BTreeMap<String, Plan>,
}

impl World {
    fn new() -> Self {
        let plans = usher_fuzz::load(&usher_fuzz::compiler(false), include_str!("spiffe.yaml")).into_iter();
        let plans = plans.map(|compiled| (compiled.plan.name.to_string(), compiled.plan)).collect();
        let world = Self { runtime: usher_fuzz::runtime(), plans };
        // Nothing below would be reached otherwise.
        assert_eq!(world.who("connection", WEB).as_deref(), Some(WEB));
        assert_eq!(world.who("only", &format!("URI={WEB}")).as_deref(), Some(WEB));
        assert_eq!(world.who("only", &format!("URI=x,URI={WEB}")), None);
        assert_eq!(world.who("last", &format!("URI=x,URI={WEB}")).as_deref(), Some(WEB));
        world
    }

    /// Who is let in by this rule.
    fn who(&self, rule: &str, text: &str) -> Option<String> {
        let mut parts = RequestParts::default();
        match rule {
            "connection" => text.clone_into(&mut parts.source.principal),
            _ => _ = parts.headers.insert("x-forwarded-client-cert".to_owned(), text.to_owned()),
        }
        match usher_fuzz::decide(&self.runtime, &self.plans[rule], &Request::new(parts)) {
            Verdict::Allow(allow) => Some(id(&allow.additions().dynamic_metadata["who"])),
            Verdict::Deny(_) => None,
            // What stands there is the caller's doing, whatever is wrong with it.
            Verdict::Undecidable(undecided) => panic!("{undecided:?}"),
        }
    }
}

/// The identity, whose parts must be what it is made of.
fn id(who: &Value) -> String {
    let part = |name: &str| who[name].as_str();
    let (id, domain) = (part("id").expect("an ID"), part("trustDomain").expect("a trust domain"));
    let path = part("path").expect("a path");
    assert_eq!(id, format!("spiffe://{domain}{path}"));
    assert!(["cluster.local", "other.test"].contains(&domain), "{domain}");
    match (part("namespace"), part("serviceAccount")) {
        (Some(namespace), Some(account)) => assert_eq!(path, format!("/ns/{namespace}/sa/{account}")),
        parts => assert_eq!(parts, (None, None)),
    }
    id.to_owned()
}
