//! A listener that asks clients for certificates: what it tells of them is their name, not the certificate.

use serde_json::Value;

use super::{RECEIVED, shipped, start_usher, through_each_envoy_with};
use crate::{support::http::Request, with_gateways::workloads::Workloads};

/// Without the header, the sample lets one service account pass.
#[test]
fn a_service_account_may_pass_without_the_header() {
    let workloads = Workloads::new();
    let server = workloads.identity("spiffe://cluster.local/ns/kgateway-system/sa/http");
    let listener_tls = workloads.server_socket(&server, true);
    let with_tls = |mut bootstrap: Value| {
        bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["transport_socket"] = listener_tls.clone();
        bootstrap
    };
    let usher = start_usher();
    through_each_envoy_with(&shipped(), &usher, with_tls, |gateway| {
        for (account, headers, status) in [
            ("/ns/demo/sa/a", &[][..], 200),
            ("/ns/demo/sa/a", &[("x-ext-authz", "deny")], 403),
            ("/ns/demo/sa/b", &[], 403),
            ("/ns/demo/sa/aa", &[], 403),
            ("/ns/demo/sa/b", &[("x-ext-authz", "allow")], 200),
        ] {
            let id = format!("spiffe://cluster.local{account}");
            let client = workloads.identity(&id);
            let request = Request { host: "www.example.com", headers, ..Request::default() };
            let response = request.exchange(workloads.connect(gateway.envoy.port(), Some(&client))).unwrap();
            assert_eq!(response.status, status, "{account} {headers:?}: {}", response.text());
            if status == 403 {
                let received = response.header(RECEIVED).unwrap();
                assert!(received.contains(&format!(r#"}} principal:"{id}"}} destination:"#)), "{received}");
            }
        }
    });
}
