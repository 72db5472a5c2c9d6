//! Values: each has an effect, and those that make no sense are refused.

use std::{collections::BTreeSet, fs};

use serde_json::{Map, Value, json};

use super::{
    super::{
        agreement::{arguments, flags},
        packages, python,
    },
    Rendered, everything, everything_else, render, rendered, yaml,
};
use crate::support::workspace::root;

#[test]
fn every_value_has_an_effect() {
    let (Some(defaults), Some(one), Some(other)) =
        (yaml("deploy/helm/usher/values.yaml"), everything(), everything_else())
    else {
        return;
    };
    // Sets of values without one of their leaves: the default counts then.
    let sets = [one, other];
    let mut cases = sets.to_vec();
    let mut leaves = Vec::new();
    collect(&defaults, "", &mut leaves);
    for leaf in &leaves {
        cases.extend(sets.iter().map(|set| without(set, leaf)));
    }
    let Some(rendered) = render(&cases) else { return };
    let differs = |before: &Result<Rendered, String>, after: &Result<Rendered, String>| match (before, after) {
        (Ok(before), Ok(after)) => before.objects != after.objects || before.notes != after.notes,
        // What is needed has an effect, too.
        (Ok(_), Err(_)) => true,
        (Err(error), _) => panic!("{error}"),
    };
    let (before, after) = rendered.split_at(sets.len());
    for (leaf, after) in leaves.iter().zip(after.chunks(sets.len())) {
        let has_effect = before.iter().zip(after).any(|(before, after)| differs(before, after));
        // These are as they should be; other tests change them.
        let is_kept = leaf.starts_with("securityContext/") || leaf.starts_with("podSecurityContext/");
        let is_kept = is_kept || ["rbac/create", "serviceAccount/create"].contains(&leaf.as_str());
        assert!(has_effect || is_kept, "`{leaf}` has no effect, or the sets do not say another value for it");
    }
}

#[test]
fn every_flag_has_a_value() {
    let (Some(one), Some(other)) = (everything(), everything_else()) else { return };
    let Some(rendered) = render(&[one, other]) else { return };
    let rendered: Vec<_> = rendered.into_iter().map(Result::unwrap).collect();
    let set: BTreeSet<_> = rendered.iter().flat_map(|rendered| arguments(rendered.deployment()).into_keys()).collect();
    let missing: Vec<_> = flags("server").into_iter().filter(|flag| !set.contains(flag.as_str())).collect();
    // Pods listen at all of their addresses, and are configured by the cluster.
    assert_eq!(missing, ["--bind-address", "--config", "--help", "--version"]);
}

#[test]
fn a_rate_of_0_is_told() {
    let set =
        |values| rendered(values).map(|rendered| arguments(rendered.deployment()).contains_key("--kube-client-qps"));
    assert_eq!(set(json!({"kubeClient": {"qps": 0}})), set(json!({"kubeClient": {"qps": 1}})));
    assert_ne!(set(json!({})), Some(true));
}

/// The paths of values that have no values below them.
fn collect(value: &Value, path: &str, leaves: &mut Vec<String>) {
    match value.as_object().filter(|members| !members.is_empty()) {
        Some(members) => {
            for (name, below) in members {
                collect(below, format!("{path}/{name}").trim_start_matches('/'), leaves);
            }
        }
        None => leaves.push(path.to_owned()),
    }
}

fn without(values: &Value, path: &str) -> Value {
    let mut values = values.clone();
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let folder = if folder.is_empty() {
        values.as_object_mut()
    } else {
        values.pointer_mut(&format!("/{folder}")).and_then(Value::as_object_mut)
    };
    folder.map(|members: &mut Map<_, _>| members.remove(name));
    values
}

#[test]
fn values_that_make_no_sense_are_refused() {
    let refused = [
        (json!({"replicas": 3}), "replicas"),
        (json!({"authorization": {"port": 50051}}), "port"),
        (json!({"authorization": {"grpcPort": "50051"}}), "grpcPort"),
        (json!({"authorization": {"grpcPort": 80}}), "grpcPort"),
        (json!({"authorization": {"tls": {"minVersion": "1.1"}}}), "minVersion"),
        (json!({"authorization": {"onConditionError": "allow"}}), "onConditionError"),
        (json!({"replicaCount": -1}), "replicaCount"),
        (json!({"replicaCount": 1.5}), "replicaCount"),
        (json!({"watchNamespace": "a,b"}), "watchNamespace"),
        (json!({"log": {"level": "loud"}}), "level"),
        (json!({"image": {"tag": "v0.1.0"}}), "tag"),
        (json!({"image": {"tag": "rev-v0.10.3"}}), "tag"),
        (json!({"image": {"digest": "latest"}}), "digest"),
        (json!({"upstreams": {"allow": ["10.0.0.1"]}}), "allow"),
        (json!({"tracing": {"endpoint": "https://collector"}}), "endpoint"),
        (json!({"snapshot": {"volume": {"emptyDir": {}, "hostPath": {"path": "/x"}}}}), "volume"),
        (json!({"snapshot": {"volume": {"configMap": {"name": "x"}}}}), "volume"),
        (json!({"podDisruptionBudget": {"maxUnavailable": 0}}), "maxUnavailable"),
        (json!({"webhook": {"failurePolicy": "ignore"}}), "failurePolicy"),
        (json!({"webhook": {"caBundle": "-----BEGIN CERTIFICATE-----"}}), "caBundle"),
        (json!({"authorization": {"grpcPort": 0, "httpPort": 0}}), "are both 0"),
        (
            json!({"authorization": {"tls": {"enabled": true}}}),
            "`authorization.tls.enabled` needs `authorization.tls.secretName`",
        ),
        (json!({"oidc": {"tls": {"enabled": true}}}), "`oidc.tls.enabled` needs `oidc.tls.secretName`"),
        (
            json!({"authorization": {"service": {"headless": true, "type": "NodePort"}}}),
            "`authorization.service.headless` needs",
        ),
        (json!({"webhook": {"enabled": true}}), "`webhook.enabled` needs a certificate"),
        (json!({"webhook": {"enabled": true, "secretName": "x"}}), "`webhook.enabled` needs `webhook.caBundle`"),
        (json!({"serviceAccount": {"create": false}}), "`serviceAccount.name` must name"),
        (
            json!({"snapshot": {"enabled": true, "volume": {"persistentVolumeClaim": {"claimName": "x"}}}}),
            "is for one replica",
        ),
    ];
    let accepted = [
        json!({"global": {"anything": 1}}),
        json!({"image": {"tag": "0.1.0"}}),
        json!({"image": {"tag": "v1.0.0"}}),
        json!({"image": {"tag": "v0.11.0"}}),
        json!({"evaluatorCacheSize": null}),
    ];
    let values: Vec<_> = refused.iter().map(|(values, _)| values).chain(&accepted).cloned().collect();
    let Some(answers) = render(&values) else { return };
    let (refusals, rest) = answers.split_at(refused.len());
    for ((values, expected), answer) in refused.iter().zip(refusals) {
        let error = answer.as_ref().err().unwrap_or_else(|| panic!("{values} is accepted"));
        assert!(error.contains(expected), "{values}: {error}");
    }
    for (values, answer) in accepted.iter().zip(rest) {
        assert!(answer.is_ok(), "{values}: {answer:?}");
    }
}

#[test]
fn the_readme_has_all_values() {
    let Some(python) = python() else { return };
    let values = root().join("deploy/helm/usher/values.yaml");
    let table = packages(&python, &["table".as_ref(), values.as_os_str()], b"");
    let readme = fs::read_to_string(root().join("deploy/helm/usher/README.md")).unwrap();
    let command = "tests/parts/packages/packages.py table deploy/helm/usher/values.yaml";
    assert!(readme.ends_with(&table), "the end of deploy/helm/usher/README.md must be what this prints: {command}");
}
