//! What Istio makes of AuthorizationPolicies, and of the provider that those with the action `CUSTOM` name.
//!
//! ```text
//!  request ──► rbac: do the rules of `CUSTOM` fit?        ──► ext_authz: is there a mark ──► rbac: do the rules ──► …
//!              it only says so, in the dynamic metadata        of this provider? then ask     of `DENY` fit?
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    support::{
        documents::Folder,
        envoy::{cluster, h2_cluster},
    },
    with_gateways::gateway_api::Object,
};

/// The object that `istioctl` reads. Of the settings of the mesh, only what concerns us.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct IstioOperatorSpec {
    mesh_config: MeshConfig,
    #[serde(default)]
    values: Values,
}

/// Those of the Helm charts.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Values {
    #[serde(default)]
    pilot: Pilot,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Pilot {
    /// Environment variables of istiod.
    #[serde(default)]
    env: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MeshConfig {
    extension_providers: Vec<ExtensionProvider>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ExtensionProvider {
    name: String,
    envoy_ext_authz_grpc: EnvoyExtAuthzGrpc,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EnvoyExtAuthzGrpc {
    service: String,
    port: u16,
    timeout: Option<String>,
    #[serde(default)]
    fail_open: bool,
    status_on_error: Option<String>,
    include_request_body_in_check: Option<RequestBody>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RequestBody {
    max_request_bytes: u32,
    #[serde(default)]
    allow_partial_message: bool,
    #[serde(default)]
    pack_as_bytes: bool,
}

/// `AuthorizationPolicy`. What `CUSTOM` does not allow in rules is not here: `from` and `when`, as far as they ask who is calling.
/// The rest of these, such as addresses, is not made use of.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::with_gateways) struct AuthorizationPolicySpec {
    #[serde(default)]
    target_refs: Vec<TargetRef>,
    selector: Option<Selector>,
    action: Action,
    /// With `CUSTOM`, and only with it.
    provider: Option<Provider>,
    rules: Vec<Rule>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TargetRef {
    group: String,
    kind: String,
    name: String,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Selector {
    match_labels: BTreeMap<String, String>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Action {
    Custom,
    Deny,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Provider {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    to: Vec<To>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct To {
    operation: Operation,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Operation {
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    not_hosts: Vec<String>,
    #[serde(default)]
    methods: Vec<String>,
    #[serde(default)]
    not_methods: Vec<String>,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    not_paths: Vec<String>,
}

pub(in crate::with_gateways) type AuthorizationPolicy = Object<AuthorizationPolicySpec>;

impl AuthorizationPolicy {
    /// All of a folder.
    pub(in crate::with_gateways) fn all(folder: &Folder) -> Vec<Self> {
        Self::read_all(folder, "AuthorizationPolicy", "security.istio.io/v1")
    }

    /// Whether it is for this object of its namespace.
    pub(in crate::with_gateways) fn targets(&self, group: &str, kind: &str, name: &str, namespace: &str) -> bool {
        let target = TargetRef { group: group.into(), kind: kind.into(), name: name.into() };
        self.metadata.namespace == namespace && self.spec.target_refs.contains(&target)
    }

    /// Whether it is for the workloads of its namespace that have this label.
    pub(in crate::with_gateways) fn selects(&self, label: (&str, &str), namespace: &str) -> bool {
        let label = [(label.0.to_owned(), label.1.to_owned())].into();
        let selector = Some(Selector { match_labels: label });
        self.metadata.namespace == namespace && self.spec.target_refs.is_empty() && self.spec.selector == selector
    }

    fn provider(&self) -> Option<&str> {
        let provider = self.spec.provider.as_ref().map(|it| it.name.as_str());
        assert_eq!(provider.is_some(), self.spec.action == Action::Custom, "{}", self.metadata.name);
        provider
    }

    /// Its rules, by names that tell where they come from.
    fn rules(&self, suffix: &str) -> impl Iterator<Item = (String, Value)> {
        let prefix = self.provider().map(|provider| format!("istio-ext-authz-{provider}-")).unwrap_or_default();
        self.spec.rules.iter().enumerate().map(move |(number, rule)| {
            let (namespace, name) = (&self.metadata.namespace, &self.metadata.name);
            let name = format!("{prefix}ns[{namespace}]-policy[{name}]-rule[{number}]{suffix}");
            let anybody = json!([{"and_ids": {"ids": [{"any": true}]}}]);
            (name, json!({"permissions": rule.permissions(), "principals": anybody}))
        })
    }
}

/// The filters that Istio makes of the policies of one workload. For each provider two, or one that denies: if the mesh does not
/// have it, and with several providers, if istiod is not told to allow that. Then one for all policies that deny.
pub(in crate::with_gateways) fn filters<'a>(
    policies: impl Iterator<Item = &'a AuthorizationPolicy>,
    mesh: &Mesh,
) -> Vec<Value> {
    let (custom, deny): (Vec<_>, Vec<_>) = policies.partition(|it| it.spec.action == Action::Custom);
    let mut of_providers = BTreeMap::<_, Vec<_>>::new();
    for policy in custom {
        of_providers.entry(policy.provider()).or_default().push(policy);
    }
    let is_allowed = of_providers.len() == 1 || mesh.allows_several_providers;
    let mut filters = Vec::new();
    for (name, policies) in of_providers {
        match mesh.provider(name.unwrap()).filter(|_| is_allowed) {
            Some(provider) => {
                let rules = deny_rules(&policies, "");
                filters.push(rbac(json!({"shadow_rules": rules, "shadow_rules_stat_prefix": "istio_ext_authz_"})));
                filters.push(provider.filter());
            }
            None => filters.push(rbac(json!({"rules": deny_rules(&policies, "-deny-due-to-bad-CUSTOM-action")}))),
        }
    }
    if !deny.is_empty() {
        // There are no policies for a dry run, so the prefix stands for nothing.
        let prefix = "istio_dry_run_allow_";
        filters.push(rbac(json!({"rules": deny_rules(&deny, ""), "shadow_rules_stat_prefix": prefix})));
    }
    filters
}

fn deny_rules(policies: &[&AuthorizationPolicy], suffix: &str) -> Value {
    let rules: serde_json::Map<_, _> = policies.iter().flat_map(|policy| policy.rules(suffix)).collect();
    json!({"action": "DENY", "policies": rules})
}

fn rbac(mut config: Value) -> Value {
    config["@type"] = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC".into();
    json!({"name": "envoy.filters.http.rbac", "typed_config": config})
}

/// What the mesh knows: its settings, and the Services.
#[derive(Debug)]
pub(in crate::with_gateways) struct Mesh {
    providers: Vec<ExtensionProvider>,
    /// For one workload. Since Istio 1.30, and not by default.
    allows_several_providers: bool,
    services: Vec<Value>,
}

impl Mesh {
    /// The settings of a folder, its Services, and those with which Usher is installed.
    pub(in crate::with_gateways) fn of(folder: &Folder) -> Self {
        let operators = Object::<IstioOperatorSpec>::read_all(folder, "IstioOperator", "install.istio.io/v1alpha1");
        const SEVERAL: &str = "PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS";
        let allows_several_providers =
            operators.iter().any(|it| it.spec.values.pilot.env.get(SEVERAL).is_some_and(|value| value == "true"));
        let providers = operators.into_iter().flat_map(|it| it.spec.mesh_config.extension_providers).collect();
        let installed = Folder::read("deploy/kustomize/base");
        let services = folder.of_kind("Service").chain(installed.of_kind("Service")).cloned().collect();
        Self { providers, allows_several_providers, services }
    }

    fn provider(&self, name: &str) -> Option<&ExtensionProvider> {
        self.providers.iter().find(|it| it.name == name)
    }

    /// The clusters of the providers, which are all at this port. Providers of one Service share one.
    pub(in crate::with_gateways) fn clusters(&self, port: u16) -> Vec<Value> {
        let providers = self.providers.iter().map(|it| &it.envoy_ext_authz_grpc);
        let clusters: BTreeSet<_> = providers.map(|it| (it.cluster(), self.speaks_http2(it))).collect();
        let made = |(name, speaks_http2): (String, bool)| {
            if speaks_http2 { h2_cluster(&name, port) } else { cluster(&name, port) }
        };
        clusters.into_iter().map(made).collect()
    }

    /// What Istio concludes from the port of the Service: its `appProtocol`, or else its name up to a dash.
    fn speaks_http2(&self, provider: &EnvoyExtAuthzGrpc) -> bool {
        let is_named = |service: &&Value| {
            let part = |name: &str| service["metadata"][name].as_str().unwrap();
            provider.service == format!("{}.{}.svc.cluster.local", part("name"), part("namespace"))
        };
        let service =
            self.services.iter().find(is_named).unwrap_or_else(|| panic!("no Service `{}`", provider.service));
        let mut ports = service["spec"]["ports"].as_array().unwrap().iter();
        let port = ports.find(|it| it["port"] == provider.port).unwrap_or_else(|| panic!("no port {}", provider.port));
        match port["appProtocol"].as_str() {
            Some("kubernetes.io/h2c") => true,
            Some(protocol) => is_http2(protocol),
            None => is_http2(port["name"].as_str().unwrap()),
        }
    }
}

fn is_http2(name: &str) -> bool {
    ["grpc", "http2"].contains(&name.split('-').next().unwrap().to_lowercase().as_str())
}

impl EnvoyExtAuthzGrpc {
    fn cluster(&self) -> String {
        format!("outbound|{}||{}", self.port, self.service)
    }
}

impl ExtensionProvider {
    fn filter(&self) -> Value {
        let settings = &self.envoy_ext_authz_grpc;
        let mut config = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "failure_mode_allow": settings.fail_open,
            "filter_enabled_metadata": {
                "filter": "envoy.filters.http.rbac",
                "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}],
                "value": {"string_match": {"prefix": format!("istio-ext-authz-{}", self.name)}},
            },
            "grpc_service": {
                "envoy_grpc": {"authority": settings.service, "cluster_name": settings.cluster()},
                "timeout": settings.timeout.as_deref().unwrap_or("600s"),
            },
            "transport_api_version": "V3",
        });
        if let Some(status) = &settings.status_on_error {
            config["status_on_error"] = json!({"code": status.parse::<u16>().unwrap()});
        }
        if let Some(body) = &settings.include_request_body_in_check {
            config["with_request_body"] = json!({
                "max_request_bytes": body.max_request_bytes,
                "allow_partial_message": body.allow_partial_message,
                "pack_as_bytes": body.pack_as_bytes,
            });
        }
        json!({"name": "envoy.filters.http.ext_authz", "typed_config": config})
    }
}

impl Rule {
    fn permissions(&self) -> Vec<Value> {
        let all = |rules: Vec<Value>| json!({"and_rules": {"rules": rules}});
        if self.to.is_empty() {
            return vec![all(vec![json!({"any": true})])];
        }
        self.to.iter().map(|to| all(to.operation.rules())).collect()
    }
}

impl Operation {
    fn rules(&self) -> Vec<Value> {
        type Part<'a> = (&'a [String], &'a [String], fn(&str) -> Value);
        let parts: [Part<'_>; 3] = [
            (&self.hosts, &self.not_hosts, |host| header(":authority", host, true)),
            (&self.methods, &self.not_methods, |method| header(":method", method, false)),
            (&self.paths, &self.not_paths, |path| json!({"url_path": {"path": text_match(path, false)}})),
        ];
        let mut rules = Vec::new();
        for (values, not_values, rule) in parts {
            let any = |values: &[String]| {
                let rules: Vec<_> = values.iter().map(|value| rule(value)).collect();
                json!({"or_rules": {"rules": rules}})
            };
            if !values.is_empty() {
                rules.push(any(values));
            }
            if !not_values.is_empty() {
                rules.push(json!({"not_rule": any(not_values)}));
            }
        }
        assert!(!rules.is_empty(), "an empty operation");
        rules
    }
}

fn header(name: &str, value: &str, ignore_case: bool) -> Value {
    if value == "*" {
        return json!({"header": {"name": name, "present_match": true}});
    }
    json!({"header": {"name": name, "string_match": text_match(value, ignore_case)}})
}

/// A text, `*` for any, or the beginning or end of one.
fn text_match(value: &str, ignore_case: bool) -> Value {
    assert!(!value.contains('{'), "path templates are not made use of: `{value}`");
    let mut matcher = match (value.strip_suffix('*'), value.strip_prefix('*')) {
        (Some(""), _) => return json!({"safe_regex": {"regex": ".+"}}),
        (Some(start), _) => json!({"prefix": start}),
        (_, Some(end)) => json!({"suffix": end}),
        (None, None) => json!({"exact": value}),
    };
    if ignore_case {
        matcher["ignore_case"] = true.into();
    }
    matcher
}
