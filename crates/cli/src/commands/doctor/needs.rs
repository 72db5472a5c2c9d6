//! `usher doctor needs`: what AuthConfigs read, and what a gateway must be told because of it.

use clap::Args;
use usher_compile::{AuthConfigId, needs::Needs};
use usher_source::Change;

use super::{
    gateway::Gateway,
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

    #[command(flatten)]
    config: ConfigOptions,

    /// Only this AuthConfig; may be repeated. Default: all of them, and all AuthorizationPolicies.
    #[arg(long = "auth-config", value_name = "NAMESPACE/NAME")]
    auth_configs: Vec<String>,

    /// Print only the settings of this gateway, as YAML, for all that is meant together.
    #[arg(long)]
    gateway: Option<Gateway>,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Exit {
    match output(arguments) {
        Ok(text) => {
            super::put(&text);
            Exit::Ok
        }
        Err(message) => {
            eprintln!("{message}");
            Exit::Invalid
        }
    }
}

pub(super) fn output(arguments: &Arguments) -> Result<String, String> {
    let mut found = needs(arguments)?;
    let mut all = Needs::default();
    let mut text = String::new();
    for (title, needs) in &found {
        text.push_str(&told(title, needs));
    }
    for (_, needs) in found.drain(..) {
        all.add_all(needs);
    }
    Ok(match arguments.gateway {
        Some(gateway) => Settings::of(gateway, &all).text(),
        None => {
            text.push_str("\nsettings that send all of this along\n");
            for gateway in Gateway::ALL {
                let settings = Settings::of(gateway, &all).text();
                text.push_str(&format!("\n{gateway}:\n"));
                for line in settings.lines() {
                    text.push_str(&format!("  {line}\n"));
                }
            }
            text
        }
    })
}

/// What each AuthConfig, and each AuthorizationPolicy, that is meant reads.
fn needs(arguments: &Arguments) -> Result<Vec<(String, Needs)>, String> {
    let loaded = arguments.config.directory(&arguments.files.config).load();
    super::tell_errors(&loaded);
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
    let mut text = format!("{title} reads\n");
    for (attribute, readings) in needs.iter() {
        text.push_str(&format!("  {}\n", settings::title(attribute)));
        for reading in readings {
            let field = if reading.field.is_empty() { "always" } else { &reading.field };
            text.push_str(&format!("    {field}: {}\n", reading.how));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

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
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.yaml"), config).unwrap();
        let arguments = ["test", "--config", folder.path().to_str().unwrap()];
        output(&Command::try_parse_from(arguments.iter().chain(more)).unwrap().arguments)
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
