use serde_json::json;

use super::*;

fn review(auth_configs: &AuthConfigs, spec: &Value) -> (Vec<String>, Vec<String>) {
    let object = json!({
        "apiVersion": API_VERSION, "kind": KIND, "metadata": { "namespace": "team", "name": "a", "uid": "u" },
        "spec": spec,
    });
    shown(auth_configs.review(object))
}

fn shown(Findings { problems, warnings }: Findings) -> (Vec<String>, Vec<String>) {
    let lines = |findings: Vec<Finding>| -> Vec<String> {
        findings.into_iter().map(|Finding { path, message }| format!("{path}: {message}")).collect()
    };
    (lines(problems), lines(warnings))
}

fn auth_configs() -> AuthConfigs {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    AuthConfigs::new().unwrap()
}

#[test]
fn the_subject_is_the_auth_config() {
    assert_eq!(format!("{}/{}", AUTH_CONFIGS.group, AUTH_CONFIGS.version), API_VERSION);
    assert_eq!(AUTH_CONFIGS.path(), "/validate-authorino-kuadrant-io-v1beta3-authconfig");
}

#[test]
fn what_compiles() {
    let auth_configs = auth_configs();
    let secret = |key: &str| json!({ "name": "not-there-yet", "key": key });
    for (name, spec) in [
        ("the least", json!({ "hosts": [] })),
        (
            "several rules",
            json!({
                "hosts": ["a.test", "*.b.test"],
                "patterns": { "admin": [{ "selector": "auth.identity.role", "operator": "eq", "value": "admin" }] },
                "when": [{ "predicate": "request.path != '/health'" }],
                "authentication": { "key": { "apiKey": { "selector": { "matchLabels": { "app": "a" } } } } },
                "authorization": {
                    "admins": { "patternMatching": { "patterns": [{ "patternRef": "admin" }] } },
                    "policy": { "opa": { "rego": "allow { input.request.method == \"GET\" }" } },
                },
            }),
        ),
        ("unknown fields are dropped", json!({ "hosts": ["a.test"], "hotss": ["b.test"] })),
        (
            "an issuer, which is not called",
            json!({ "hosts": ["a.test"], "authentication": { "k": { "jwt": { "issuerUrl": "https://issuer.test" } } } }),
        ),
        (
            "the Kubernetes API, which is elsewhere",
            json!({
                "hosts": ["a.test"],
                "authentication": { "sa": { "kubernetesTokenReview": { "audiences": ["a"] } } },
                "authorization": { "may": { "kubernetesSubjectAccessReview": {
                    "user": { "expression": "auth.identity.user.username" },
                } } },
            }),
        ),
        (
            "keys of all namespaces",
            json!({
                "hosts": ["a.test"],
                "authentication": { "key": { "apiKey": { "allNamespaces": true, "selector": {} } } },
            }),
        ),
        (
            "Secrets that are not there",
            json!({
                "hosts": ["a.test"],
                "authentication": {
                    "token": { "oauth2Introspection": {
                        "endpoint": "https://issuer.test/introspect", "credentialsRef": { "name": "not-there-yet" },
                    } },
                },
                "metadata": {
                    "who": { "userInfo": { "identitySource": "token" } },
                    "more": { "http": { "url": "https://more.test", "sharedSecretRef": secret("token") } },
                },
                "authorization": { "may": { "spicedb": {
                    "endpoint": "spicedb.test:50051", "sharedSecretRef": secret("key"),
                    "subject": { "kind": { "value": "user" }, "name": { "value": "a" } },
                    "resource": { "kind": { "value": "doc" }, "name": { "value": "b" } },
                    "permission": { "value": "read" },
                } } },
                "response": { "success": { "headers": { "x-token": { "wristband": {
                    "issuer": "https://us.test", "signingKeyRefs": [{ "name": "not-there-yet", "algorithm": "ES256" }],
                } } } } },
            }),
        ),
    ] {
        assert_eq!(review(&auth_configs, &spec), (Vec::new(), Vec::new()), "{name}");
    }
}

#[test]
fn what_does_not_compile() {
    let auth_configs = auth_configs();
    let when = |condition: Value| json!({ "hosts": ["a.test"], "when": [condition] });
    for (name, spec, expected) in [
        ("nothing", json!(null), &["spec: Required value"][..]),
        ("not an object", json!([]), &["spec: must be of type object, found array"]),
        (
            "two methods",
            json!({ "hosts": ["a.test"], "authentication": { "k": { "anonymous": {}, "plain": { "selector": "a" } } } }),
            &["spec.authentication.k: must validate one and only one schema (oneOf)"],
        ),
        ("bad host", json!({ "hosts": ["a b"] }), &["spec.hosts[0]: "]),
        ("bad CEL", when(json!({ "predicate": "request.method ==" })), &["spec.when[0].predicate: "]),
        (
            "bad regular expression",
            when(json!({ "selector": "request.path", "operator": "matches", "value": "(" })),
            &["spec.when[0].value: "],
        ),
        ("unknown pattern", when(json!({ "patternRef": "none" })), &["spec.when[0].patternRef: "]),
        (
            "all that is wrong",
            json!({
                "hosts": ["a.test"],
                "when": [{ "predicate": "1 +" }, { "patternRef": "none" }],
                "authorization": { "p": { "opa": { "rego": "allow {" } } },
            }),
            &["spec.when[0].predicate: ", "spec.when[1].patternRef: ", "spec.authorization.p.opa.rego: "],
        ),
        (
            "what is wrong beside a Secret that is not there",
            json!({
                "hosts": ["a.test"],
                "authentication": { "t": { "oauth2Introspection": {
                    "endpoint": "https://issuer.test/introspect", "credentialsRef": { "name": "not-there-yet" },
                } } },
                "metadata": {
                    "good": { "userInfo": { "identitySource": "t" } },
                    "bad": { "userInfo": { "identitySource": "none" } },
                },
            }),
            &["spec.metadata.bad.userInfo.identitySource: missing identity config none"],
        ),
    ] {
        let (problems, warnings) = review(&auth_configs, &spec);
        assert_eq!(problems.len(), expected.len(), "{name}: {problems:?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{name}: {problem:?} instead of {expected:?}");
        }
        assert!(warnings.is_empty(), "{name}: {warnings:?}");
    }
}

#[test]
fn what_is_doubtful() {
    let spec = json!({
        "hosts": ["a.test"],
        "authentication": { "k": { "plain": { "expression": "request.headers" } } },
        "metadata": { "who": { "userInfo": { "identitySource": "k" } } },
    });
    let (problems, warnings) = review(&auth_configs(), &spec);
    let expected =
        "spec.metadata.who.userInfo.identitySource: there is never any user info: `k` has no `jwt.issuerUrl`";
    assert_eq!((problems, warnings), (Vec::new(), vec![expected.to_owned()]));
}

/// Kilobytes of memory of this process that are in use.
fn resident_kilobytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn nothing_is_kept_of_what_was_reviewed() {
    let auth_configs = auth_configs();
    // Long names: whatever keeps one is seen.
    let long = |name: &str, number: usize| format!("{name}-{number}-{}", "x".repeat(2000));
    let object = |number: usize| {
        // Every second one is refused.
        let predicate =
            if number.is_multiple_of(2) { format!("auth.identity.id == {number}") } else { "1 +".to_owned() };
        json!({
            "apiVersion": API_VERSION, "kind": KIND,
            "metadata": { "namespace": format!("team-{number}"), "name": format!("a-{number}") },
            "spec": {
                "hosts": [format!("a-{number}.test")],
                "when": [{ "selector": "request.path", "operator": "matches", "value": format!("^/{number}/") }],
                "authentication": {
                    long("jwt", number): {
                        "jwt": { "issuerUrl": format!("https://issuer.test/{}", long("realm", number)) }, "metrics": true,
                    },
                    long("token", number): {
                        "cache": { "key": { "expression": "request.path" } },
                        "plain": { "expression": format!("request.headers['x-{number}']") },
                    },
                },
                "metadata": { long("more", number): { "http": { "url": format!("https://more-{number}.test") } } },
                "authorization": { long("ids", number): {
                    "metrics": true, "patternMatching": { "patterns": [{ "predicate": predicate }] },
                } },
            },
        })
    };
    let review_all = |numbers: std::ops::Range<usize>| {
        for number in numbers {
            let (problems, warnings) = shown(auth_configs.review(object(number)));
            assert_eq!((problems.len(), warnings.len()), (number % 2, 0), "{problems:?} {warnings:?}");
        }
    };
    review_all(0..500);
    // Other tests take memory meanwhile: what is kept of reviews grows in each round, not only in one.
    let grown: Vec<_> = (0..5)
        .map(|round| {
            let before = resident_kilobytes();
            review_all(500 + round * 1000..1500 + round * 1000);
            resident_kilobytes().saturating_sub(before)
        })
        .take_while(|grown| *grown > 1500)
        .collect();
    // One of the names of each would be two thousand.
    assert!(grown.len() < 5, "kilobytes: {grown:?}");
}
