//! What the client of an allowed request gets besides what the upstream answers.

use super::{Gateway, HOST};
use crate::support::{envoy::Setup, usher::Usher};

const CONFIG: &str = r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: talker}
spec:
  hosts: [talker.test]
  authentication: {anyone: {anonymous: {}}}
  response:
    success:
      responseHeaders:
        x-default: {plain: {value: ours}}
        x-overwrite: {action: overwrite, plain: {value: ours}}
        x-append: {action: append, plain: {value: ours}}
        x-add: {action: addIfAbsent, plain: {value: ours}}
        x-missing: {plain: {selector: auth.identity.no-such-thing}}
        joined-1: {key: x-joined, plain: {value: "1"}}
        joined-2: {key: x-joined, action: append, plain: {value: "2"}}
        first-cookie: {key: set-cookie, action: append, plain: {value: a=1; Secure}}
        second-cookie: {key: set-cookie, action: append, plain: {value: b=2}}
"#;

#[test]
fn headers_of_the_upstream_are_replaced_joined_by_ours_or_kept() {
    let Some(gateway) = Gateway::start_with(Usher::start(CONFIG), &Setup::default()) else { return };
    for (name, sent, expected) in [
        ("x-default", &[][..], &["ours"][..]),
        ("x-default", &["theirs", "too"], &["ours"]),
        ("x-overwrite", &[], &["ours"]),
        ("x-overwrite", &["theirs"], &["ours"]),
        ("x-append", &[], &["ours"]),
        ("x-append", &["theirs", "too"], &["theirs", "too", "ours"]),
        ("x-add", &[], &["ours"]),
        ("x-add", &["theirs"], &["theirs"]),
        ("x-missing", &["theirs"], &["theirs"]),
        ("x-joined", &[], &["1,2"]),
        ("x-joined", &["theirs"], &["1,2"]),
        ("set-cookie", &[], &["a=1; Secure", "b=2"]),
        ("set-cookie", &["a=0", "c=3"], &["a=0", "c=3", "a=1; Secure", "b=2"]),
    ] {
        let lines: Vec<_> = sent.iter().map(|value| format!("{name}: {value}")).collect();
        let headers: Vec<_> = lines.iter().map(|line| ("x-answer", line.as_str())).collect();
        let response = gateway.envoy.get(HOST, "/", &headers);
        assert_eq!(response.headers(name).collect::<Vec<_>>(), expected, "{name}: the upstream sent {sent:?}");
        assert!(response.json()["headers"].get(name).is_none(), "{name} is not for the upstream");
    }
}
