//! Clients that show certificates to Envoy, which passes them on.

use std::{fs, net::TcpStream, sync::Arc};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::json;

use super::{
    Gateway, HOST,
    authority::{Authority, Issued},
};
use crate::support::{
    envoy::{ClientTls, Setup},
    http::{Request, connect},
    usher::Usher,
};

fn config(trusted: &Authority) -> String {
    format!(
        r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {{name: talker}}
spec:
  hosts: [talker.test]
  authentication:
    mtls: {{x509: {{selector: {{matchLabels: {{app: talker}}}}}}}}
  response:
    success:
      headers:
        x-user: {{plain: {{expression: 'auth.identity.CommonName + " of " + auth.identity.Organization[0]'}}}}
---
apiVersion: v1
kind: Secret
type: kubernetes.io/tls
metadata:
  name: trusted
  labels: {{app: talker, authorino.kuadrant.io/managed-by: authorino}}
stringData: {{tls.crt: {}, tls.key: ""}}
"#,
        json!(trusted.pem())
    )
}

/// Envoy trusts two authorities, as where it serves several tenants; the rule trusts one of them.
#[test]
fn a_client_is_the_subject_of_its_certificate_if_the_authority_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let [servers, trusted, other] = [Authority::new(), Authority::new(), Authority::new()];
    servers.server().write(&file("tls.crt"), &file("tls.key"));
    fs::write(file("clients.crt"), [trusted.pem(), other.pem()].concat()).unwrap();
    let tls = ClientTls { certificate: file("tls.crt"), key: file("tls.key"), client_authorities: file("clients.crt") };
    let setup = Setup { client_tls: Some(tls), ..Setup::default() };
    let Some(gateway) = Gateway::start_with(Usher::start(&config(&trusted)), &setup) else { return };

    let aisha = trusted.client("ACME", "aisha");
    let mallory = other.client("ACME", "aisha");
    let forged = format!("Cert=\"{}\"", aisha.certificate.pem().replace('\n', "%0A"));
    let forged = [("x-user", "aisha"), ("x-forwarded-client-cert", &forged)];
    for (client, headers, status, reason) in [
        (Some(&aisha), &[][..], 200, None),
        (Some(&mallory), &[][..], 401, Some("x509: certificate signed by unknown authority")),
        (None, &[][..], 401, Some("client certificate is missing")),
        (None, &forged[..], 401, Some("client certificate is missing")),
    ] {
        let stream = speak_tls(connect(gateway.envoy.port()).unwrap(), &servers, client);
        let response = Request { host: HOST, headers, ..Request::default() }.exchange(stream).unwrap();
        let found = response.header("x-ext-auth-reason");
        assert_eq!((response.status, found), (status, reason), "{}", response.text());
        if status == 200 {
            assert_eq!(response.json()["headers"]["x-user"], "aisha of ACME");
        }
    }
    assert_eq!(gateway.upstream.requests(), 1);
}

fn speak_tls(
    stream: TcpStream,
    servers: &Authority,
    client: Option<&Issued>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(servers.pem().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        Some(Issued { certificate, key }) => {
            let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
            config.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
        }
        None => config.with_no_client_auth(),
    };
    let connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    StreamOwned::new(connection, stream)
}
