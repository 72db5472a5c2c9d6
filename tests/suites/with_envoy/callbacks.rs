//! Who is told of a decision, and when.

use std::{
    io::{BufReader, Write as _},
    net::{Ipv4Addr, TcpListener},
};

use serde_json::{Value, json};

use super::{Gateway, HOST, KEY, TALKER};
use crate::support::{envoy::Setup, http, usher::Usher, wait::until};

/// Nobody takes the connections of the callbacks before all clients have their answers. Were an answer to wait for its
/// callback, which has no time limit of its own, Envoy would give up and answer 403 to all.
#[test]
fn callbacks_tell_of_decisions_and_no_client_waits_for_them() {
    let receiver = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let config = TALKER.replacen(
        "  response:\n",
        &format!(
            r#"  callbacks:
    audit:
      http:
        url: http://{}/decisions
        method: POST
        contentType: application/json
        timeout: 0
        bodyParameters:
          path: {{selector: request.path}}
          who: {{selector: auth.identity.metadata.annotations.name}}
          decision: {{selector: auth.decision}}
  response:
"#,
            receiver.local_addr().unwrap()
        ),
        1,
    );
    let Some(gateway) = Gateway::start_with(Usher::start(&config), &Setup::default()) else { return };

    for (target, headers, status) in
        [("/hello", &[KEY][..], 200), ("/nobody", &[][..], 401), ("/secret", &[KEY][..], 403)]
    {
        let response = gateway.envoy.get(HOST, target, headers);
        assert_eq!(response.status, status, "{target}: {}", response.text());
    }

    let mut told: Vec<_> = (0..3).map(|_| callback(&receiver)).collect();
    told.sort_by_key(|body| body["path"].to_string());
    assert_eq!(
        told,
        [
            json!({
                "path": "/hello", "who": "Alice",
                "decision": {"allowed": true, "status": 200, "reason": "", "rule": ""},
            }),
            json!({
                "path": "/nobody", "who": null,
                "decision": {"allowed": false, "status": 401, "reason": "credential not found", "rule": "friends"},
            }),
            json!({
                "path": "/secret", "who": "Alice",
                "decision": {"allowed": false, "status": 403, "reason": "Unauthorized", "rule": "no-secrets"},
            }),
        ]
    );
    assert_eq!(gateway.upstream.requests(), 1);
}

/// The body of the next callback, which is answered.
fn callback(receiver: &TcpListener) -> Value {
    receiver.set_nonblocking(true).unwrap();
    let (mut stream, _) = until("a callback", || receiver.accept().map_err(|error| error.to_string()));
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(http::TIMEOUT)).unwrap();
    let (first, _, body) = http::read_message(&mut BufReader::new(&mut stream), false).unwrap();
    assert_eq!(first, "POST /decisions HTTP/1.1");
    stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
    serde_json::from_slice(&body).unwrap()
}
