//! The chart, as Helm renders it.

mod rights;
mod values;

use std::fs;

use serde_json::{Value, json};

use super::{
    agreement::{arguments, container, disagreements},
    at, items, judge, named, of_kind, packages, python, text,
};
use crate::support::workspace::root;

/// What a set of values makes.
#[derive(Debug)]
struct Rendered {
    objects: Vec<Value>,
    notes: String,
}

impl Rendered {
    fn deployment(&self) -> &Value {
        named(&self.objects, "Deployment", "usher")
    }
}

/// The release `usher` in the namespace `gateways`, with each set of values: what it makes, or why it makes nothing.
fn render(values: &[Value]) -> Option<Vec<Result<Rendered, String>>> {
    let cases: Vec<_> =
        values.iter().map(|values| json!({"name": "usher", "namespace": "gateways", "values": values})).collect();
    let answers = ask("render", &Value::Array(cases))?;
    let read = |answer: &Value| match answer["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(Rendered { objects: items(answer, "objects").to_vec(), notes: text(answer, "notes").to_owned() }),
    };
    let answers: Vec<_> = answers.as_array().unwrap().iter().map(read).collect();
    assert_eq!(answers.len(), values.len());
    Some(answers)
}

/// [`render`] with one set of values, which must be right.
fn rendered(values: Value) -> Option<Rendered> {
    Some(render(&[values])?.remove(0).unwrap())
}

/// The answer of the engine of Helm about the chart.
pub(super) fn ask(command: &str, input: &Value) -> Option<Value> {
    let chart = root().join("deploy/helm/usher");
    let arguments = [command.as_ref(), chart.as_os_str()];
    Some(serde_json::from_str(&packages(&python()?, &arguments, input.to_string().as_bytes())).unwrap())
}

/// Sets of values that have, together, another value for everything.
fn sets() -> Option<Vec<(&'static str, Value)>> {
    Some(vec![
        ("nothing said", json!({})),
        ("one of everything", everything()?),
        ("everything else", everything_else()?),
        ("two shards, the first", json!({"fullnameOverride": "shard-a", "authConfigLabelSelector": "shard=a"})),
        (
            "a claim",
            json!({
                "replicaCount": 1,
                "snapshot": {"enabled": true, "volume": {"persistentVolumeClaim": {"claimName": "snapshot"}}},
            }),
        ),
        (
            "only gRPC",
            json!({
                "authorization": {"httpPort": 0}, "oidc": {"port": 0}, "metrics": {"port": 0}, "replicaCount": 1,
                "networkPolicy": {"enabled": true}, "monitoring": {"serviceMonitor": {"enabled": true, "force": true}},
            }),
        ),
        ("only plain HTTP", json!({"authorization": {"grpcPort": 0}, "networkPolicy": {"enabled": true}})),
        (
            "large numbers",
            json!({"upstreams": {"maxBody": 104_857_600}, "authorization": {"timeoutMilliseconds": 3_600_000}}),
        ),
        (
            "rights from elsewhere",
            json!({"serviceAccount": {"create": false, "name": "mine"}, "rbac": {"create": true, "userRoles": false}}),
        ),
    ])
}

fn everything() -> Option<Value> {
    yaml("tests/parts/packages/values/everything.yaml")
}

/// What [`everything`] cannot have beside the rest.
fn everything_else() -> Option<Value> {
    yaml("tests/parts/packages/values/everything-else.yaml")
}

#[test]
fn what_is_rendered_is_right_and_fits_together() {
    let (Some(python), Some(sets)) = (python(), sets()) else { return };
    let (names, values): (Vec<_>, Vec<_>) = sets.into_iter().unzip();
    let Some(all) = render(&values) else { return };
    for (name, rendered) in names.iter().zip(all) {
        let rendered = rendered.unwrap_or_else(|error| panic!("{name}: {error}"));
        let others = ["Certificate", "Issuer", "PodMonitor", "PrometheusRule", "ServiceMonitor"];
        judge(&python, &rendered.objects, &others, name);
        assert_eq!(disagreements(&rendered.objects), [""; 0], "{name}");
        assert!(rendered.notes.contains("-authorization.gateways.svc"), "{name}: {}", rendered.notes);
    }
}

#[test]
fn what_does_not_fit_together_is_found() {
    let Some(rendered) = rendered(json!({"networkPolicy": {"enabled": true}})) else { return };
    let position = |kind: &str| rendered.objects.iter().position(|object| text(object, "kind") == kind).unwrap();
    let pod = "/spec/template/spec";
    for (kind, place, value) in [
        ("Deployment", format!("{pod}/containers/0/args/0"), json!("--no-such-flag=1")),
        ("Deployment", format!("{pod}/containers/0/args/0"), json!("--ext-auth-grpc-port=many")),
        ("Deployment", format!("{pod}/containers/0/args/0"), json!("--ext-auth-grpc-port=50052")),
        ("Deployment", format!("{pod}/containers/0/args/0"), json!("--tls-cert=/etc/usher/tls.crt")),
        ("Deployment", format!("{pod}/containers/0/ports/0/name"), json!("other")),
        ("Deployment", format!("{pod}/containers/0/readinessProbe/httpGet/path"), json!("/healthz")),
        ("Deployment", format!("{pod}/terminationGracePeriodSeconds"), json!(25)),
        ("Deployment", format!("{pod}/containers/0/securityContext/readOnlyRootFilesystem"), json!(false)),
        ("Deployment", format!("{pod}/serviceAccountName"), json!("default")),
        ("Deployment", "/spec/template/metadata/labels/app.kubernetes.io~1component".to_owned(), json!("other")),
        ("Service", "/spec/ports/0/targetPort".to_owned(), json!("other")),
        ("Service", "/metadata/name".to_owned(), json!("usher-oidc")),
        ("NetworkPolicy", "/spec/ingress/0/ports/0/port".to_owned(), json!("other")),
        ("PodDisruptionBudget", "/spec/selector/matchLabels/app.kubernetes.io~1name".to_owned(), json!("other")),
        ("ClusterRoleBinding", "/roleRef/name".to_owned(), json!("other")),
        ("RoleBinding", "/subjects/0/namespace".to_owned(), json!("other")),
    ] {
        let mut objects = rendered.objects.clone();
        let changed = objects[position(kind)].pointer_mut(&place).unwrap_or_else(|| panic!("{kind} {place}"));
        assert_ne!(*changed, value);
        *changed = value;
        assert!(!disagreements(&objects).is_empty(), "{kind} {place}");
    }
}

#[test]
fn helm_finds_nothing_to_say() {
    let Some(sets) = sets() else { return };
    let values: Vec<_> = sets.iter().map(|(_, values)| values.clone()).collect();
    let Some(reports) = ask("lint", &Value::Array(values)) else { return };
    for ((name, _), report) in sets.iter().zip(reports.as_array().unwrap()) {
        assert_eq!(*report, json!([]), "{name}");
    }
}

/// The only document of a file.
fn yaml(path: &str) -> Option<Value> {
    let text = fs::read(root().join(path)).unwrap();
    let mut documents: Vec<Value> = serde_json::from_str(&packages(&python()?, &["yaml".as_ref()], &text)).unwrap();
    assert_eq!(documents.len(), 1, "{path}");
    documents.pop()
}

#[test]
fn there_is_one_leader_where_there_can_be_several_pods() {
    let sets = [
        (json!({}), true, true),
        (json!({"replicaCount": 1}), false, false),
        (json!({"autoscaling": {"enabled": true}}), true, true),
        (json!({"autoscaling": {"enabled": true, "maxReplicas": 1, "minReplicas": 1}}), false, false),
        (json!({"replicaCount": 2, "podDisruptionBudget": {"enabled": false}}), true, false),
    ];
    let values: Vec<_> = sets.iter().map(|(values, ..)| values.clone()).collect();
    let Some(all) = render(&values) else { return };
    for ((values, elects, has_budget), rendered) in sets.iter().zip(all) {
        let rendered = rendered.unwrap();
        assert_eq!(arguments(rendered.deployment()).contains_key("--enable-leader-election"), *elects, "{values}");
        assert_eq!(of_kind(&rendered.objects, "PodDisruptionBudget").len(), usize::from(*has_budget), "{values}");
        let is_scaled = values["autoscaling"]["enabled"] == true;
        assert_eq!(at(rendered.deployment(), "spec/replicas").is_null(), is_scaled, "{values}");
    }
}

#[test]
fn a_file_of_a_node_is_written_by_one_pod() {
    let Some(rendered) = everything().and_then(rendered) else { return };
    let pod = at(rendered.deployment(), "spec/template/spec");
    let apart = &items(pod, "affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution")[0];
    assert_eq!(text(apart, "topologyKey"), "kubernetes.io/hostname");
    assert_eq!(at(apart, "labelSelector/matchLabels"), at(rendered.deployment(), "spec/selector/matchLabels"));
    assert!(!at(pod, "affinity/nodeAffinity").is_null(), "what was there stays");
    assert_eq!(*at(rendered.deployment(), "spec/strategy/rollingUpdate"), json!({"maxSurge": 0, "maxUnavailable": 1}));
}

#[test]
fn it_takes_the_place_of_an_authorino_of_the_operator() {
    let Some(rendered) = rendered(json!({
        "fullnameOverride": "authorino-authorino",
        "podLabels": {"control-plane": "controller-manager", "authorino-resource": "authorino"},
    })) else {
        return;
    };
    let ports = |name: &str| {
        let service = named(&rendered.objects, "Service", name);
        let ports = items(service, "spec/ports").iter();
        ports.map(|port| (text(port, "name").to_owned(), port["port"].as_u64().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(ports("authorino-authorino-authorization"), [("grpc".to_owned(), 50051), ("http".to_owned(), 5001)]);
    assert_eq!(ports("authorino-authorino-oidc"), [("http".to_owned(), 8083)]);
    assert_eq!(ports("authorino-authorino-metrics"), [("http".to_owned(), 8080)]);
    let deployment = named(&rendered.objects, "Deployment", "authorino-authorino");
    let labels = at(deployment, "spec/template/metadata/labels");
    assert_eq!(
        (&labels["control-plane"], &labels["authorino-resource"]),
        (&json!("controller-manager"), &json!("authorino"))
    );
    assert_eq!(
        *at(named(&rendered.objects, "ServiceAccount", "authorino-authorino"), "metadata/name"),
        "authorino-authorino"
    );
    // The operator would take other tags for a very old version.
    assert_eq!(text(container(deployment), "image"), "ghcr.io/usher-authz/usher:0.1.0");
    let grpc = &items(named(&rendered.objects, "Service", "authorino-authorino-authorization"), "spec/ports")[0];
    assert_eq!(text(grpc, "appProtocol"), "kubernetes.io/h2c");
}

/// Gateways that go by it would speak HTTP/1.1 with `https`.
#[test]
fn the_grpc_port_says_that_it_speaks_http2() {
    let tls = json!({"enabled": true, "secretName": "usher-tls"});
    let cases = [
        (json!({}), "kubernetes.io/h2c"),
        (json!({"authorization": {"tls": tls}}), "grpc"),
        (json!({"authorization": {"tls": tls, "service": {"grpcAppProtocol": "http2"}}}), "http2"),
    ];
    let Some(charts) = render(&cases.clone().map(|(values, _)| values)) else { return };
    for ((values, expected), chart) in cases.iter().zip(charts) {
        let chart = chart.unwrap();
        let ports = items(named(&chart.objects, "Service", "usher-authorization"), "spec/ports");
        assert_eq!((text(&ports[0], "name"), text(&ports[0], "appProtocol")), ("grpc", *expected), "{values}");
    }
}

#[test]
fn releases_share_a_cluster() {
    let Some(python) = python() else { return };
    let chart = root().join("deploy/helm/usher");
    let case = |name: &str, namespace: &str| json!({"name": name, "namespace": namespace, "values": {"webhook": {"enabled": true, "certManager": {"enabled": true}}}});
    let cases = json!([case("a", "one"), case("b", "one"), case("a", "two")]);
    let answers = packages(&python, &["render".as_ref(), chart.as_os_str()], cases.to_string().as_bytes());
    let answers: Value = serde_json::from_str(&answers).unwrap();
    let objects: Vec<_> =
        answers.as_array().unwrap().iter().flat_map(|answer| items(answer, "objects")).cloned().collect();
    // Names are taken once, and selectors find the pods of their release only: pods are found in their namespace.
    for namespace in ["one", "two"] {
        let here = |object: &&Value| ["", namespace].contains(&text(object, "metadata/namespace"));
        let here: Vec<_> = objects.iter().filter(here).cloned().collect();
        let wrong: Vec<_> = disagreements(&here)
            .into_iter()
            .filter(|wrong| !wrong.starts_with("ClusterRoleBinding") && !wrong.starts_with("Validating"))
            .collect();
        assert_eq!(wrong, [""; 0], "{namespace}");
    }
}

#[test]
fn kinds_of_others_are_left_out_where_nobody_knows_them() {
    let Some(rendered) = rendered(json!({"monitoring": {
        "serviceMonitor": {"enabled": true}, "podMonitor": {"enabled": true}, "prometheusRule": {"enabled": true},
    }})) else {
        return;
    };
    assert!(!rendered.objects.iter().any(|object| text(object, "apiVersion").starts_with("monitoring.")));
    for name in ["serviceMonitor", "podMonitor", "prometheusRule"] {
        assert!(rendered.notes.contains(&format!("`monitoring.{name}` is left out")), "{}", rendered.notes);
    }
}

#[test]
fn the_definition_of_auth_configs_is_that_of_the_program() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let is_same = read("deploy/helm/usher/crds/authconfigs.yaml") == read("deploy/crds/authconfigs.yaml");
    assert!(is_same, "cp deploy/crds/authconfigs.yaml deploy/helm/usher/crds/");
}

#[test]
fn the_version_is_that_of_the_program() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = ")).unwrap();
    for path in ["deploy/helm/usher/Chart.yaml", "Dockerfile", "deploy/kustomize/base/kustomization.yaml"] {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let expected = match path {
            "Dockerfile" => format!("--tag usher:{}", version.trim_matches('"')),
            path if path.ends_with("Chart.yaml") => format!("appVersion: {version}"),
            _ => format!("newTag: {}", version.trim_matches('"')),
        };
        assert!(text.contains(&expected), "{path}: {expected}");
    }
}
