//! `usher validate`: everything that is wrong with configuration files.

use std::collections::HashMap;

use clap::Args;
use usher_compile::AuthConfigId;
use usher_source::directory::Severity;

use super::{
    compiled::Compiled,
    options::{ConfigOptions, FileOptions},
    output,
};
use crate::exit::Exit;

/// Check configuration files and report everything that is wrong with them.
///
/// Prints one line for each problem, `file:line: path: message`, and ends with status 1 if there is any. Validating is
/// what `serve` does with the files, short of serving them and of calling anything.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    files: FileOptions,

    #[command(flatten)]
    config: ConfigOptions,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    match Compiled::load(&arguments.files, &arguments.config) {
        Ok(compiled) => {
            let (text, exit) = validated(&compiled);
            output::print(&text, exit)
        }
        Err(message) => {
            eprintln!("{message}");
            Exit::Invalid
        }
    }
}

/// A line for each problem and warning, and one for all that is well.
fn validated(Compiled { loaded, update, .. }: &Compiled) -> (String, Exit) {
    let mut text = String::new();
    let mut problems = 0_usize;
    for problem in &loaded.problems {
        problems += usize::from(problem.severity == Severity::Error);
        let severity = if problem.severity == Severity::Warning { "warning: " } else { "" };
        let file = problem.file.display().to_string();
        text += &line(&file, problem.line, severity, &problem.path, &problem.message);
    }
    let reports: HashMap<_, _> = update.reports.iter().map(|report| (&report.id, report)).collect();
    let (mut auth_configs, mut policies) = (0_usize, 0_usize);
    for object in loaded.auth_configs() {
        auth_configs += 1;
        let file = object.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        if let Some(report) = reports.get(&AuthConfigId::of(&object.document.metadata)) {
            for warning in &report.warnings {
                let at = object.document.lines.find(&warning.path);
                text += &line(&file, at, "warning: ", &warning.path, &warning.message);
            }
            for problem in &report.problems {
                problems += 1;
                let at = object.document.lines.find(&problem.path);
                text += &line(&file, at, "", &problem.path, &problem.message);
            }
            for contest in &report.lost {
                let field = contest.field;
                let at = object.document.lines.find(field);
                text += &line(&file, at, "warning: ", field, &contest.to_string());
            }
        }
    }
    for object in loaded.authorization_policies() {
        let (document, name) = (&object.document, &object.document.metadata.name);
        policies += 1;
        let file = object.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        let reports = update.policies.iter().filter(|report| report.name == *name);
        for problem in reports.flat_map(|report| &report.problems) {
            problems += 1;
            text += &line(&file, document.lines.find(&problem.path), "", &problem.path, &problem.message);
        }
    }
    if problems > 0 {
        text += &format!("{problems} problem{} found\n", if problems == 1 { "" } else { "s" });
        return (text, Exit::Invalid);
    }
    text += &format!("{auth_configs} AuthConfig{} valid\n", if auth_configs == 1 { "" } else { "s" });
    if policies > 0 {
        text += &format!("{policies} AuthorizationPolic{} valid\n", if policies == 1 { "y" } else { "ies" });
    }
    (text, Exit::Ok)
}

/// `file:line: path: message`, without what is not known.
fn line(file: &str, line: Option<usize>, severity: &str, path: &str, message: &str) -> String {
    let line = line.map(|line| format!(":{line}")).unwrap_or_default();
    let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
    format!("{file}{line}: {severity}{path}{message}\n")
}
