//! Rights: no more than is needed, and no less.

use serde_json::{Value, json};

use super::{
    super::{agreement::container, at, cluster::Cluster, items, named, of_kind, text, texts},
    render,
};
use crate::support::wait::until;

#[test]
fn rights_are_what_is_needed() {
    let Some(all) = render(&[json!({}), json!({"watchNamespace": "shop"})]) else { return };
    let all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
    let rule = |group: &str, resource: &str, verbs: &[&str]| json!({"apiGroups": [group], "resources": [resource], "verbs": verbs});
    let authorino = "authorino.kuadrant.io";
    let manager = json!([
        rule("", "secrets", &["get", "list", "watch"]),
        rule(authorino, "authconfigs", &["get", "list", "watch"]),
        rule(authorino, "authconfigs/status", &["get", "patch", "update"]),
    ]);
    let election = json!([rule("coordination.k8s.io", "leases", &["get", "create", "update"])]);
    let reviews = json!([
        rule("authentication.k8s.io", "tokenreviews", &["create"]),
        rule("authorization.k8s.io", "subjectaccessreviews", &["create"]),
    ]);
    let everywhere = &all[0].objects;
    assert_eq!(*at(named(everywhere, "ClusterRole", "gateways.usher-manager"), "rules"), manager);
    assert_eq!(*at(named(everywhere, "ClusterRole", "gateways.usher-k8s-auth"), "rules"), reviews);
    assert_eq!(*at(named(everywhere, "Role", "usher-leader-election"), "rules"), election);
    assert_eq!(of_kind(everywhere, "ClusterRoleBinding").len(), 2);

    let scoped = &all[1].objects;
    let role = named(scoped, "Role", "usher-manager");
    assert_eq!((text(role, "metadata/namespace"), at(role, "rules")), ("shop", &manager));
    let binding = named(scoped, "RoleBinding", "usher-manager");
    assert_eq!((text(binding, "metadata/namespace"), text(binding, "subjects/0/namespace")), ("shop", "gateways"));
    assert_eq!(text(named(scoped, "Role", "usher-leader-election"), "metadata/namespace"), "gateways");
    let bound: Vec<_> =
        of_kind(scoped, "ClusterRoleBinding").iter().map(|binding| text(binding, "roleRef/name")).collect();
    assert_eq!(bound, ["gateways.usher-k8s-auth"], "reviews have no namespace");

    // Nobody else has a right: roles for people are bound by aggregation.
    for (name, verbs, aggregation) in
        [("editor", 7, vec!["aggregate-to-admin", "aggregate-to-edit"]), ("viewer", 3, vec!["aggregate-to-view"])]
    {
        let role = named(everywhere, "ClusterRole", &format!("gateways.usher-authconfig-{name}"));
        assert_eq!(items(role, "rules/0/verbs").len(), verbs);
        for label in aggregation {
            assert_eq!(role["metadata"]["labels"][format!("rbac.authorization.k8s.io/{label}")], "true");
        }
    }
}

#[test]
fn without_rights_of_its_own_it_gets_none() {
    let Some(all) = render(&[
        json!({"rbac": {"create": false, "userRoles": false}}),
        json!({"serviceAccount": {"create": false, "name": "mine"}}),
        json!({"securityContext": {"readOnlyRootFilesystem": false}, "podSecurityContext": {"runAsUser": null}}),
    ]) else {
        return;
    };
    let all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
    assert!(!all[0].objects.iter().any(|object| text(object, "apiVersion").starts_with("rbac.")));
    assert!(of_kind(&all[1].objects, "ServiceAccount").is_empty());
    assert_eq!(text(all[1].deployment(), "spec/template/spec/serviceAccountName"), "mine");
    assert_eq!(at(container(all[2].deployment()), "securityContext/readOnlyRootFilesystem"), false);
    assert_eq!(*at(all[2].deployment(), "spec/template/spec/securityContext/runAsUser"), Value::Null);
}

/// Whether the rules of some roles permit a request.
fn is_permitted(roles: &[&Value], call: &Value) -> bool {
    let has = |rule: &Value, list: &str, value: &str| texts(at(rule, list)).contains(&value);
    roles.iter().flat_map(|role| items(role, "rules")).any(|rule| {
        has(rule, "apiGroups", text(call, "group"))
            && has(rule, "resources", text(call, "resource"))
            && has(rule, "verbs", text(call, "verb"))
    })
}

#[test]
fn what_it_asks_the_api_server_it_may_ask() {
    let sets = [json!({}), json!({"watchNamespace": "shop"})];
    let Some(all) = render(&sets) else { return };
    for (values, rendered) in sets.iter().zip(all) {
        let rendered = rendered.unwrap();
        let cluster = Cluster::start(&texts(at(container(rendered.deployment()), "args")));
        assert_eq!(cluster.check("open.test", &[]).status, 200);
        assert_eq!(cluster.check("closed.test", &[("authorization", "Bearer secret")]).status, 200);
        assert_eq!(cluster.check("reviewed.test", &[("authorization", "Bearer token")]).status, 200);
        let calls = until("all kinds of requests", || {
            let calls = cluster.calls();
            let is_there = |verb: &str, resource: &str| {
                calls.iter().any(|call| text(call, "verb") == verb && text(call, "resource") == resource)
            };
            for (verb, resource) in [
                ("watch", "authconfigs"),
                ("patch", "authconfigs/status"),
                ("watch", "secrets"),
                ("get", "secrets"),
                ("create", "leases"),
                ("create", "tokenreviews"),
                ("create", "subjectaccessreviews"),
            ] {
                if !is_there(verb, resource) {
                    return Err(format!("no {verb} of {resource}"));
                }
            }
            Ok(calls)
        });
        let bound = |kind: &str| {
            let bindings = of_kind(&rendered.objects, &format!("{kind}Binding"));
            let roles = bindings.into_iter().map(|binding| text(binding, "roleRef/name"));
            roles.map(|name| named(&rendered.objects, kind, name)).collect::<Vec<_>>()
        };
        let (everywhere, in_namespaces) = (bound("ClusterRole"), bound("Role"));
        for call in calls.iter().filter(|call| !text(call, "resource").is_empty()) {
            let namespace = text(call, "namespace");
            // Outside of a pod the program does not know in which namespace the lease should be.
            let reaches =
                |role: &Value| namespace == text(role, "metadata/namespace") || text(call, "resource") == "leases";
            let roles: Vec<_> =
                everywhere.iter().chain(in_namespaces.iter().filter(|role| reaches(role))).copied().collect();
            let mut shown = call.clone();
            shown["body"] = Value::Null;
            assert!(is_permitted(&roles, call), "{values}: {shown}");
        }
    }
}
