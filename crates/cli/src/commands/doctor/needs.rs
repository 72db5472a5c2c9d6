//! `usher doctor needs`: what AuthConfigs read, and what a gateway must be told because of it.

use clap::{Args, ValueEnum as _};
use usher_compile::{AuthConfigId, needs::Needs};
use usher_source::{
    Change,
    directory::{Loaded, Severity},
};

use super::{
    gateway::Gateway,
    printable,
    settings::{self, Settings},
};
use crate::{
    commands::options::{ConfigOptions, FileOptions},
    exit::Exit,
};

/// Which AuthConfigs, and for which gateway.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    files: FileOptions,

    /// Only this AuthConfig; may be repeated. Default: all of them, and all AuthorizationPolicies.
    #[arg(long = "auth-config", value_name = "NAMESPACE/NAME", value_parser = id)]
    auth_configs: Vec<String>,

    /// Print only the settings of this gateway, as YAML, for all that is meant together.
    #[arg(long)]
    gateway: Option<Gateway>,

    #[command(flatten)]
    #[command(next_help_heading = "Configuration")]
    config: ConfigOptions,
}

fn id(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(text.to_owned())
        }
        _ => Err(format!("`{text}` is not of the form `NAMESPACE/NAME`, such as `default/pets`")),
    }
}

/// What stands before a list that may be too short. It is a comment in YAML.
const INCOMPLETE: &str = "# not everything can be read, see the errors: something may be missing here\n";

/// What the command prints, and how it ends.
///
/// # Errors
/// When what is meant is not there, or cannot be read.
pub(super) fn answer(arguments: &Arguments) -> Result<(String, Exit), String> {
    let loaded = arguments.config.directory(&arguments.files.config).load();
    super::tell_errors(&loaded);
    let found = needs(arguments, &loaded)?;
    let mut text = String::new();
    let mut exit = Exit::Ok;
    if leaves_something_out(&loaded, &arguments.auth_configs) {
        text.push_str(INCOMPLETE);
        exit = Exit::Invalid;
    }
    text.push_str(&listed(&found, arguments.gateway));
    Ok((text, exit))
}

/// Whether something that is wrong may have hidden an AuthConfig or an AuthorizationPolicy that is meant. Secrets are
/// not looked at, and AuthConfigs that are named and found are not hidden by what else there is.
fn leaves_something_out(loaded: &Loaded, wanted: &[String]) -> bool {
    loaded.problems.iter().filter(|problem| problem.severity == Severity::Error).any(|problem| {
        let is_wanted = |object: &str| wanted.iter().any(|wanted| object == format!("AuthConfig {wanted}"));
        match &problem.object {
            Some(object) => !object.starts_with("Secret ") && (wanted.is_empty() || is_wanted(object)),
            None => wanted.is_empty(),
        }
    })
}

/// What each of them reads, and the settings of the gateways; or only the settings of one, for all together.
fn listed(found: &[(String, Needs)], gateway: Option<Gateway>) -> String {
    let mut all = Needs::default();
    for (_, needs) in found {
        all.add_all(needs);
    }
    match gateway {
        Some(gateway) => Settings::of(gateway, &all).text(),
        None => {
            let mut text: String = found.iter().map(|(title, needs)| told(title, needs)).collect();
            text.push_str("\nsettings that send all of this along\n");
            for gateway in Gateway::value_variants() {
                let settings = Settings::of(*gateway, &all).text();
                text.push_str(&format!("\n{gateway}:\n"));
                for line in settings.lines() {
                    text.push_str(&format!("  {line}\n"));
                }
            }
            text
        }
    }
}

/// What each AuthConfig, and each AuthorizationPolicy, that is meant reads.
fn needs(arguments: &Arguments, loaded: &Loaded) -> Result<Vec<(String, Needs)>, String> {
    let wanted = &arguments.auth_configs;
    let mut found = Vec::new();
    for change in &loaded.changes {
        match change {
            Change::AuthConfig(object) => {
                let id = AuthConfigId::of(&object.document.metadata).to_string();
                if wanted.is_empty() || wanted.contains(&id) {
                    let title = format!("AuthConfig {id}");
                    match &object.document.result {
                        Ok(config) => found.push((title, Needs::of(config))),
                        Err(_) => return Err(format!("{title} cannot be read")),
                    }
                }
            }
            Change::AuthorizationPolicy(object) if wanted.is_empty() => {
                let title = format!("AuthorizationPolicy {}", object.document.metadata.name);
                match &object.document.result {
                    Ok(policy) => found.push((title, Needs::of_policy(policy))),
                    Err(_) => return Err(format!("{title} cannot be read")),
                }
            }
            _ => {}
        }
    }
    let is_found = |wanted: &&String| found.iter().any(|(title, _)| *title == format!("AuthConfig {wanted}"));
    match wanted.iter().find(|wanted| !is_found(wanted)) {
        Some(missing) => Err(format!("there is no AuthConfig `{missing}`")),
        None if found.is_empty() => Err("no AuthConfig was found".to_owned()),
        None => Ok(found),
    }
}

/// What one of them reads, and where.
fn told(title: &str, needs: &Needs) -> String {
    let mut text = format!("{} reads\n", printable(title));
    for (attribute, readings) in needs.iter() {
        text.push_str(&format!("  {}\n", printable(&settings::title(attribute))));
        for reading in readings {
            let field = if reading.field.is_empty() { "always" } else { &reading.field };
            text.push_str(&format!("    {}: {}\n", printable(field), printable(&reading.how)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::{Parser, ValueEnum};

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        arguments: Arguments,
    }

    const CONFIG: &str = "\
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: one, namespace: team}
spec: {hosts: [one.test], when: [{predicate: 'request.headers[\"x-one\"] == \"\"'}]}
---
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: two, namespace: team}
spec: {hosts: [two.test], authentication: {a: {apiKey: {selector: {}}}}}
---
apiVersion: envoy.kyverno.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: demo}
spec:
  allow:
  - match: object.attributes.request.http.headers['x-policy'] == ''
    response: envoy.Allowed().Response()
";

    fn of(config: &str, more: &[&str]) -> Result<String, String> {
        of_all(config, more).map(|(text, _)| text)
    }

    fn of_all(config: &str, more: &[&str]) -> Result<(String, Exit), String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.yaml"), config).unwrap();
        let arguments = ["test", "--config", folder.path().to_str().unwrap()];
        answer(&Command::try_parse_from(arguments.iter().chain(more)).unwrap().arguments)
    }

    #[test]
    fn a_list_that_may_be_too_short_says_so() {
        let incomplete = |more: &str, arguments: &[&str]| {
            let (text, exit) = of_all(&format!("{CONFIG}---\n{more}"), arguments).unwrap();
            assert_eq!(text.starts_with(INCOMPLETE), exit == Exit::Invalid, "{more}: {text}");
            assert!(text.contains("x-one"), "{text}");
            exit == Exit::Invalid
        };
        for (more, expected) in [
            ("a: [\n", true),
            ("apiVersion: authorino.kuadrant.io/v1beta1\nkind: AuthConfigs\nmetadata: {name: old}\n", true),
            ("apiVersion: v1\nkind: Service\nmetadata: {name: other}\n", false),
            (
                "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: team, labels: {authorino.kuadrant.io/managed-by: authorino}}\ndata: {a: '*'}\n",
                false,
            ),
        ] {
            assert_eq!(incomplete(more, &[]), expected, "{more}");
            assert_eq!(incomplete(more, &["--gateway", "envoy"]), expected, "{more}");
            assert!(!incomplete(more, &["--auth-config", "team/one"]), "{more}");
        }
    }

    #[test]
    fn names_are_not_taken_for_yaml() {
        let config = r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: one, namespace: team}
spec:
  hosts: [a]
  when:
  - predicate: 'request.context_extensions["a\nspec: {evil: true}\n"] == ""'
  authorization:
    "b\nc": {patternMatching: {patterns: [{predicate: 'request.headers["x-b"] == ""'}]}}
"#;
        for gateway in Gateway::value_variants() {
            let value = gateway.to_possible_value().unwrap();
            let told = of(config, &["--gateway", value.get_name()]).unwrap();
            assert!(!told.lines().any(|line| line.starts_with("spec: {evil")), "{told}");
            let read: Result<Vec<serde_json::Value>, _> = serde_saphyr::from_multiple(&told);
            assert!(read.is_ok(), "{told}");
        }
        let told = of(config, &[]).unwrap();
        assert!(told.contains("  context extension a\\nspec: {evil: true}\\n\n"), "{told}");
        assert!(!told.lines().any(|line| line.starts_with("spec: {evil") || line.starts_with('c')), "{told}");
    }

    #[test]
    fn names_of_auth_configs_have_two_parts() {
        for wrong in ["policy", "a/b/c", "/b", "a/", ""] {
            let parsed = Command::try_parse_from(["test", "--config", "x", "--auth-config", wrong]);
            let error = parsed.map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("NAMESPACE/NAME"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_list_serves_all_that_is_meant() {
        for (more, expected) in [
            (&[][..], "[authorization, x-one, x-policy, x-request-id, x-usher-nesting]"),
            (&["--auth-config", "team/one"], "[x-one, x-request-id, x-usher-nesting]"),
            (
                &["--auth-config", "team/one", "--auth-config", "team/two"],
                "[authorization, x-one, x-request-id, x-usher-nesting]",
            ),
        ] {
            let told = of(CONFIG, &[more, &["--gateway", "kgateway"]].concat()).unwrap();
            assert_eq!(
                told,
                format!("# GatewayExtension\nspec:\n  extAuth:\n    headersToForward: {expected}\n"),
                "{more:?}"
            );
        }
        let told = of(CONFIG, &[]).unwrap();
        for expected in [
            "AuthConfig team/one reads\n  header x-one\n    spec.when[0].predicate: reads \
             `request.headers[\"x-one\"]`\n",
            "AuthConfig team/two reads\n  header authorization\n",
            "AuthorizationPolicy demo reads\n  header x-policy\n    spec.allow[0].match: reads ",
            "\nIstio waypoint:\n  # nothing to set\n",
        ] {
            assert!(told.contains(expected), "{expected}\n{told}");
        }
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let missing = of(CONFIG, &["--auth-config", "team/three"]);
        assert_eq!(missing.unwrap_err(), "there is no AuthConfig `team/three`");
        assert_eq!(of("kind: Other\n", &[]).unwrap_err(), "no AuthConfig was found");
        let broken = CONFIG.replace("hosts: [one.test]", "hots: [one.test]");
        assert_eq!(of(&broken, &[]).unwrap_err(), "AuthConfig team/one cannot be read");
        assert!(of(&broken, &["--auth-config", "team/two"]).is_ok());
    }
}
