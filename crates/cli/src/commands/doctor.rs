//! `usher doctor`: what goes wrong between a gateway and Usher, and what a gateway must be told.
//!
//! ```text
//!   what the user sees ──► causes.rs: a table ──► symptoms.rs: those that fit, most likely first
//!                               └───────────────► docs/diagnosis.md shows the same table
//!
//!   AuthConfigs ──► usher_compile::needs ──► needs.rs: what is read
//!                                              └──► settings.rs: what to write for each gateway
//! ```

mod causes;
mod gateway;
mod hosts;
mod needs;
mod settings;
mod symptoms;
mod yaml;

use clap::{Args, Subcommand};
use usher_source::directory::{Loaded, Severity};

use super::output;
use crate::exit::Exit;

/// Find out what goes wrong between a gateway and Usher, and what a gateway must be told.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Name the cause of what a client, a gateway or a log shows, how to make sure, and what to change.
    ///
    /// Say as much as is known; the most likely cause comes first. The exit status is 1 when nothing is known that fits.
    Symptoms(Box<symptoms::Arguments>),
    /// Print all causes that `symptoms` knows, as the guide `docs/diagnosis.md` shows them.
    Causes,
    /// Print what AuthConfigs read of requests, and the settings by which a gateway sends it along.
    ///
    /// The list is complete: with these settings an AuthConfig decides as if the gateway sent everything. Where it
    /// cannot be known what is read (the name of a header is computed, a policy is downloaded), it says that everything
    /// is. The exit status is 1 when there is no such AuthConfig, or when something cannot be read, so that the list may
    /// lack something; it says so then.
    Needs(Box<needs::Arguments>),
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    match answer(arguments) {
        Ok((text, exit)) => output::print(&text, exit),
        Err(message) => {
            eprintln!("{message}");
            Exit::Invalid
        }
    }
}

/// What is printed, and how the command ends; or why there is nothing to print.
fn answer(arguments: &Arguments) -> Result<(String, Exit), String> {
    match &arguments.command {
        Command::Symptoms(arguments) => symptoms::answer(arguments),
        Command::Causes => Ok((causes::page(), Exit::Ok)),
        Command::Needs(arguments) => needs::answer(arguments),
    }
}

/// Tells what is wrong with files. Objects of other kinds that stand beside are none of our business.
fn tell_errors(loaded: &Loaded) {
    for problem in loaded.problems.iter().filter(|problem| problem.severity == Severity::Error) {
        eprintln!("{problem}");
    }
}

/// A text of somebody else on one line, with nothing in it that a terminal or a reader of YAML obeys.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' | '\'' | '\\' => printable.push(letter),
            letter => printable.extend(letter.escape_debug()),
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Usher {
        #[command(subcommand)]
        command: Subcommands,
    }

    #[derive(Subcommand)]
    enum Subcommands {
        Doctor(Arguments),
    }

    #[test]
    fn what_others_wrote_stays_on_its_line() {
        assert_eq!(printable("a\nb\u{1b}[31m\u{2028}\u{202e}\u{85}"), "a\\nb\\u{1b}[31m\\u{2028}\\u{202e}\\u{85}");
        assert_eq!(printable("`it's` \"ä\" \\d"), "`it's` \"ä\" \\d");
    }

    /// Every command that the guide shows answers what the guide shows. A last line `…` leaves the rest out.
    #[test]
    fn the_examples_of_the_guide_are_true() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let guide = fs::read_to_string(root.join("docs/diagnosis.md")).unwrap();
        let mut count = 0;
        for block in guide.split("\n```console\n").skip(1).filter_map(|rest| rest.split("\n```").next()) {
            for example in block.split("$ ").skip(1) {
                let (line, shown) = example.split_once('\n').unwrap();
                // A long command goes on after a backslash.
                let (line, shown) = match line.strip_suffix('\\') {
                    Some(first) => {
                        let (second, shown) = shown.split_once('\n').unwrap();
                        (format!("{first} {second}"), shown)
                    }
                    None => (line.to_owned(), shown),
                };
                if !line.starts_with("usher doctor") {
                    continue;
                }
                let words = line.split_whitespace().map(|word| match word.strip_prefix("deploy/") {
                    Some(path) => root.join("deploy").join(path).to_str().unwrap().to_owned(),
                    None => word.to_owned(),
                });
                let Usher { command: Subcommands::Doctor(arguments) } =
                    Usher::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
                let (told, _) = answer(&arguments).unwrap();
                match shown.trim_end().strip_suffix("\n…") {
                    Some(beginning) => assert!(told.starts_with(&format!("{beginning}\n")), "{line}\n{told}"),
                    None => assert_eq!(told.trim_end(), shown.trim_end(), "{line}"),
                }
                count += 1;
            }
        }
        assert!(count >= 3, "only {count} examples were found");
    }
}
