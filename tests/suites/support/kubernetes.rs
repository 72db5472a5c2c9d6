//! A Kubernetes API: a double of its own for each test, or the API server that `KUBECONFIG_TEST` names.
//!
//! ```text
//!  test ── apply, delete, get ──────────────┐
//!    └──── Usher::start_in_cluster ── usher ─┴──► Kubernetes ──► the double │ a real API server
//! ```
//!
//! On a real API server each test has namespaces of its own, and all that it makes carries the label `usher-test` with the
//! name of the first. It is removed when the test ends. Where `KUBECONFIG_TEST_USHER` is given too, `usher` runs with the
//! rights of that kubeconfig, and the test with those of `KUBECONFIG_TEST`.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::{
        LazyLock, Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use http_body_util::BodyExt as _;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use usher_test_support::{ApiServer, ReviewAnswer, read_yaml};

use super::{wait::until, workspace::root};

/// The label of everything that a test makes.
pub(crate) const LABEL: &str = "usher-test";

/// A Kubernetes API, and what one test made in it.
pub(crate) struct Kubernetes {
    /// None: it is a real one.
    double: Option<ApiServer>,
    client: Client,
    folder: TempDir,
    /// The first is the test's home.
    namespaces: Vec<String>,
    /// Paths of what is in no namespace.
    cluster_wide: Mutex<BTreeSet<String>>,
}

impl Kubernetes {
    /// The API for a test that runs anywhere.
    pub(crate) fn start() -> Self {
        match env::var_os("KUBECONFIG_TEST").filter(|path| !path.is_empty()) {
            Some(path) => Self::real(Path::new(&path)),
            None => Self::double(),
        }
    }

    /// A double, for what cannot be asked of a real API server: to be away, to hang, to refuse.
    pub(crate) fn double() -> Self {
        let double = ApiServer::builder().definitions(&definition()).strict_namespaces().start();
        let kubeconfig: Kubeconfig = serde_json::from_str(&double.kubeconfig()).unwrap();
        Self::new(Some(double), kubeconfig.clone(), kubeconfig)
    }

    fn real(path: &Path) -> Self {
        let kubeconfig = Kubeconfig::read_from(path).expect("KUBECONFIG_TEST names a kubeconfig");
        let of_usher = match env::var_os("KUBECONFIG_TEST_USHER").filter(|path| !path.is_empty()) {
            Some(path) => Kubeconfig::read_from(path).expect("KUBECONFIG_TEST_USHER names a kubeconfig"),
            None => kubeconfig.clone(),
        };
        Self::new(None, kubeconfig, of_usher)
    }

    fn new(double: Option<ApiServer>, kubeconfig: Kubeconfig, mut of_usher: Kubeconfig) -> Self {
        let client = RUNTIME.block_on(async {
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
            Client::try_from(config).unwrap()
        });
        let folder = tempfile::tempdir().unwrap();
        let mut kubernetes = Self { double, client, folder, namespaces: Vec::new(), cluster_wide: Mutex::default() };
        if kubernetes.double.is_none() {
            static DEFINED: OnceLock<()> = OnceLock::new();
            DEFINED.get_or_init(|| kubernetes.define());
        }
        let home = kubernetes.add_namespace();
        // `usher` takes the namespace of the context for that of its pod.
        let current = of_usher.current_context.clone();
        for named in of_usher.contexts.iter_mut().filter(|named| Some(&named.name) == current.as_ref()) {
            named.context.as_mut().unwrap().namespace = Some(home.clone());
        }
        // JSON is YAML.
        fs::write(kubernetes.kubeconfig(), serde_json::to_string_pretty(&of_usher).unwrap()).unwrap();
        kubernetes
    }

    /// Creates the CustomResourceDefinition unless there is one.
    fn define(&self) {
        let [definition] = &*read_yaml(&definition()).unwrap() else { panic!("expected one definition") };
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let (status, answer) = self.request("POST", path, Some(definition));
        assert!(matches!(status, 201 | 409), "{status} {answer}");
        until("a definition in force", || match self.request("GET", &format!("{AUTH_CONFIGS}/authconfigs"), None) {
            (200, _) => Ok(()),
            (status, answer) => Err(format!("{status} {answer}")),
        });
    }

    /// The double.
    pub(crate) fn api(&self) -> &ApiServer {
        self.double.as_ref().expect("the test began with `Kubernetes::double`")
    }

    /// The namespace where things are if nothing else is said.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespaces[0]
    }

    /// Makes one more namespace.
    pub(crate) fn add_namespace(&mut self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() & 0xff_ffff;
        let name = format!("usher-test-{}-{now:x}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let (status, answer) = self.request("POST", "/api/v1/namespaces", Some(&object));
        assert_eq!(status, 201, "{answer}");
        self.namespaces.push(name.clone());
        name
    }

    /// The kubeconfig for `usher`.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Flags for a server of the first namespace.
    pub(crate) fn in_namespace(&self) -> Vec<String> {
        vec![format!("--watch-namespace={}", self.namespace())]
    }

    /// Flags for a server of all namespaces that leaves alone what is not this test's. `more` selectors, such as `a=b`,
    /// are for AuthConfigs.
    pub(crate) fn in_cluster(&self, more: &str) -> Vec<String> {
        let selector = format!("{LABEL}={}", self.namespace());
        let auth_configs = [&*selector, more].into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join(",");
        vec![format!("--auth-config-label-selector={auth_configs}"), format!("--secret-label-selector={selector}")]
    }

    /// Creates or replaces an object, given as YAML.
    pub(crate) fn apply(&self, yaml: &str) -> Value {
        self.try_apply(yaml).unwrap_or_else(|status| panic!("{status}"))
    }

    /// [`apply`](Self::apply), or the `Status` with which it was refused.
    pub(crate) fn try_apply(&self, yaml: &str) -> Result<Value, Value> {
        let mut object = read_one(yaml);
        let path = self.path_of(&object);
        if path.namespaced {
            object["metadata"]["namespace"] = json!(path.namespace);
        } else {
            self.cluster_wide.lock().unwrap().insert(path.object());
        }
        object["metadata"]["labels"][LABEL] = json!(self.namespace());
        until("a write without conflict", || {
            let (status, there) = self.request("GET", &path.object(), None);
            let (status, answer) = if status == 404 {
                self.request("POST", &path.collection(), Some(&object))
            } else {
                object["metadata"]["resourceVersion"] = there["metadata"]["resourceVersion"].clone();
                self.request("PUT", &path.object(), Some(&object))
            };
            match status {
                200 | 201 => Ok(Ok(answer)),
                // A status was written in between.
                409 => Err(answer.to_string()),
                _ => Ok(Err(answer)),
            }
        })
    }

    /// Deletes an object: its kind, and its name, or its namespace and name with a slash between.
    pub(crate) fn delete(&self, kind: &str, name: &str) {
        let (status, answer) = self.request("DELETE", &self.path(kind, name).object(), None);
        assert_eq!(status, 200, "{answer}");
    }

    /// An object, named as in [`delete`](Self::delete), or null.
    pub(crate) fn get(&self, kind: &str, name: &str) -> Value {
        match self.request("GET", &self.path(kind, name).object(), None) {
            (200, object) => object,
            (404, _) => Value::Null,
            (status, answer) => panic!("{status} {answer}"),
        }
    }

    /// Changes an object by a JSON merge patch.
    pub(crate) fn patch(&self, kind: &str, name: &str, patch: &Value) -> Value {
        let (status, answer) = self.request("PATCH", &self.path(kind, name).object(), Some(patch));
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Waits until the status of an AuthConfig is as `expected` says, which tells why not. Gives the whole AuthConfig.
    pub(crate) fn until_status(&self, name: &str, expected: impl Fn(&Status) -> bool) -> (Value, Status) {
        until(&format!("status of `{name}`"), || {
            let object = self.get("AuthConfig", name);
            let status = Status(object["status"].clone());
            if expected(&status) { Ok((object, status)) } else { Err(object["status"].to_string()) }
        })
    }

    /// Waits until an AuthConfig has this condition, such as `True/Reconciled`; empty: until it has none.
    pub(crate) fn until_condition(&self, name: &str, kind: &str, expected: &str) -> (Value, Status) {
        self.until_status(name, |status| status.is_written() && status.condition(kind) == expected)
    }

    /// A service account in the first namespace, and a token of it for this audience.
    pub(crate) fn service_account(&self, name: &str, audience: &str) -> (String, String) {
        let user = format!("system:serviceaccount:{}:{name}", self.namespace());
        self.apply(&format!("{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: {name}}}}}"));
        if let Some(double) = &self.double {
            let token = format!("token-of-{name}");
            let status = json!({"authenticated": true, "audiences": [audience], "user": {"username": user,
                "groups": ["system:serviceaccounts", "system:authenticated"]}});
            double.script_token_review(json!({"token": token, "audiences": [audience]}), ReviewAnswer::Status(status));
            return (user, token);
        }
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": [audience], "expirationSeconds": 3600}});
        let path = format!("{}/token", self.path("ServiceAccount", name).object());
        let (status, answer) = self.request("POST", &path, Some(&request));
        assert_eq!(status, 201, "{answer}");
        (user, answer["status"]["token"].as_str().unwrap().to_owned())
    }

    /// Allows a user to `get` one ConfigMap of the first namespace.
    pub(crate) fn allow(&self, user: &str, name: &str) {
        let namespace = self.namespace();
        self.apply(&format!(
            "{{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {{name: reader}}, rules: \
             [{{apiGroups: [''], resources: [configmaps], resourceNames: [{name}], verbs: [get]}}]}}"
        ));
        self.apply(&format!(
            "{{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: reader}}, roleRef: \
             {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}}, subjects: \
             [{{kind: User, apiGroup: rbac.authorization.k8s.io, name: '{user}'}}]}}"
        ));
        if let Some(double) = &self.double {
            let attributes = json!({"resource": "configmaps", "verb": "get", "name": name, "namespace": namespace});
            double.script_access_review(
                json!({"user": user, "resourceAttributes": attributes}),
                ReviewAnswer::Status(json!({"allowed": true})),
            );
        }
    }

    /// Sends a request, and gives the status and the JSON of the answer. Waits while the API server asks for patience.
    pub(crate) fn request(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        until("an answer of the API server", || {
            let request = http::Request::builder().method(method).uri(path).header("content-type", content);
            let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
            let exchange = async {
                let answer = self.client.send(request.body(bytes.into()).unwrap()).await?;
                let status = answer.status().as_u16();
                Ok::<_, kube::Error>((status, answer.into_body().collect().await?.to_bytes()))
            };
            let (status, bytes) = RUNTIME.block_on(exchange).map_err(|error| format!("{method} {path}: {error}"))?;
            match status {
                429 => Err("it asks for patience".to_owned()),
                // Without a Status it is not the object that is unknown but the resource: for a moment, after a start.
                404 if bytes.starts_with(b"404 page") => Err(format!("{path} is unknown")),
                _ => Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))),
            }
        })
    }

    fn path_of(&self, object: &Value) -> ObjectPath {
        let metadata = &object["metadata"];
        let name = metadata["name"].as_str().unwrap();
        let kind = object["kind"].as_str().unwrap();
        match metadata["namespace"].as_str() {
            Some(namespace) => self.path(kind, &format!("{namespace}/{name}")),
            None => self.path(kind, name),
        }
    }

    fn path(&self, kind: &str, name: &str) -> ObjectPath {
        let (namespace, name) = name.split_once('/').unwrap_or((self.namespace(), name));
        let (_, group, plural, namespaced) = KINDS.iter().find(|(known, ..)| *known == kind).expect("a known kind");
        ObjectPath { group, plural, namespaced: *namespaced, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        if self.double.is_some() {
            return;
        }
        // Where no controller empties namespaces, what is in them stays.
        let mut paths: Vec<_> = self.cluster_wide.lock().unwrap().iter().cloned().collect();
        for namespace in &self.namespaces {
            for (_, group, plural, _) in KINDS.iter().filter(|(.., namespaced)| *namespaced) {
                paths.push(format!("{group}/namespaces/{namespace}/{plural}"));
            }
            paths.push(format!("/api/v1/namespaces/{namespace}"));
        }
        RUNTIME.block_on(async {
            for path in paths {
                let request = http::Request::delete(&path).body(Vec::new().into()).unwrap();
                // What cannot be removed is not the fault of the test, which may be failing already.
                let _ = tokio::time::timeout(Duration::from_secs(5), self.client.send(request)).await;
            }
        });
    }
}

/// `status` of an AuthConfig.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Status(pub(crate) Value);

impl Status {
    /// Status and reason of a condition, such as `True/Reconciled`; empty if there is none.
    pub(crate) fn condition(&self, kind: &str) -> String {
        let found = self.find(kind);
        let text = |field: &str| found[field].as_str().unwrap_or_default();
        if found.is_null() { String::new() } else { format!("{}/{}", text("status"), text("reason")) }
    }

    /// The message of a condition.
    pub(crate) fn message(&self, kind: &str) -> String {
        self.find(kind)["message"].as_str().unwrap_or_default().to_owned()
    }

    /// `observedGeneration` and `servedGeneration`; 0 where there is none.
    pub(crate) fn generations(&self) -> (u64, u64) {
        let number = |field: &str| self.0[field].as_u64().unwrap_or_default();
        (number("observedGeneration"), number("servedGeneration"))
    }

    fn is_written(&self) -> bool {
        self.0["conditions"].is_array()
    }

    fn find(&self, kind: &str) -> Value {
        let conditions = self.0["conditions"].as_array().into_iter().flatten();
        conditions.clone().find(|condition| condition["type"] == kind).cloned().unwrap_or(Value::Null)
    }
}

/// Where an object is.
struct ObjectPath {
    group: &'static str,
    plural: &'static str,
    namespaced: bool,
    namespace: String,
    name: String,
}

impl ObjectPath {
    fn collection(&self) -> String {
        let Self { group, plural, namespace, .. } = self;
        if self.namespaced { format!("{group}/namespaces/{namespace}/{plural}") } else { format!("{group}/{plural}") }
    }

    fn object(&self) -> String {
        format!("{}/{}", self.collection(), self.name)
    }
}

/// The client's tasks run here, whichever test waits for them.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

const AUTH_CONFIGS: &str = "/apis/authorino.kuadrant.io/v1beta3";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1";

/// The kinds that tests use: where they are, and whether in namespaces.
const KINDS: [(&str, &str, &str, bool); 7] = [
    ("AuthConfig", AUTH_CONFIGS, "authconfigs", true),
    ("Secret", "/api/v1", "secrets", true),
    ("ServiceAccount", "/api/v1", "serviceaccounts", true),
    ("Role", ROLES, "roles", true),
    ("RoleBinding", ROLES, "rolebindings", true),
    ("Lease", "/apis/coordination.k8s.io/v1", "leases", true),
    (
        "ValidatingWebhookConfiguration",
        "/apis/admissionregistration.k8s.io/v1",
        "validatingwebhookconfigurations",
        false,
    ),
];

fn definition() -> String {
    fs::read_to_string(root().join("deploy/crds/authconfigs.yaml")).unwrap()
}

fn read_one(yaml: &str) -> Value {
    let [object] = <[Value; 1]>::try_from(read_yaml(yaml).unwrap()).expect("one document");
    object
}
