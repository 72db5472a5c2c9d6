//! Whether the manifests below `deploy/gateways` are complete: each gateway waits for Usher for a limited time, lets nobody pass
//! without an answer, says so with a status of its own where it can, speaks HTTP/2, and may refer to what it refers to; one
//! route is exempt, and one names its AuthConfig.
//!
//! ```text
//!  documents ──► agentgateway.rs, envoy.rs, … ──► Reading: who asks whom, how; what is exempt, what named ───┐
//!      ├───────► gateway_api.rs: routes, targets, grants ────────────────────────────────────────────────────┼──► what is wrong
//!      ├───────► shapes.rs: fields that the API knows ───────────────────────────────────────────────────────┤
//!      └───────► `usher validate` ───────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! `mutations` proves that this finds something: it takes fields out and puts wrong ones in.

mod agentgateway;
mod envoy;
mod envoy_gateway;
mod gateway_api;
mod istio;
mod kgateway;
mod mutations;
mod reading;
mod shapes;

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use reading::{Manifests, Reading};

use crate::support::{
    documents::{Folder, for_usher},
    usher::validate,
    workspace::root,
};

/// A folder of `deploy/gateways`.
#[derive(Debug, Clone, Copy)]
struct Gateway {
    folder: &'static str,
    read: fn(&Manifests<'_>, &mut Reading),
    /// Whether the gateway can say under which name the AuthConfig is to be looked up.
    names_hosts: bool,
    /// Whether references to other namespaces need a ReferenceGrant.
    needs_grants: bool,
}

const GATEWAYS: [Gateway; 6] = [
    Gateway { folder: "agentgateway", read: agentgateway::read, names_hosts: true, needs_grants: true },
    Gateway { folder: "envoy", read: envoy::read, names_hosts: true, needs_grants: false },
    Gateway { folder: "envoy-gateway", read: envoy_gateway::read, names_hosts: true, needs_grants: true },
    Gateway { folder: "istio", read: istio::read, names_hosts: false, needs_grants: false },
    Gateway { folder: "istio-waypoint", read: istio::read, names_hosts: false, needs_grants: false },
    Gateway { folder: "kgateway", read: kgateway::read, names_hosts: true, needs_grants: true },
];

impl Gateway {
    fn documents(&self) -> Vec<Value> {
        Folder::read(&format!("deploy/gateways/{}", self.folder)).documents
    }

    /// All that is wrong. `installed`: the objects of Usher itself.
    fn wrong(&self, documents: &[Value], installed: &[Value]) -> Vec<String> {
        let manifests = Manifests { documents, installed };
        let mut reading = Reading::default();
        (self.read)(&manifests, &mut reading);
        gateway_api::read(&manifests, &mut reading);
        let mut wrong = reading.wrong(&manifests, self.names_hosts, self.needs_grants);
        wrong.extend(shapes::wrong(documents));
        wrong
    }
}

/// The names of the folders.
pub(super) fn folders() -> impl Iterator<Item = &'static str> {
    GATEWAYS.into_iter().map(|gateway| gateway.folder)
}

/// The objects of Usher that the manifests refer to.
fn installed() -> Vec<Value> {
    let documents = Folder::read("deploy/kustomize/base").documents;
    documents.into_iter().filter(|document| document["kind"] == "Service").collect()
}

#[test]
fn every_gateway_has_a_folder_and_a_guide() {
    let entries = root().join("deploy/gateways").read_dir().unwrap();
    let folders: BTreeSet<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let known: BTreeSet<_> = GATEWAYS.iter().map(|gateway| gateway.folder.to_owned()).collect();
    assert_eq!(folders, known);
    for gateway in GATEWAYS {
        let guide = root().join("docs/gateways").join(gateway.folder).with_extension("md");
        assert!(guide.is_file(), "{} is missing", guide.display());
    }
}

#[test]
fn manifests_are_complete() {
    let installed = installed();
    for gateway in GATEWAYS {
        let wrong = gateway.wrong(&gateway.documents(), &installed);
        assert!(wrong.is_empty(), "{}:\n{}", gateway.folder, wrong.join("\n"));
    }
}

/// The AuthConfigs of a folder are valid together with its Secrets. The only warning is about the secret of the tutorial that the
/// guide of kgateway uses.
#[test]
fn auth_configs_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    for gateway in GATEWAYS {
        let documents = gateway.documents();
        let count = documents.iter().filter(|document| document["kind"] == "AuthConfig").count();
        assert!(count > 0, "{} has no AuthConfig", gateway.folder);
        let file = folder.path().join("config.yaml");
        fs::write(&file, for_usher(&documents)).unwrap();
        let (is_valid, output) = validate(&file);
        assert!(is_valid, "{}: {output}", gateway.folder);
        assert!(output.contains(&format!("{count} AuthConfig")), "{}: {output}", gateway.folder);
        let warnings: Vec<_> = output.lines().filter(|line| line.contains("warning: ")).collect();
        match warnings[..] {
            [] => assert_ne!(gateway.folder, "kgateway"),
            [warning] if gateway.folder == "kgateway" => {
                let expected = "spec.authentication.tutorial.jwt.secretRef: the secret is shorter than the 32 bytes";
                assert!(warning.contains(expected), "{warning}");
            }
            _ => panic!("{}: {output}", gateway.folder),
        }
    }
}
