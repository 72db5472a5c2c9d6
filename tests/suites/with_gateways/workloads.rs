//! Workloads of a mesh: certificates that name a SPIFFE identity, and connections with them.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::http::connect;

/// The AuthConfig of a Service that anybody may call.
pub(super) fn open_service(name: &str, namespace: &str) -> Value {
    json!({
        "apiVersion": "authorino.kuadrant.io/v1beta3",
        "kind": "AuthConfig",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"hosts": [format!("{name}.{namespace}.svc.cluster.local")], "hostAliases": "kubernetesService"},
    })
}

/// The authority of a mesh.
pub(super) struct Workloads {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

/// The certificate of a workload.
pub(super) struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    certificate_file: PathBuf,
    key_file: PathBuf,
}

pub(super) type Connection = StreamOwned<ClientConnection, TcpStream>;

impl Workloads {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::OrganizationName, "cluster.local");
        let root = parameters.self_signed(&key).unwrap();
        fs::write(folder.path().join("root.crt"), root.pem()).unwrap();
        Self { folder, root: root.der().clone(), issuer: Issuer::new(parameters, key) }
    }

    /// The certificate of the authority, as PEM.
    pub(super) fn root(&self) -> String {
        fs::read_to_string(self.folder.path().join("root.crt")).unwrap()
    }

    /// The identity of a service account: `spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT`.
    pub(super) fn identity(&self, spiffe_id: &str) -> Identity {
        // Clients of the tests know servers by this name; those of a mesh know them by the other one.
        let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.subject_alt_names.push(SanType::URI(spiffe_id.try_into().unwrap()));
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let file = |extension: &str| {
            let name: String = spiffe_id.chars().filter(char::is_ascii_alphanumeric).collect();
            self.folder.path().join(name).with_extension(extension)
        };
        let (certificate_file, key_file) = (file("crt"), file("key"));
        fs::write(&certificate_file, certificate.pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        Identity { certificate: certificate.der().clone(), key: key.serialize_der(), certificate_file, key_file }
    }

    /// The socket of a listener of this workload, which takes the certificates of other workloads.
    pub(super) fn server_socket(&self, identity: &Identity, is_required: bool) -> Value {
        let Identity { certificate_file, key_file, .. } = identity;
        json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "require_client_certificate": is_required,
                "common_tls_context": {
                    "alpn_protocols": ["h2", "http/1.1"],
                    "tls_certificates": [{
                        "certificate_chain": {"filename": certificate_file},
                        "private_key": {"filename": key_file},
                    }],
                    "validation_context": {"trusted_ca": {"filename": self.folder.path().join("root.crt")}},
                },
            },
        })
    }

    /// A connection of a workload, or of somebody without a certificate.
    pub(super) fn connect(&self, port: u16, caller: Option<&Identity>) -> Connection {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match caller {
            Some(Identity { certificate, key, .. }) => {
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.clone()));
                config.with_client_auth_cert(vec![certificate.clone()], key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        let connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        StreamOwned::new(connection, connect(port).unwrap())
    }

    /// A connection of a workload through the tunnel that a node opens to this address.
    pub(super) fn tunnel(&self, port: u16, caller: &Identity, address: &str) -> Connection {
        let mut connection = self.connect(port, Some(caller));
        write!(connection, "CONNECT {address} HTTP/1.1\r\nhost: {address}\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
        connection
    }
}
