//! A real OpenID provider, its keys, and tokens.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    http::{Request, Response},
    parts,
    ports::free_port,
    process::Process,
    wait::until,
    workspace::root,
};

/// The audience for which the provider makes tokens that are JWTs.
pub(crate) const API: &str = "https://talker-api.example";

/// Clients of the provider, as their credentials are sent: `machine:s3cret` and `introspector:intro`.
const MACHINE: &str = "Basic bWFjaGluZTpzM2NyZXQ=";
const INTROSPECTOR: &str = "Basic aW50cm9zcGVjdG9yOmludHJv";

/// A provider that may be up or down, always at the same URL.
#[derive(Debug)]
pub(crate) struct Issuer {
    /// None while it is down.
    process: Option<Process>,
    folder: TempDir,
    port: u16,
}

/// A file with private keys.
#[derive(Debug)]
pub(crate) struct Keys(PathBuf);

impl Issuer {
    /// A provider that is down. None if it cannot run on this machine, and may be left out.
    pub(crate) fn down() -> Option<Self> {
        parts::issuer()?;
        Some(Self { process: None, folder: tempfile::tempdir().unwrap(), port: free_port() })
    }

    /// Its URL, the `iss` of its tokens.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A new key set with one key.
    pub(crate) fn keys(&self, file: &str, key_id: &str) -> Keys {
        let path = self.folder.path().join(file);
        fs::write(&path, run(&["keys", key_id])).unwrap();
        Keys(path)
    }

    /// Starts it with these keys and waits until it answers.
    pub(crate) fn start(&mut self, keys: &Keys) {
        assert!(self.process.is_none(), "it runs");
        let mut command = script(&["serve", &self.port.to_string(), &keys.0.display().to_string()]);
        let mut process = Process::start("the OpenID provider", &mut command, &self.folder.path().join("issuer.log"));
        until("readiness of the OpenID provider", || {
            if let Some(status) = process.exit_status() {
                panic!("the OpenID provider ended with {status}:\n{}", process.output());
            }
            let request = Request { target: "/.well-known/openid-configuration", ..Request::default() };
            let answer = request.send(self.port).map_err(|error| error.to_string())?;
            if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
        });
        self.process = Some(process);
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// A token of the client-credentials grant: a JWT if it is for [`API`], else opaque.
    pub(crate) fn token(&self, resource: Option<&str>) -> String {
        let mut form = "grant_type=client_credentials&scope=read".to_owned();
        form.extend(resource.map(|resource| format!("&resource={resource}")));
        self.post("/token", MACHINE, &form).json()["access_token"].as_str().unwrap().to_owned()
    }

    /// A token of Alice's: opaque, or a JWT. The provider accepts either at its UserInfo endpoint.
    pub(crate) fn user_token(&self, is_jwt: bool) -> String {
        let target = if is_jwt { "/test/user-token?format=jwt" } else { "/test/user-token" };
        self.post(target, "", "").json()["access_token"].as_str().unwrap().to_owned()
    }

    /// What the provider tells about a token.
    pub(crate) fn introspect(&self, token: &str) -> Value {
        self.post("/token/introspection", INTROSPECTOR, &format!("token={token}")).json()
    }

    /// Takes an opaque [`token`](Self::token) back.
    pub(crate) fn revoke(&self, token: &str) {
        self.post("/token/revocation", MACHINE, &format!("token={token}"));
    }

    fn post(&self, target: &str, authorization: &str, form: &str) -> Response {
        let response = Request {
            method: "POST",
            target,
            headers: &[("authorization", authorization), ("content-type", "application/x-www-form-urlencoded")],
            body: form.as_bytes(),
            ..Request::default()
        };
        let response = response.send(self.port).unwrap();
        assert_eq!(response.status, 200, "{target}: {}", response.text());
        response
    }
}

impl Keys {
    /// A token with these claims, signed with the key.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        run(&["sign", &self.0.display().to_string(), &claims.to_string()]).trim().to_owned()
    }
}

/// Seconds since 1970, now.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

fn run(arguments: &[&str]) -> String {
    let output = script(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn script(arguments: &[&str]) -> Command {
    let script: &Path = &root().join("tests/parts/issuer.mjs");
    let mut command = Command::new("node");
    command.arg(script).args(arguments);
    command
}
