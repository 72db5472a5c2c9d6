//! What the commands of `kubectl` mean for the tests.
//!
//! | command | |
//! | --- | --- |
//! | `apply` | tells with which files the gateway and Usher are set up from there on |
//! | `wait`, `rollout status` | name what must have been applied |
//! | `port-forward`, and `get` of an address | do so, too, and tell where the gateway is reached |
//! | `exec … -- sh` | tells which workload the reader is from there on |
//! | `rollout`, `patch` of Usher's own Deployment | that is no part of a guide: nothing |
//!
//! Everything else is an error.

use std::path::Path;

use super::script::{Action, files, only};

/// What a command names.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) kind: &'static str,
    pub(super) namespace: String,
    /// None: any, as long as there are some.
    pub(super) name: Option<String>,
}

const FILES: [&str; 2] = ["-f", "--filename"];

/// Reads the words after `kubectl`. `folder`: where it runs.
///
/// # Errors
/// What is not known here.
pub(super) fn action(folder: &Path, arguments: &[String]) -> Result<Action, String> {
    let (namespace, arguments) = match arguments {
        [flag, namespace, rest @ ..] if flag == "--namespace" => (namespace.as_str(), rest),
        all => ("default", all),
    };
    let deployment = |name: &str| object("Deployment", namespace, Some(name));
    let of_deployment = |pod: &str| {
        let name = pod.strip_prefix("deployment/").ok_or("a pod of which Deployment?")?;
        Ok::<_, String>(deployment(name))
    };
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["apply", ..] => {
            only(&arguments[1..], &FILES)?;
            Ok(Action::Apply(files(folder, &arguments[1..], &FILES)))
        }
        ["rollout", "status", "deployment", "usher"] | ["patch", "deployment", "usher", ..] if namespace == "usher" => {
            Ok(Action::Nothing)
        }
        ["rollout", "status", "deployment", name] => Ok(Action::Find(deployment(name))),
        ["wait", condition, kind, "--all"] => Ok(Action::Find(object(kind_of(kind, condition)?, namespace, None))),
        ["wait", condition, named] => {
            let (kind, name) = named.split_once('/').ok_or("which one, or `--all`?")?;
            Ok(Action::Find(object(kind_of(kind, condition)?, namespace, Some(name))))
        }
        ["port-forward", pod, ports] => {
            let port = ports.split(':').next().unwrap_or_default();
            Ok(Action::Forward { to: of_deployment(pod)?, port: port.to_owned() })
        }
        ["exec", "--stdin", "--tty", pod, "--", "sh"] => Ok(Action::Enter(of_deployment(pod)?)),
        _ => Err("this command of kubectl is not known here".to_owned()),
    }
}

/// The Gateway whose address this command prints.
pub(super) fn gateway_of_address(command: &[String]) -> Option<Object> {
    const ADDRESS: &str = "jsonpath={.status.addresses[0].value}";
    match command.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["kubectl", "--namespace", namespace, "get", "gtw", name, "--output", ADDRESS] => {
            Some(object("Gateway", namespace, Some(name)))
        }
        _ => None,
    }
}

/// The kind that a command calls so, and that has such a condition.
fn kind_of(called: &str, condition: &str) -> Result<&'static str, String> {
    match (called, condition) {
        ("authconfig" | "authconfigs", "--for=condition=Ready") => Ok("AuthConfig"),
        // Where Istio is, `gateway` may mean a kind of its own.
        ("gtw", "--for=condition=Programmed") => Ok("Gateway"),
        _ => Err(format!("to wait with `{condition}` for `{called}` is not known here")),
    }
}

fn object(kind: &'static str, namespace: &str, name: Option<&str>) -> Object {
    Object { kind, namespace: namespace.to_owned(), name: name.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::{
        super::shell::{Variables, words},
        *,
    };

    fn parsed(command: &str) -> Vec<String> {
        words(command, &Variables::new()).unwrap()
    }

    #[test]
    fn objects_are_named() {
        for (command, expected) in [
            ("rollout status deployment a", "Find(Deployment default Some(a))"),
            ("--namespace usher rollout status deployment usher", "Nothing"),
            ("--namespace usher patch deployment usher --type json --patch '[]'", "Nothing"),
            ("--namespace a wait --for=condition=Ready authconfig/b", "Find(AuthConfig a Some(b))"),
            ("--namespace a wait --for=condition=Ready authconfigs --all", "Find(AuthConfig a None)"),
            ("--namespace a wait --for=condition=Programmed gtw/b", "Find(Gateway a Some(b))"),
            ("--namespace a port-forward deployment/b 8080:80", "Forward(Deployment a Some(b))"),
            ("--namespace a exec --stdin --tty deployment/b -- sh", "Enter(Deployment a Some(b))"),
        ] {
            let said = |Object { kind, namespace, name }: Object| {
                format!("({kind} {namespace} {})", format!("{name:?}").replace('"', ""))
            };
            let found = match action(Path::new(""), &parsed(command)).unwrap() {
                Action::Find(object) => format!("Find{}", said(object)),
                Action::Forward { to, .. } => format!("Forward{}", said(to)),
                Action::Enter(object) => format!("Enter{}", said(object)),
                other => format!("{other:?}"),
            };
            assert_eq!(found, expected, "{command}");
        }
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        for command in [
            "delete pod a",
            "get pods",
            "apply",
            "apply -k folder",
            "rollout status deployments a",
            "rollout restart deployment a",
            "rollout status deployment usher --watch",
            "patch deployment usher",
            "wait --for=condition=Ready gtw/a",
            "wait --for=condition=Programmed gateway/a",
            "wait --for=condition=Readdy authconfig/a",
            "wait --for=condition=Ready authconfigs",
            "wait authconfig/a",
            "port-forward a 8080",
            "port-forward deployment/a",
            "exec deployment/a -- sh",
            "exec --stdin --tty a -- sh",
            "exec --stdin --tty deployment/a -- curl http://a.test/",
        ] {
            assert!(action(Path::new(""), &parsed(command)).is_err(), "{command}");
        }
        for command in [
            "kubectl get gtw a",
            "kubectl --namespace a get gateway b --output jsonpath='{.status.addresses[0].value}'",
        ] {
            assert!(gateway_of_address(&parsed(command)).is_none(), "{command}");
        }
    }
}
