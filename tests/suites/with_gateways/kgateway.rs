//! kgateway.

pub(super) mod guide;
mod mutual_tls;
mod needs;
mod objects;
mod own_guide;
mod received;
mod translate;
mod translation;
mod tutorial;

use serde_json::Value;
use translate::bootstrap;

use super::{
    Ports,
    guides::{Applied, Running},
};
use crate::support::{documents::Folder, envoy::Envoy, http::Response, parts, upstream::Upstream, usher::Usher};

const FOLDER: &str = "deploy/gateways/kgateway";

/// The `appProtocol` of Kubernetes itself for HTTP/2 without TLS.
pub(super) const H2C: &str = "kubernetes.io/h2c";
/// Each `appProtocol` that kgateway takes for HTTP/2. The name of the port means nothing to it.
pub(super) const HTTP2: [&str; 4] = [H2C, "http2", "grpc", "grpc-web"];

const ALLOW: (&str, &str) = ("x-ext-authz", "allow");
const RECEIVED: &str = "x-ext-authz-check-received";

/// Tokens of the tutorial, and tokens like Bob's but for one thing. HS256, the key is `secret`.
mod tokens {
    /// The role is `guest`.
    pub(super) const ALICE: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjIyNDEwODE1MzksIm5iZiI6MTUxNDg1MTEzOSwicm9sZSI6Imd1ZXN0Iiwic3ViIjoiWVd4cFkyVT0ifQ.ja1bgvIt47393ba_WbSBm35NrUhdxM4mOVQN8iXz8lk";
    /// The role is `admin`.
    pub(super) const BOB: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjIyNDEwODE1MzksIm5iZiI6MTUxNDg1MTEzOSwicm9sZSI6ImFkbWluIiwic3ViIjoiWVd4cFkyVT0ifQ.veMeVDYlulTdieeX-jxFZ_tCmqQ_K8rwx2OktUHv5Z0";
    pub(super) const NO_ROLE: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjIyNDEwODE1MzksIm5iZiI6MTUxNDg1MTEzOSwic3ViIjoiWVd4cFkyVT0ifQ.LnWYMlAqBjUpRJUS4wYUI_zVkmhfLgcC4gYcSsPACJM";
    /// Roles that are almost `admin`: a list of it, null, `Admin`, empty, and with a space at the end.
    pub(super) const OTHER_ROLES: [&str; 5] = [
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjIyNDEwODE1MzksIm5iZiI6MTUxNDg1MTEzOSwicm9sZSI6WyJhZG1pbiJdLCJzdWIiOiJZV3hwWTJVPSJ9.S54ZeLVTXLBNiVleyLxdD7Q1x2b7NpDrH-xTthpmzB0",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjIyNDEwODE1MzksIm5iZiI6MTUxNDg1MTEzOSwicm9sZSI6bnVsbCwic3ViIjoiWVd4cFkyVT0ifQ.BztQPR4sfcpio47pUPkb3Xg5jLP_DmKGmLZbkXpcO1o",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjIyNDEwODE1MzksIm5iZiI6MTUxNDg1MTEzOSwicm9sZSI6IkFkbWluIiwic3ViIjoiWVd4cFkyVT0ifQ.4i9Wh-87DV2Puk6ou4MyKhaU-VvPn9LlTeiHWGg5GVg",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjIyNDEwODE1MzksIm5iZiI6MTUxNDg1MTEzOSwicm9sZSI6IiIsInN1YiI6IllXeHBZMlU9In0.1BaIN5SD5S-aWeDCH2UTuQntZ--V8wIrg-sdhnSKkuw",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjIyNDEwODE1MzksIm5iZiI6MTUxNDg1MTEzOSwicm9sZSI6ImFkbWluICIsInN1YiI6IllXeHBZMlU9In0.PgqLOjhDu37sILR1lf7L7JAEZ4MK20lM2qSoVE_HMSA",
    ];
    /// The key is `other`.
    pub(super) const OTHER_KEY: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjIyNDEwODE1MzksIm5iZiI6MTUxNDg1MTEzOSwicm9sZSI6ImFkbWluIiwic3ViIjoiWVd4cFkyVT0ifQ.DjspZzzsDBGpP21QPINkB80eFfyY9wBS5Og3eTc3ISc";
    /// `alg` is `none`.
    pub(super) const UNSIGNED: &str = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJleHAiOjIyNDEwODE1MzksIm5iZiI6MTUxNDg1MTEzOSwicm9sZSI6ImFkbWluIiwic3ViIjoiWVd4cFkyVT0ifQ.";
    pub(super) const EXPIRED: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE1MTQ4NTExNDAsIm5iZiI6MTUxNDg1MTEzOSwicm9sZSI6ImFkbWluIiwic3ViIjoiWVd4cFkyVT0ifQ.5wI9yAWo3wtQk6OGLGPf5iU8q_le-_C6_WuZUbW1ELY";
}

/// An Envoy as kgateway sets it up, and what is behind it.
struct Gateway<'a> {
    envoy: Envoy,
    upstream: &'a Upstream,
    usher: &'a Usher,
}

impl Gateway<'_> {
    fn get(&self, host: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        self.envoy.get(host, target, headers)
    }
}

/// As the guide sets it up.
pub(super) fn of_guide(applied: &Applied) -> Vec<Box<dyn Running>> {
    applied.behind_envoys(|objects, ports| {
        let objects = with_services_of_usher(objects.clone());
        bootstrap(&objects.documents, ports).unwrap()
    })
}

/// What is in the cluster: the manifests, and the Services that Usher's own manifests make.
fn shipped() -> Folder {
    with_services_of_usher(Folder::read(FOLDER))
}

fn with_services_of_usher(mut folder: Folder) -> Folder {
    folder.documents.extend(Folder::read("deploy/kustomize/base").documents);
    folder
}

fn start_usher() -> Usher {
    Usher::start(&Folder::read(FOLDER).for_usher())
}

/// With each version of Envoy, behind which is what the cluster has.
fn through_each_envoy(objects: &Folder, usher: &Usher, test: impl Fn(&Gateway<'_>)) {
    through_each_envoy_with(objects, usher, |bootstrap| bootstrap, test);
}

fn through_each_envoy_with(
    objects: &Folder,
    usher: &Usher,
    change: impl Fn(Value) -> Value,
    test: impl Fn(&Gateway<'_>),
) {
    let upstream = Upstream::start();
    let ports = Ports { usher: usher.grpc_port(), upstream: upstream.port() };
    let bootstrap = change(bootstrap(&objects.documents, ports).unwrap());
    for program in parts::envoys() {
        eprintln!("Envoy {}", program.version);
        test(&Gateway { envoy: Envoy::launch(&program.path, &bootstrap), upstream: &upstream, usher });
    }
}

/// How many checks came to Usher: all, or those that an AuthConfig applied to.
fn checks(usher: &Usher, auth_config: Option<&str>) -> f64 {
    match auth_config {
        None => usher.server_metric(
            "grpc_server_started_total",
            &[r#"grpc_method="Check""#, r#"grpc_service="envoy.service.auth.v3.Authorization""#],
        ),
        Some(name) => usher.server_metric("auth_server_authconfig_total", &[&format!("authconfig=\"{name}\"")]),
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}
