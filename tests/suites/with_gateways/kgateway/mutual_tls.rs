//! A listener that asks clients for certificates: what it tells of them is their name, not the certificate.

use std::{net::TcpStream, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value, json};

use super::{RECEIVED, Release, shipped, start_usher, through_each_envoy_with};
use crate::support::http::{Request, connect};

/// Without the header, the sample lets one service account pass.
#[test]
fn a_service_account_may_pass_without_the_header() {
    let authority = Authority::new();
    let (server, server_key) = authority.issue(SanType::DnsName("localhost".try_into().unwrap()));
    let listener_tls = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": true,
            "common_tls_context": {
                "tls_certificates": [{
                    "certificate_chain": {"inline_string": server},
                    "private_key": {"inline_string": server_key},
                }],
                "validation_context": {"trusted_ca": {"inline_string": authority.pem}},
            },
        },
    });
    let with_tls = |mut bootstrap: Value| {
        bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["transport_socket"] = listener_tls.clone();
        bootstrap
    };
    let usher = start_usher();
    through_each_envoy_with(&shipped(), Release::Current, &usher, with_tls, |gateway| {
        for (account, headers, status) in [
            ("/ns/demo/sa/a", &[][..], 200),
            ("/ns/demo/sa/a", &[("x-ext-authz", "deny")], 403),
            ("/ns/demo/sa/b", &[], 403),
            ("/ns/demo/sa/aa", &[], 403),
            ("/ns/demo/sa/b", &[("x-ext-authz", "allow")], 200),
        ] {
            let id = format!("spiffe://cluster.local{account}");
            let client = authority.issue(SanType::URI(id.as_str().try_into().unwrap()));
            let stream = speak_tls(connect(gateway.envoy.port()).unwrap(), &authority, &client);
            let request = Request { host: "www.example.com", headers, ..Request::default() };
            let response = request.exchange(stream).unwrap();
            assert_eq!(response.status, status, "{account} {headers:?}: {}", response.text());
            if status == 403 {
                let received = response.header(RECEIVED).unwrap();
                assert!(received.contains(&format!(r#"}} principal:"{id}"}} destination:"#)), "{received}");
            }
        }
    });
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "authority");
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(parameters, key), pem }
    }

    /// A certificate and its key, as PEM.
    fn issue(&self, name: SanType) -> (String, String) {
        let mut parameters = CertificateParams::new(vec![]).unwrap();
        parameters.subject_alt_names = vec![name];
        let key = KeyPair::generate().unwrap();
        (parameters.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

fn speak_tls(
    stream: TcpStream,
    servers: &Authority,
    (certificate, key): &(String, String),
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(servers.pem.as_bytes()).unwrap()).unwrap();
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)
        .unwrap();
    let connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    StreamOwned::new(connection, stream)
}
