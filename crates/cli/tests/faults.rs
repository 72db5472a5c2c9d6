//! What every dependency can do to us, and what becomes of it: each fault, with each evaluator that asks somebody, in
//! each phase.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

#[path = "faults/server.rs"]
mod server;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use server::{FAULTS, Fault, Server};
use usher_api::{Document, Selector, read_documents};
use usher_compile::{Compiler, SecretChange, Update, Workspace};
use usher_engine::{PlanIndex, Request, RequestParts, Verdict, observe::Metrics, plan::OnConditionError};
use usher_evaluators::{Resources, Secrets, build_context::Options, resources::http};

/// An evaluator that asks somebody, and what must come of it when that somebody fails.
struct Asks {
    name: &'static str,
    /// The rules of the AuthConfig, with `{url}` and `{authority}` of the server.
    rules: &'static str,
    /// Steps of the conversation that go well, so that the next one fails.
    healthy: &'static [(&'static str, &'static str)],
    /// The decision.
    expected: &'static str,
    /// Faults with which there is another decision, and why that is right.
    but: &'static [(Fault, &'static str)],
}

/// An answer of any status and type is metadata: that is how the method is defined. `expectStatus` makes others of it.
const ANY_ANSWER_COUNTS: &[(Fault, &str)] =
    &[(Fault::InternalError, "OK"), (Fault::WrongType, "OK"), (Fault::Redirect, "OK")];

const EVALUATORS: &[Asks] = &[
    Asks {
        name: "jwt, discovery",
        rules: "authentication: {a: {jwt: {issuerUrl: '{url}', timeout: 300}}}",
        healthy: &[],
        expected: "UNAVAILABLE",
        but: &[],
    },
    Asks {
        name: "jwt, keys of the discovered issuer",
        rules: "authentication: {a: {jwt: {issuerUrl: '{url}', timeout: 300}}}",
        healthy: &[("/.well-known/openid-configuration", r#"{"issuer": "{url}", "jwks_uri": "{url}/keys"}"#)],
        expected: "UNAVAILABLE",
        but: &[],
    },
    Asks {
        name: "jwt, key set",
        rules: "authentication: {a: {jwt: {jwksUrl: '{url}/keys', timeout: 300}}}",
        healthy: &[],
        expected: "UNAVAILABLE",
        but: &[],
    },
    Asks {
        name: "oauth2Introspection",
        rules: "authentication: {a: {oauth2Introspection: {endpoint: '{url}/i', credentialsRef: {name: s}, timeout: 300}}}",
        healthy: &[],
        expected: "UNAVAILABLE",
        but: &[],
    },
    Asks {
        name: "metadata http",
        rules: "metadata: {m: {http: {url: '{url}/m', timeout: 300}}}",
        healthy: &[],
        expected: "OK",
        but: &[],
    },
    Asks {
        name: "metadata http that must be there",
        rules: "metadata: {m: {onError: deny, http: {url: '{url}/m', timeout: 300}}}",
        healthy: &[],
        expected: "UNAVAILABLE",
        but: ANY_ANSWER_COUNTS,
    },
    Asks {
        name: "metadata http with a status that must be",
        rules: "metadata: {m: {onError: deny, http: {url: '{url}/m', timeout: 300, expectStatus: [201]}}}",
        healthy: &[],
        expected: "UNAVAILABLE",
        but: &[],
    },
    Asks {
        name: "metadata http, token for it",
        rules: "metadata: {m: {onError: deny, http: {url: '{url}/m', timeout: 300, \
                oauth2: {tokenUrl: '{url}/t', clientId: c, clientSecretRef: {name: s, key: clientSecret}, timeout: 300}}}}",
        healthy: &[("/m", "{}")],
        expected: "UNAVAILABLE",
        but: &[],
    },
    Asks {
        name: "metadata userInfo",
        rules: "authentication: {a: {apiKey: {selector: {}}}}, metadata: {m: {onError: deny, userInfo: {userInfoUrl: '{url}/u', timeout: 300}}}",
        healthy: &[],
        expected: "UNAVAILABLE",
        but: &[],
    },
    Asks {
        name: "metadata uma, discovery",
        rules: "metadata: {m: {onError: deny, uma: {endpoint: '{url}', credentialsRef: {name: s}, timeout: 300}}}",
        healthy: &[],
        expected: "UNAVAILABLE",
        but: &[],
    },
    Asks {
        name: "metadata uma, discovery, with metadata that may be missing",
        rules: "metadata: {m: {uma: {endpoint: '{url}', credentialsRef: {name: s}, timeout: 300}}}",
        healthy: &[],
        expected: "UNAVAILABLE",
        but: &[],
    },
    Asks {
        name: "metadata uma, token",
        rules: "metadata: {m: {onError: deny, uma: {endpoint: '{url}', credentialsRef: {name: s}, timeout: 300}}}",
        healthy: &[(
            "/.well-known/uma2-configuration",
            r#"{"issuer": "{url}", "token_endpoint": "{url}/t", "resource_registration_endpoint": "{url}/r"}"#,
        )],
        expected: "UNAVAILABLE",
        but: &[],
    },
    Asks {
        name: "metadata uma, resources",
        rules: "metadata: {m: {onError: deny, uma: {endpoint: '{url}', credentialsRef: {name: s}, timeout: 300}}}",
        healthy: &[
            (
                "/.well-known/uma2-configuration",
                r#"{"issuer": "{url}", "token_endpoint": "{url}/t", "resource_registration_endpoint": "{url}/r"}"#,
            ),
            ("/t", r#"{"access_token": "pat", "expires_in": 300}"#),
        ],
        expected: "UNAVAILABLE",
        but: &[],
    },
    Asks {
        name: "opa externalPolicy",
        rules: "authorization: {z: {opa: {externalPolicy: {url: '{url}/p', timeout: 300}}}}",
        healthy: &[],
        expected: "UNAVAILABLE",
        but: &[],
    },
    Asks {
        name: "opa http.send",
        rules: r#"authorization: {z: {opa: {rego: 'allow { http.send({"method": "GET", "url": "{url}/x", "timeout": "300ms", "raise_error": false}).status_code == 204 }'}}}"#,
        healthy: &[],
        expected: "PERMISSION_DENIED",
        but: &[],
    },
    Asks {
        name: "spicedb",
        rules: "authorization: {z: {spicedb: {endpoint: '{authority}', insecure: true, timeout: 300, \
                resource: {kind: {value: post}, name: {value: one}}, subject: {kind: {value: user}, name: {value: ann}}, \
                permission: {value: read}}}}",
        healthy: &[],
        expected: "UNAVAILABLE",
        but: &[],
    },
    Asks {
        name: "kubernetesTokenReview",
        rules: "authentication: {a: {kubernetesTokenReview: {audiences: [x], timeout: 300}}}",
        healthy: &[],
        expected: "UNAVAILABLE",
        but: &[],
    },
    Asks {
        name: "kubernetesSubjectAccessReview",
        rules: "authorization: {z: {kubernetesSubjectAccessReview: {user: {value: ann}, timeout: 300}}}",
        healthy: &[],
        expected: "UNAVAILABLE",
        but: &[],
    },
    Asks {
        name: "callback",
        rules: "callbacks: {c: {http: {url: '{url}/c', method: POST}}}",
        healthy: &[],
        expected: "OK",
        but: &[],
    },
];

/// What every request shows: it looks like a token, and is an API key too.
const TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ.e30.AAAA";

struct Served {
    index: PlanIndex,
    resources: Arc<Resources>,
    /// Where the kubeconfig is.
    folder: tempfile::TempDir,
}

/// Serves these rules on `faulty.test`, and on `fine.test` nothing that asks anybody. The Kubernetes API is at `server`.
fn serve(rules: &str, server: &Server) -> Served {
    let options = http::Options { allow_loopback: true, ..http::Options::default() };
    let mut resources = Resources::new(http::Client::new(options).unwrap(), Selector::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let cluster = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server.url}}],
        "users": [{"name": "u", "user": {"token": "hush"}}],
    });
    std::fs::write(&kubeconfig, cluster.to_string()).unwrap();
    resources.kubernetes.reviews = Some(Arc::new(usher_kubernetes::Cluster::from_kubeconfig(vec![kubeconfig])));
    let resources = Arc::new(resources);
    let compiler = Compiler {
        resources: Arc::clone(&resources),
        metrics: Metrics::register(&prometheus::Registry::new()).unwrap(),
        options: Options { evaluator_cache_bytes: 1 << 20, deep_metrics: false, all_namespaces: true },
        on_condition_error: OnConditionError::Undecidable,
        allow_route_lookup: false,
    };
    let text = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n\
         stringData: {{api_key: {TOKEN}, clientID: c, clientSecret: hush}}\n---\n\
         apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {{name: faulty}}\n\
         spec: {{hosts: [faulty.test], {rules}}}\n---\n\
         apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {{name: fine}}\n\
         spec: {{hosts: [fine.test]}}\n"
    );
    let (mut workspace, mut update) = (Workspace::new(compiler, false, Secrets::complete()), Update::default());
    for document in read_documents(&text) {
        match document {
            Document::Secret(secret) => {
                let secret = Arc::new(secret.result.unwrap());
                workspace.change_secrets([SecretChange::Set(&secret)], &mut update);
            }
            Document::AuthConfig(config) => workspace.set_auth_config(&config.result.unwrap(), &mut update),
            other => panic!("{other:?}"),
        }
    }
    for report in &update.reports {
        assert!(report.problems.is_empty(), "{rules}: {:?}", report.problems);
    }
    let index = PlanIndex::default();
    index.publish(update.places);
    Served { index, resources, folder }
}

impl Served {
    async fn check(&self, host: &str) -> Verdict {
        let request = Request::new(RequestParts {
            host: host.to_owned(),
            path: "/x".to_owned(),
            method: "GET".to_owned(),
            headers: [("authorization".to_owned(), format!("Bearer {TOKEN}"))].into(),
            ..RequestParts::default()
        });
        let plan = self.index.find(&request).unwrap();
        usher_engine::check(&plan, &request, Some(Instant::now() + Duration::from_secs(20)), None).await
    }
}

/// One thread for everything: whatever blocks it would be seen.
#[tokio::test(flavor = "current_thread")]
async fn every_fault_of_every_dependency_leads_to_the_verdict_it_must() {
    let mut wrong = Vec::new();
    for asks in EVALUATORS {
        for fault in FAULTS {
            let server = Server::start(fault, asks.healthy).await;
            let rules = asks.rules.replace("{url}", &server.url).replace("{authority}", &server.authority);
            let served = serve(&rules, &server);
            let expected = asks.but.iter().find(|(but, _)| *but == fault).map_or(asks.expected, |(_, word)| word);
            // While one host waits for its dependency, the other is answered.
            let (verdict, others) = tokio::join!(served.check("faulty.test"), async {
                let started = Instant::now();
                for _ in 0..50 {
                    assert!(served.check("fine.test").await.is_allowed());
                    tokio::task::yield_now().await;
                }
                started.elapsed()
            });
            if verdict.code_name() != expected {
                wrong.push(format!("{}, {fault:?}: {verdict:?} instead of {expected}", asks.name));
            }
            if others > Duration::from_millis(250) {
                wrong.push(format!("{}, {fault:?}: the other host took {others:?} for 50 checks", asks.name));
            }
            drop((served.resources, served.folder));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
