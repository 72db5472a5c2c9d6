//! The manifests, as kustomize builds them.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{
    agreement::{arguments, container, disagreements},
    at, chart, items, judge, kubectl, named, of_kind, packages, python, run, text, texts,
};
use crate::support::workspace::root;

/// What a folder below `deploy/kustomize` makes. Python reads it.
fn built(folder: &str) -> Option<Vec<Value>> {
    built_from(&root().join("deploy/kustomize").join(folder))
}

fn built_from(folder: &Path) -> Option<Vec<Value>> {
    let (kubectl, python) = (kubectl()?, python()?);
    let yaml = run(Command::new(kubectl).arg("kustomize").arg(folder), b"");
    let objects: Vec<Value> = serde_json::from_str(&packages(&python, &["yaml".as_ref()], yaml.as_bytes())).unwrap();
    judge(&python, &objects, &["Certificate", "Issuer"], &folder.display().to_string());
    Some(objects)
}

#[test]
fn what_is_built_is_right_and_fits_together() {
    for folder in ["base", "overlays/namespaced", "overlays/with-webhook"] {
        let Some(objects) = built(folder) else { return };
        assert_eq!(disagreements(&objects), [""; 0], "{folder}");
        let definition = named(&objects, "CustomResourceDefinition", "authconfigs.authorino.kuadrant.io");
        let Some(expected) = definition_file() else { return };
        assert_eq!(definition["spec"], expected["spec"], "{folder}");
        let deployments = of_kind(&objects, "Deployment");
        for deployment in deployments {
            assert_eq!(text(container(deployment), "image"), "ghcr.io/usher-authz/usher:0.1.0", "{folder}");
        }
    }
}

fn definition_file() -> Option<Value> {
    let yaml = fs::read(root().join("deploy/crds/authconfigs.yaml")).unwrap();
    let read: Value = serde_json::from_str(&packages(&python()?, &["yaml".as_ref()], &yaml)).unwrap();
    Some(read[0].clone())
}

#[test]
fn it_is_what_the_chart_makes() {
    for (folder, values) in [
        ("base", json!({})),
        ("overlays/with-webhook", json!({"webhook": {"enabled": true, "certManager": {"enabled": true}}})),
    ] {
        let Some(objects) = built(folder) else { return };
        let case = json!([{"name": "usher", "namespace": "usher", "values": values}]);
        let Some(rendered) = chart::ask("render", &case) else { return };
        let by_helm: Vec<_> = items(&rendered[0], "objects").iter().cloned().map(comparable).collect();
        let by_kustomize: Vec<_> = objects.into_iter().map(comparable).collect();
        let name = |object: &Value| format!("{} {}", text(object, "kind"), text(object, "metadata/name"));
        for object in &by_helm {
            let other = named(&by_kustomize, text(object, "kind"), text(object, "metadata/name"));
            assert_eq!(other, object, "{folder}: {}", name(object));
        }
        let more = by_kustomize.iter().filter(|object| !by_helm.contains(object)).map(name);
        let expected = ["Namespace usher", "CustomResourceDefinition authconfigs.authorino.kuadrant.io"];
        assert_eq!(more.collect::<Vec<_>>(), expected, "{folder}");
    }
}

/// Without what tells Helm and kustomize apart: labels about Helm, and the namespace in the names of what has none.
fn comparable(mut object: Value) -> Value {
    for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
        if let Some(labels) = object.pointer_mut(labels).and_then(Value::as_object_mut) {
            for label in ["helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/version"] {
                labels.remove(label);
            }
        }
    }
    for name in ["/metadata/name", "/roleRef/name"] {
        if let Some(Value::String(name)) = object.pointer_mut(name)
            && let Some(short) = name.strip_prefix("usher.")
        {
            *name = short.to_owned();
        }
    }
    object
}

#[test]
fn one_namespace_has_its_own_rights_only() {
    let Some(objects) = built("overlays/namespaced") else { return };
    let roles: Vec<_> = of_kind(&objects, "ClusterRoleBinding").iter().map(|role| text(role, "roleRef/name")).collect();
    assert_eq!(roles, ["usher-k8s-auth"]);
    let Some(base) = built("base") else { return };
    let (here, everywhere) = (named(&objects, "Role", "usher-manager"), named(&base, "ClusterRole", "usher-manager"));
    assert_eq!(here["rules"], everywhere["rules"]);
    let watched = &items(container(named(&objects, "Deployment", "usher")), "env")[0];
    assert_eq!(text(watched, "name"), "WATCH_NAMESPACE");
    assert_eq!(text(watched, "valueFrom/fieldRef/fieldPath"), "metadata.namespace");
}

#[test]
fn what_the_readme_says_works() {
    let readme = fs::read_to_string(root().join("deploy/kustomize/README.md")).unwrap();
    let blocks: Vec<_> = readme.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let [own, replacements] = blocks[..] else { panic!("{} blocks", blocks.len()) };
    let base = "https://github.com/usher-authz/usher//deploy/kustomize/base";
    assert!(own.contains(base));

    let folder = tempfile::tempdir().unwrap();
    let overlay = |original: &str| own.replace(base, &relative(folder.path(), original).display().to_string());
    let build = |kustomization: String| {
        fs::write(folder.path().join("kustomization.yaml"), kustomization).unwrap();
        built_from(folder.path())
    };
    for original in ["base", "overlays/namespaced"] {
        let Some(objects) = build(overlay(original)) else { return };
        in_other_namespace(&objects, original);
        let deployment = named(&objects, "Deployment", "usher");
        assert_eq!(text(container(deployment), "image"), "registry.example.com/usher:0.1.0");
        assert_eq!(arguments(deployment)["--auth-config-label-selector"], "shard=a");
    }

    let Some(objects) = build(format!("{}{replacements}", overlay("overlays/with-webhook"))) else { return };
    in_other_namespace(&objects, "overlays/with-webhook");
    let names = at(named(&objects, "Certificate", "usher-webhook"), "spec/dnsNames");
    assert_eq!(texts(names), ["usher-webhook.gateways.svc", "usher-webhook.gateways.svc.cluster.local"]);
    let webhook = named(&objects, "ValidatingWebhookConfiguration", "usher-webhook");
    assert_eq!(webhook["metadata"]["annotations"]["cert-manager.io/inject-ca-from"], "gateways/usher-webhook");
}

fn in_other_namespace(objects: &[Value], original: &str) {
    assert_eq!(disagreements(objects), [""; 0], "{original}");
    named(objects, "Namespace", "gateways");
    for object in objects {
        assert!(["", "gateways"].contains(&text(object, "metadata/namespace")), "{original}: {object}");
    }
}

/// The way from a folder to one of kustomize, which takes no other.
fn relative(from: &Path, to: &str) -> PathBuf {
    let from = from.canonicalize().unwrap();
    let up = from.components().skip(1).map(|_| OsStr::new(".."));
    let root = root();
    up.chain(root.components().skip(1).map(|part| part.as_os_str()))
        .collect::<PathBuf>()
        .join("deploy/kustomize")
        .join(to)
}
