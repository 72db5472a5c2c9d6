//! Reading documents: several in a text, several problems in a document, lines, Secrets.

#![allow(clippy::panic)]

use proptest::prelude::*;
use serde_json::json;
use usher_api::{AuthConfigDocument, Document, Lines, Problem, SecretDocument, read_documents};

fn described(document: &Document) -> String {
    match document {
        Document::AuthConfig(config) => {
            let verdict = if config.result.is_ok() { "good" } else { "bad" };
            format!("{verdict} AuthConfig {} {}", config.metadata.id(), config.claimed.hosts.join(","))
        }
        Document::AuthorizationPolicy(policy) => {
            let verdict = if policy.result.is_ok() { "good" } else { "bad" };
            format!("{verdict} AuthorizationPolicy {}", policy.metadata.name)
        }
        Document::Secret(secret) => {
            let verdict = if secret.result.is_ok() { "good" } else { "bad" };
            format!("{verdict} Secret {}", secret.metadata.id())
        }
        Document::Ignored(other) => {
            format!("ignored {} {} {}", other.api_version, other.kind, other.name.as_deref().unwrap_or("-"))
        }
        Document::Unreadable(document) => {
            format!("unreadable {}", told(&document.problems).join("; "))
        }
    }
}

fn read(text: &str) -> Vec<String> {
    read_documents(text).iter().map(described).collect()
}

fn told(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|problem| format!("{}: {problem}", problem.line.unwrap_or_default())).collect()
}

fn auth_config(text: &str) -> AuthConfigDocument {
    match read_documents(text).as_slice() {
        [Document::AuthConfig(config)] => (**config).clone(),
        other => panic!("{other:?}"),
    }
}

fn secret(text: &str) -> SecretDocument {
    match read_documents(text).as_slice() {
        [Document::Secret(secret)] => (**secret).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_problems_of_a_document_are_told_with_their_lines() {
    let config = auth_config(include_str!("data/many-problems.yaml"));
    assert_eq!(config.metadata.id(), "shop/talker-api");
    assert_eq!(config.claimed.hosts, ["talker.example.com", "*.talker.example.com"]);
    let expected: Vec<_> = include_str!("data/many-problems.txt").lines().collect();
    assert_eq!(told(&config.result.unwrap_err()), expected);
}

#[test]
fn a_whole_document_is_read() {
    let config = auth_config(include_str!("data/complete.yaml"));
    let lines: Lines = config.lines.clone();
    let config = config.result.unwrap();
    assert_eq!(config.metadata.labels["team"], "shop");
    assert_eq!(config.spec.authentication.keys().collect::<Vec<_>>(), ["friends", "people"]);
    assert_eq!(config.spec.when[0].all.as_ref().unwrap().len(), 2);
    assert_eq!(config.status, None);
    for (path, line) in [
        ("spec.hosts[1]", 12),
        ("spec.authentication.friends.apiKey.selector", 26),
        ("spec.authorization.owner.opa.rego", 47),
        ("spec.response.success.headers.x-user.plain.expression", 59),
    ] {
        assert_eq!(lines.find(path), Some(line), "{path}");
    }
}

#[test]
fn several_documents_are_read_in_their_order() {
    let text = "
# two of ours, one of others
apiVersion: v1
kind: Secret
metadata: {name: s, namespace: n}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec: {replicas: 1}
---
---
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: a}
spec: {hosts: [a.test]}
...
";
    assert_eq!(read(text), ["good Secret n/s", "ignored apps/v1 Deployment d", "good AuthConfig default/a a.test"]);
    assert_eq!(read(""), [""; 0]);
    assert_eq!(read("# nothing\n---\n"), [""; 0]);
}

#[test]
fn lists_are_as_good_as_several_documents() {
    let text = r#"{
  "apiVersion": "v1",
  "kind": "List",
  "items": [
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}},
    {"apiVersion": "authorino.kuadrant.io/v1beta3", "kind": "AuthConfig",
     "metadata": {"name": "a"}, "spec": {"hosts": ["a.test"], "host": []}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}},
    {"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "t"}}]},
    5
  ]
}"#;
    assert_eq!(
        read(text),
        [
            "good Secret default/s",
            "bad AuthConfig default/a a.test",
            "ignored v1 ConfigMap c",
            "good Secret default/t",
            "unreadable 10: a document must be of type object, found integer",
        ]
    );
    let documents = read_documents(text);
    let Document::AuthConfig(config) = &documents[1] else { panic!() };
    assert_eq!(
        told(config.result.as_ref().unwrap_err()),
        ["7: spec.host: unknown field `host`, did you mean `hosts`?"]
    );

    assert_eq!(read("apiVersion: v1\nkind: SecretList\nitems: [{metadata: {name: s}}]"), ["good Secret default/s"]);
    assert_eq!(read("apiVersion: v1\nkind: List\nitems: []"), [""; 0]);
    assert_eq!(
        read("apiVersion: v1\nkind: List\nitems: {}"),
        ["unreadable 3: items: must be of type array, found object"]
    );
    // Only the item with the problem is bad.
    let text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: s}}\n\
                - {apiVersion: v1, kind: Secret, metadata: {name: t, name: u}}\n";
    assert_eq!(read(text), ["good Secret default/s", "bad Secret default/t"]);
}

#[test]
fn a_document_that_is_no_object_of_kubernetes_is_unreadable() {
    for (text, expected) in [
        ("just text", "unreadable 1: a document must be of type object, found string"),
        ("- a", "unreadable 1: a document must be of type object, found array"),
        ("kind: Secret", "unreadable 1: apiVersion: Required value"),
        ("apiVersion: v1", "unreadable 1: kind: Required value"),
        ("a: 1", "unreadable 1: apiVersion: Required value; 1: kind: Required value"),
        ("apiVersion: 1\nkind: X", "unreadable 1: apiVersion: must be of type string, found integer"),
    ] {
        assert_eq!(read(text), [expected], "{text}");
    }
}

#[test]
fn a_broken_document_still_claims_the_hosts_that_could_be_read() {
    let head = "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {name: a}\n";
    for spec in [
        "spec:\n  hosts: [a.test, b.test]\n  when: [{\n",
        "spec:\n  hosts: [a.test, b.test]\n  when: \"open\n",
        "spec:\n  hosts:\n  - a.test\n  - b.test\n  authentication:\n x: {}\n",
        "spec:\n  hosts: [a.test, 5, b.test]\n",
        "spec:\n  hosts: [a.test, b.test]\n  hosts: [c.test]\n",
        "spec:\n  hosts: [a.test, b.test]\n  authentication: !include other.yaml\n",
    ] {
        assert_eq!(read(&format!("{head}{spec}")), ["bad AuthConfig default/a a.test,b.test"], "{spec}");
        // And the documents after it are read.
        let more = format!("{head}{spec}---\n{head}spec: {{hosts: [after.test]}}\n");
        assert_eq!(read(&more).last().unwrap(), "good AuthConfig default/a after.test", "{spec}");
    }
    for (text, expected) in [
        (
            "apiVersion: authorino.kuadrant.io/v1beta2\nkind: AuthConfig\nmetadata: {name: a}\nspec: {hosts: [a.test]}",
            "1: apiVersion: `authorino.kuadrant.io/v1beta2` is not supported; use `authorino.kuadrant.io/v1beta3`",
        ),
        ("kind: AuthConfig\nmetadata: {name: a}\nspec: {hosts: [a.test]}", "1: apiVersion: Required value"),
        (
            "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {namespace: n}\nspec: {hosts: [a.test]}",
            "3: metadata.name: Required value",
        ),
        (
            "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nspec: {hosts: [a.test]}",
            "1: metadata.name: Required value",
        ),
        (
            "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {name: a}\nspec: {hosts: [a.test]}\nspecs: {}",
            "5: specs: unknown field `specs`, did you mean `spec`?",
        ),
    ] {
        let config = auth_config(text);
        assert_eq!(config.claimed.hosts, ["a.test"], "{text}");
        assert_eq!(told(&config.result.unwrap_err()), [expected]);
    }
}

#[test]
fn problems_are_limited_in_number() {
    let hosts = vec!["5"; 1000].join(", ");
    let text = format!(
        "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {{name: a}}\nspec: {{hosts: [{hosts}]}}"
    );
    let problems = auth_config(&text).result.unwrap_err();
    assert_eq!(problems.len(), 101);
    assert_eq!(problems[100].to_string(), "and 900 more problems");
}

#[test]
fn objects_of_the_kubernetes_api_lose_unknown_fields() {
    let object = json!({
        "metadata": {"name": "a", "namespace": "n", "generation": 3, "managedFields": [], "whatever": 1},
        "spec": {
            "hosts": ["a.test"],
            "surprise": true,
            "authentication": {"x": {"anonymous": {"unheard": "of"}, "when": [{"any": [{"predicate": "true", "later": 1}]}]}},
        },
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "observedGeneration": 5},
        "more": {},
    });
    let config = AuthConfigDocument::from_kubernetes(object).result.unwrap();
    assert_eq!(config.metadata.generation, Some(3));
    assert_eq!(
        serde_json::to_value(&config.spec).unwrap(),
        json!({
            "hosts": ["a.test"],
            "authentication": {"x": {
                "priority": 0, "metrics": false, "anonymous": {}, "when": [{"any": [{"predicate": "true"}]}],
            }},
        })
    );
    assert_eq!(config.status.unwrap().conditions[0].kind, "Ready");

    let bad = json!({"metadata": {"name": "a"}, "spec": {"hosts": ["a.test"], "callbacks": {"x": {"http": {"url": "u"}, "when": [{}]}}}});
    let bad = AuthConfigDocument::from_kubernetes(bad);
    assert_eq!(bad.claimed.hosts, ["a.test"]);
    let problems = bad.result.unwrap_err();
    assert_eq!((problems.len(), problems[0].path.as_str(), problems[0].line), (1, "spec.callbacks.x.when[0]", None));

    let nonsense = AuthConfigDocument::from_kubernetes(json!([])).result.unwrap_err();
    assert_eq!(nonsense[0].to_string(), "a document must be of type object, found array");
}

#[test]
fn secrets_are_decoded() {
    let text = "
apiVersion: v1
kind: Secret
metadata:
  name: key
  labels: {app: x}
data:
  api_key: aHVudGVyMg==
  both: b25l
  wrapped: |
    aHVu
    dGVyMg==
stringData:
  both: two
  plain: 'text ü'
";
    let found = secret(text).result.unwrap();
    assert_eq!(found.secret_type, "Opaque");
    let data: Vec<_> = found.data.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    assert_eq!(
        data,
        [
            ("api_key", "hunter2".as_bytes()),
            ("both", "two".as_bytes()),
            ("plain", "text ü".as_bytes()),
            ("wrapped", "hunter2".as_bytes()),
        ]
    );
    assert_eq!(
        found.to_identity_json(),
        json!({
            "kind": "Secret",
            "apiVersion": "v1",
            "metadata": {"name": "key", "namespace": "default", "labels": {"app": "x"}},
            "data": {"api_key": "aHVudGVyMg==", "both": "dHdv", "plain": "dGV4dCDDvA==", "wrapped": "aHVudGVyMg=="},
            "type": "Opaque",
        })
    );

    let object = json!({
        "metadata": {"name": "tls", "namespace": "n", "uid": "u"},
        "type": "kubernetes.io/tls", "immutable": true, "data": {"ca.crt": ""}, "unknown": 1,
    });
    let found = SecretDocument::from_kubernetes(object).result.unwrap();
    assert_eq!((found.secret_type.as_str(), found.immutable), ("kubernetes.io/tls", Some(true)));
    assert_eq!(found.data["ca.crt"], b"");
}

#[test]
fn what_is_wrong_with_a_secret_is_told_without_showing_it() {
    let text = "
apiVersion: v1
kind: Secret
metadata: {name: key, lables: {app: x}}
data:
  api_key: hunter2!
  number: 31337
stringData:
  pin: 31337
  nothing:
dat: {a: hunter2}
";
    let document = secret(text);
    let problems = told(&document.result.unwrap_err());
    assert_eq!(
        problems,
        [
            "4: metadata.lables: unknown field `lables`, did you mean `labels`?",
            "7: data.number: must be of type string, found integer",
            "9: stringData.pin: must be of type string, found integer",
            "10: stringData.nothing: must be of type string, found null",
            "11: dat: unknown field `dat`, did you mean `data`?",
        ]
    );
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: key}\ndata:\n  api_key: hunter2!\n  a: aGk\n";
    assert_eq!(
        told(&secret(text).result.unwrap_err()),
        [
            "5: data.api_key: must be base64; plain text goes to `stringData`",
            "6: data.a: must be base64; plain text goes to `stringData`",
        ]
    );
}

#[test]
fn a_text_that_is_too_large_is_refused() {
    let text = " ".repeat((64 << 20) + 1);
    assert_eq!(read(&text), ["unreadable 0: the text has 67108865 bytes, more than 67108864"]);
}

/// Pieces of which texts are made that are almost AuthConfigs.
const PIECES: [&str; 48] = [
    "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {name: a}\nspec:\n  hosts: [h]\n",
    "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n",
    "apiVersion: v1\nkind: List\nitems:\n",
    "  authentication:\n    x: {anonymous: {}}\n",
    "  when:\n  - all: [{any: [{predicate: x}]}]\n",
    "  authorization: {x: {patternMatching: {patterns: [{selector: a, operator: eq}]}}}\n",
    "---\n",
    "...\n",
    "- ",
    "? ",
    ": ",
    ":\n",
    "\n",
    "  ",
    "    ",
    "\t",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "\"",
    "'",
    "|\n",
    ">-\n",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "!x ",
    "%TAG ! x:\n",
    "# c\n",
    "~",
    "null",
    "5",
    "-1e9",
    ".nan",
    "true",
    "key",
    "data",
    "metadata",
    "spec",
    "hosts",
    "status",
    "items",
    "\u{feff}",
    "ü",
    "\u{0}",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn reading_never_panics(text in "\\PC{0,200}") {
        read_documents(&text);
    }

    #[test]
    fn reading_what_is_almost_a_document_never_panics(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40)) {
        let text = pieces.concat();
        for document in read_documents(&text) {
            let problems = match document {
                Document::AuthConfig(config) => config.result.err().unwrap_or_default(),
                Document::AuthorizationPolicy(policy) => policy.result.err().unwrap_or_default(),
                Document::Secret(secret) => secret.result.err().unwrap_or_default(),
                Document::Unreadable(document) => {
                    prop_assert!(!document.problems.is_empty());
                    document.problems
                }
                Document::Ignored(_) => Vec::new(),
            };
            let lines = text.matches('\n').count() + 2;
            for problem in problems {
                prop_assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem:?} in {text:?}");
            }
        }
    }

    #[test]
    fn selectors_never_panic(text in "[a-z0-9/.=!,()<> -]{0,40}") {
        if let Ok(selector) = usher_api::Selector::parse(&text) {
            prop_assert_eq!(usher_api::Selector::parse(&selector.to_string()), Ok(selector));
        }
    }
}

#[test]
fn policies_are_told_from_others_of_their_name() {
    let policy = |version: &str, kind: &str, spec: &str| {
        format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a, namespace: n}}\nspec: {spec}\n")
    };
    for (version, kind, spec, expected) in [
        ("envoy.kyverno.io/v1alpha1", "AuthorizationPolicy", "{}", "good AuthorizationPolicy a"),
        ("envoy.kyverno.io/v1", "AuthorizationPolicy", "{}", "bad AuthorizationPolicy a"),
        ("envoy.kyverno.io/v1alpha1", "AuthorizationPolicy", "{rules: []}", "bad AuthorizationPolicy a"),
        ("envoy.kyverno.io/v1alpha1", "AuthorizationPolicy", "null", "bad AuthorizationPolicy a"),
        ("security.istio.io/v1", "AuthorizationPolicy", "{}", "ignored security.istio.io/v1 AuthorizationPolicy a"),
        (
            "policies.kyverno.io/v1alpha1",
            "ValidatingPolicy",
            "{evaluation: {mode: Envoy}}",
            "bad AuthorizationPolicy a (ValidatingPolicy)",
        ),
        (
            "policies.kyverno.io/v1alpha1",
            "ValidatingPolicy",
            "{}",
            "ignored policies.kyverno.io/v1alpha1 ValidatingPolicy a",
        ),
    ] {
        assert_eq!(read(&policy(version, kind, spec)), [expected], "{version} {kind} {spec}");
    }
    let text =
        policy("envoy.kyverno.io/v1alpha1", "AuthorizationPolicy", "\n  failurePolicy: Maybe\n  deny:\n  - match: a")
            + "status: {}\nextra: 1\n";
    let documents = read_documents(&text);
    let [Document::AuthorizationPolicy(document)] = documents.as_slice() else { panic!("{text}") };
    assert_eq!(
        told(document.result.as_ref().unwrap_err()),
        [
            "5: spec.failurePolicy: Unsupported value: \"Maybe\": supported values: \"Fail\", \"Ignore\"",
            "7: spec.deny[0].response: Required value",
            "9: extra: unknown field `extra`",
        ]
    );
}
