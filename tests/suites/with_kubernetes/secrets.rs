//! Secrets: API keys by their labels, others by their names.

use std::{
    io::{BufReader, Write as _},
    net::{Ipv4Addr, TcpListener},
    thread,
};

use super::{answer, auth_config, start, until_all_is_told, until_answer_with};
use crate::support::{http, kubernetes::Kubernetes, usher::Usher};

fn api_key(name: &str, labels: &str, key: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    let namespace = if namespace.is_empty() { String::new() } else { format!(", namespace: {namespace}") };
    format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: {name}{namespace}, labels: {{{labels}}}}}, \
         stringData: {{api_key: {key}}}}}"
    )
}

const KEYS: &str = "authentication: {keys: {apiKey: {selector: {matchLabels: {app: talker}}}}}";
const HOST: &str = "talker.test";

fn until_key(usher: &Usher, host: &str, key: &str, expected: &str) {
    until_answer_with(usher, host, &[("authorization", &format!("Bearer {key}"))], expected);
}

#[test]
fn api_keys_come_change_and_go() {
    let kubernetes = Kubernetes::start();
    let labels = "app: talker, authorino.kuadrant.io/managed-by: authorino";
    kubernetes.apply(&api_key("ann", labels, "first-of-ann"));
    kubernetes.apply(&auth_config("talker", HOST, KEYS, "1"));
    let usher = start(&kubernetes);
    let check = |key: &str| answer(&usher, HOST, &[("authorization", &format!("Bearer {key}"))]).unwrap();
    assert_eq!((check("first-of-ann"), check("first-of-bob")), ("200 1".to_owned(), "401".to_owned()));

    kubernetes.apply(&api_key("bob", labels, "first-of-bob"));
    until_key(&usher, HOST, "first-of-bob", "200 1");
    // Rotated: the new key counts, the old one does not.
    kubernetes.apply(&api_key("bob", labels, "second-of-bob"));
    until_key(&usher, HOST, "second-of-bob", "200 1");
    assert_eq!(check("first-of-bob"), "401");
    // The label of the rule, and then that of the server.
    kubernetes.apply(&api_key("bob", "authorino.kuadrant.io/managed-by: authorino", "second-of-bob"));
    until_key(&usher, HOST, "second-of-bob", "401");
    kubernetes.apply(&api_key("bob", labels, "second-of-bob"));
    until_key(&usher, HOST, "second-of-bob", "200 1");
    kubernetes.apply(&api_key("bob", "app: talker", "second-of-bob"));
    until_key(&usher, HOST, "second-of-bob", "401");

    assert_eq!(check("first-of-ann"), "200 1");
    kubernetes.delete("Secret", "ann");
    until_key(&usher, HOST, "first-of-ann", "401");
}

#[test]
fn api_keys_of_other_namespaces_count_where_the_rule_says_so() {
    let mut kubernetes = Kubernetes::start();
    let other = kubernetes.add_namespace();
    let usher = Usher::start_in_cluster(kubernetes.kubeconfig(), kubernetes.in_cluster(""));
    let everywhere = KEYS.replace("selector:", "allNamespaces: true, selector:");
    kubernetes.apply(&auth_config("own", "own.test", KEYS, "1"));
    kubernetes.apply(&auth_config("all", "all.test", &everywhere, "1"));
    kubernetes.apply(&api_key(&format!("{other}/ann"), "app: talker", "key-of-ann"));
    until_key(&usher, "all.test", "key-of-ann", "200 1");
    until_key(&usher, "own.test", "key-of-ann", "401");
    kubernetes.apply(&api_key("bob", "app: talker", "key-of-bob"));
    until_key(&usher, "own.test", "key-of-bob", "200 1");
    until_key(&usher, "all.test", "key-of-bob", "200 1");
    kubernetes.delete("Secret", &format!("{other}/ann"));
    until_key(&usher, "all.test", "key-of-ann", "401");
}

/// Signed with [`FIRST`] and with [`SECOND`]: `{"sub":"ann","exp":4102444800}`, which is in the year 2100.
const TOKENS: [&str; 2] = [
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.HE-qOtGANK7Nni-R8_f1W0Z0WWm8D5FGnIkTPbLZMZI",
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.jLC63UPXA9lVV36HYIn1wxBSGVsGZ5dgC0qyZ8L8NSQ",
];
const FIRST: &str = "first-key-of-the-issuer-0123456789";
const SECOND: &str = "second-key-of-the-issuer-9876543210";

#[test]
fn named_secrets_are_waited_for_and_rotated_without_touching_the_authconfig() {
    let kubernetes = Kubernetes::start();
    let usher = start(&kubernetes);
    let rules = "authentication: {token: {jwt: {secretRef: {name: signing}}}}";
    kubernetes.apply(&auth_config("talker", HOST, rules, "1"));
    let secret = |key: &str| {
        kubernetes.apply(&format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: signing}}, stringData: {{key: {key}}}}}"
        ));
    };
    // There is none: nothing is left open.
    let (_, status) = kubernetes.until_condition("talker", "Ready", "False/Invalid");
    assert!(status.message("Ready").contains("signing"), "{status:?}");
    until_key(&usher, HOST, TOKENS[0], "503");

    secret(FIRST);
    until_key(&usher, HOST, TOKENS[0], "200 1");
    until_key(&usher, HOST, TOKENS[1], "401");
    kubernetes.until_condition("talker", "Ready", "True/Reconciled");
    secret(SECOND);
    until_key(&usher, HOST, TOKENS[1], "200 1");
    until_key(&usher, HOST, TOKENS[0], "401");

    // Nobody says any more whom to believe.
    kubernetes.delete("Secret", "signing");
    until_key(&usher, HOST, TOKENS[1], "503");
    let (_, status) = kubernetes.until_condition("talker", "Ready", "False/Invalid");
    assert_eq!((status.condition("Available"), status.generations()), ("False/HostsNotLinked".to_owned(), (1, 0)));

    secret(FIRST);
    until_key(&usher, HOST, TOKENS[0], "200 1");
    kubernetes.until_condition("talker", "Ready", "True/Reconciled");
    until_key(&usher, HOST, TOKENS[1], "401");
    assert_eq!(kubernetes.get("AuthConfig", "talker")["metadata"]["generation"], 1);

    // Secrets that nobody names are nobody's business.
    let read = usher.metric("rest_client_requests_total", &["method=\"GET\""]);
    kubernetes.apply("{apiVersion: v1, kind: Secret, metadata: {name: other}, stringData: {key: x}}");
    until_all_is_told(&kubernetes, &usher, "later");
    assert_eq!(usher.metric("rest_client_requests_total", &["method=\"GET\""]), read);
}

#[test]
fn credentials_for_others_are_those_of_the_secret_as_it_is_now() {
    let kubernetes = Kubernetes::start();
    let mut flags = kubernetes.in_namespace();
    flags.push("--allow-upstream=127.0.0.0/8".to_owned());
    let usher = Usher::start_in_cluster(kubernetes.kubeconfig(), flags);
    let port = introspection();
    let rules = format!(
        "authentication: {{token: {{oauth2Introspection: {{endpoint: 'http://127.0.0.1:{port}/', credentialsRef: {{name: \
         client}}}}}}}}
metadata: {{told: {{http: {{url: 'http://127.0.0.1:{port}/', method: POST, sharedSecretRef: {{name: client, key: \
         clientSecret}}}}}}}}
authorization: {{same: {{patternMatching: {{patterns: [{{predicate: \"auth.identity.authorization == \
         auth.identity.expected && auth.metadata.told.authorization == 'Bearer ' + auth.identity.sub\"}}]}}}}}}"
    );
    let with_sub = |secret: &str| format!("{}:{secret}", if secret == "first" { FIRST_BASIC } else { SECOND_BASIC });
    kubernetes.apply(&auth_config("talker", HOST, &rules, "1"));
    for secret in ["first", "second", "first"] {
        kubernetes.apply(&format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: client}}, stringData: {{clientID: gate, clientSecret: {secret}}}}}"
        ));
        until_key(&usher, HOST, &with_sub(secret), "200 1");
        let other = if secret == "first" { "second" } else { "first" };
        until_key(&usher, HOST, &with_sub(other), "403");
    }
    // It is not what makes anybody believed: without it, what was known last is used on.
    kubernetes.delete("Secret", "client");
    let (_, status) = kubernetes.until_condition("talker", "Ready", "False/Invalid");
    assert_eq!((status.condition("Available"), status.generations()), ("True/HostsLinked".to_owned(), (1, 1)));
    until_key(&usher, HOST, &with_sub("first"), "200 1");
}

/// `gate:first` and `gate:second` in base64.
const FIRST_BASIC: &str = "Z2F0ZTpmaXJzdA==";
const SECOND_BASIC: &str = "Z2F0ZTpzZWNvbmQ=";

/// Answers to everybody with the credential that was shown. A token `A:B` belongs to `B`, and expects the client's to be `A`.
fn introspection() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                stream.set_read_timeout(Some(http::TIMEOUT)).unwrap();
                let Ok((_, headers, body)) = http::read_message(&mut BufReader::new(&mut stream), false) else {
                    return;
                };
                let shown = headers.iter().find(|(name, _)| name == "authorization").map_or("", |(_, value)| value);
                let body = String::from_utf8(body).unwrap();
                let token = body.split('&').find_map(|pair| pair.strip_prefix("token=")).unwrap_or_default();
                let token = token.replace("%3A", ":").replace("%3D", "=");
                let (expected, sub) = token.rsplit_once(':').unwrap_or_default();
                let answer = format!(
                    "{{\"active\":true,\"sub\":\"{sub}\",\"expected\":\"Basic {expected}\",\"authorization\":\"{shown}\"}}"
                );
                let length = answer.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: \
                     close\r\n\r\n{answer}"
                );
            });
        }
    });
    port
}
