//! `usher webhooks`: what would not compile is not stored.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{DOES_NOT_COMPILE, auth_config, versioned};
use crate::support::{
    http::Request, kubernetes::Kubernetes, ports::free_port, process::Process, usher::validate, wait::until, workspace,
};

/// A running `usher webhooks`.
struct Webhook {
    _process: Process,
    folder: TempDir,
    port: u16,
    authority: Authority,
}

impl Webhook {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let (certificate, key) = authority.issue(folder.path());
        for _ in 0..5 {
            let (port, health) = (free_port(), free_port());
            let mut command = Command::new(workspace::usher());
            command
                .args(["webhooks", "--bind-address", "127.0.0.1", "--metrics-addr", "0", "--port", &port.to_string()])
                .args(["--health-probe-addr", &format!("127.0.0.1:{health}")])
                .arg("--tls-cert")
                .arg(&certificate)
                .arg("--tls-cert-key")
                .arg(&key);
            let mut process = Process::start("usher webhooks", &mut command, &folder.path().join("usher.log"));
            let is_ready = until("readiness of usher webhooks", || {
                if process.exit_status().is_some() {
                    assert!(process.output().to_lowercase().contains("in use"), "{}", process.output());
                    return Ok(false);
                }
                let answer = Request { target: "/readyz", ..Request::default() }.send(health);
                answer.map(|answer| answer.status == 200).map_err(|error| error.to_string())
            });
            if is_ready {
                return Self { _process: process, folder, port, authority };
            }
        }
        panic!("no free ports");
    }

    /// Has this API ask it about AuthConfigs of the test's namespace.
    fn register(&self, kubernetes: &Kubernetes) {
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": kubernetes.namespace()},
            "webhooks": [{
                "name": "authconfigs.usher.test",
                "clientConfig": {
                    "url": format!("https://localhost:{}/validate-authorino-kuadrant-io-v1beta3-authconfig", self.port),
                    "caBundle": self.authority.base64(),
                },
                "rules": [{"apiGroups": ["authorino.kuadrant.io"], "apiVersions": ["v1beta3"],
                           "operations": ["CREATE", "UPDATE"], "resources": ["authconfigs"], "scope": "Namespaced"}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": kubernetes.namespace()}},
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "timeoutSeconds": 10,
            }],
        });
        kubernetes.apply(&configuration.to_string());
    }
}

#[test]
fn what_would_not_compile_is_not_stored() {
    let kubernetes = Kubernetes::start();
    let mut webhook = Webhook::start();
    let bad = auth_config("bad", "bad.test", DOES_NOT_COMPILE, "1");
    kubernetes.apply(&versioned("good", "good.test", "1"));
    webhook.register(&kubernetes);
    // The API server needs a moment until it asks.
    let status = until("a refusal", || match kubernetes.try_apply(&bad) {
        Err(status) => Ok(status),
        Ok(_) => {
            kubernetes.delete("AuthConfig", "bad");
            Err("it was stored".to_owned())
        }
    });
    assert_eq!((&status["code"], &status["reason"]), (&json!(422), &json!("Invalid")), "{status}");
    let message = status["message"].as_str().unwrap();
    assert!(message.contains("\"authconfigs.usher.test\" denied the request: "), "{message}");

    // It says what `usher validate` says.
    let file = webhook.folder.path().join("bad.yaml");
    fs::write(&file, &bad).unwrap();
    let (_, said) = validate(&file);
    let problem = said.lines().find(|line| line.contains("spec.authorization.digits")).expect(&said);
    let problem = &problem[problem.find("spec.authorization.digits").unwrap()..];
    assert!(message.contains(problem.trim_end()), "{problem:?} in {message:?}");

    // An update is refused as well, and what is there stays; what compiles is stored; a Secret may come later.
    let worse = kubernetes.try_apply(&auth_config("good", "good.test", DOES_NOT_COMPILE, "2"));
    assert_eq!(worse.unwrap_err()["code"], 422);
    assert_eq!(kubernetes.get("AuthConfig", "good")["metadata"]["generation"], 1);
    kubernetes.apply(&versioned("good", "good.test", "3"));
    let rules = "authentication: {token: {jwt: {secretRef: {name: not-there-yet}}}}";
    kubernetes.apply(&auth_config("waiting", "waiting.test", rules, "1"));

    // A new certificate, of another authority, is used without a restart.
    webhook.authority = Authority::new();
    webhook.authority.issue(webhook.folder.path());
    webhook.register(&kubernetes);
    until("the new certificate", || {
        let status = kubernetes.try_apply(&auth_config("good", "good.test", DOES_NOT_COMPILE, "4")).unwrap_err();
        if status["code"] == 422 { Ok(()) } else { Err(status.to_string()) }
    });
    kubernetes.apply(&versioned("good", "good.test", "5"));

    // What the schema refuses never comes so far.
    let two = "authentication: {both: {anonymous: {}, plain: {selector: auth.identity}}}";
    let status = kubernetes.try_apply(&auth_config("two", "two.test", two, "1")).unwrap_err();
    let message = status["message"].as_str().unwrap();
    assert_eq!(status["code"], 422, "{status}");
    assert!(!message.contains("denied the request") && message.contains("oneOf"), "{message}");
    assert_eq!(kubernetes.get("AuthConfig", "two"), Value::Null);
}

/// Issues the certificate of a webhook.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "authority of webhooks");
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(parameters, key), pem }
    }

    /// Writes a certificate for `localhost` and its key into this folder, in place of those that are there.
    fn issue(&self, folder: &Path) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap().pem();
        let write = |name: &str, text: &str| {
            let (draft, file) = (folder.join(format!(".{name}")), folder.join(name));
            fs::write(&draft, text).unwrap();
            fs::rename(draft, &file).unwrap();
            file
        };
        (write("tls.crt", &certificate), write("tls.key", &key.serialize_pem()))
    }

    /// The PEM text of its certificate in base64, as `caBundle` wants it.
    fn base64(&self) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let groups = self.pem.as_bytes().chunks(3).map(|bytes| {
            let number = (0..3).fold(0_usize, |all, at| all << 8 | usize::from(bytes.get(at).copied().unwrap_or(0)));
            let letters = [18, 12, 6, 0].map(|shift| char::from(LETTERS[number >> shift & 63]));
            let group: String = letters[..=bytes.len()].iter().collect();
            format!("{group:=<4}")
        });
        groups.collect()
    }
}
