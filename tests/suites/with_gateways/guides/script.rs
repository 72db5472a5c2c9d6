//! The commands of a guide, as what they mean for the tests.
//!
//! | command | |
//! | --- | --- |
//! | `curl` | is sent, and the answer compared |
//! | `usher doctor`, `validate`, `check` | is run, and what it prints compared |
//! | `istioctl install`, `usher serve`, `envoy`, `agentgateway` | tell with which files the gateway and Usher are set up from there on |
//! | `kubectl`, `NAME=$(kubectl get gtw …)` | see `kubectl.rs` |
//! | `helm` | may give Usher a flag |
//! | `cd`, `NAME=VALUE` | |
//! | `exit` | leaves a pod, where there is nothing but `curl` |
//! | other commands of `helm`; `docker`, `python3` | need a cluster, or stand for an API: not run |
//!
//! Everything else is an error. So is an answer to a command that is not run: it would come from no test.

use std::{
    mem,
    path::{Path, PathBuf},
};

use super::{
    curl::{Curl, Shown},
    kubectl::{self, Object},
    shell::{Variables, assignment, words},
};
use crate::support::fenced::{Block, blocks};

/// A command of a guide.
#[derive(Debug)]
pub(super) struct Step {
    /// For messages: the line of the guide, and the command.
    pub(super) place: String,
    pub(super) action: Action,
}

/// What becomes of it. Paths are seen from the folder of the repository; those of folders mean the files directly in there.
#[derive(Debug)]
pub(super) enum Action {
    /// From now on the objects of these files are there, too.
    Apply(Vec<PathBuf>),
    /// From now on Usher has these files, and nothing else is there.
    Serve(Vec<PathBuf>),
    /// From now on Usher has this flag.
    Flag(&'static str),
    /// This is there by now.
    Find(Object),
    /// From now on the gateway is reached at this port of the reader's machine.
    Forward { to: Object, port: String },
    /// … or at [`ADDRESS`], which is the one of this Gateway.
    Address(Object),
    /// From now on the reader is in a pod of this Deployment.
    Enter(Object),
    /// … and now no more.
    Leave,
    /// A request, and its answer.
    Curl(Curl, Shown),
    /// The arguments of `usher` in a folder, and what it prints, if that is shown.
    Usher { folder: PathBuf, arguments: Vec<String>, shown: Option<String> },
    /// Nothing that the tests can see.
    Nothing,
}

/// Stands for the address that a Gateway got.
pub(super) const ADDRESS: &str = "192.0.2.1";

const IN_POD: &str = "in a pod there is nothing but `curl`: an `exit` is missing";

/// Blocks without commands.
const OTHERS: [&str; 4] = ["", "yaml", "yaml invalid", "json"];

/// The steps of a page, in order.
///
/// # Errors
/// Of each block the first thing that is not known here.
pub(super) fn steps(page: &str, text: &str) -> Result<Vec<Step>, Vec<String>> {
    let mut terminal = Terminal::default();
    let (mut steps, mut wrong) = (Vec::new(), Vec::new());
    for block in blocks(text) {
        let place = |line: usize| format!("{page}:{}", block.line + 1 + line);
        let commands = commands(&block).map_err(|why| format!("{}: {why}", place(0)));
        let actions = commands.and_then(|commands| {
            let action = |Command { line, text, shown }: Command| {
                let place = format!("{}: {text}", place(line));
                match terminal.action(&text, shown) {
                    Ok(action) => Ok(Step { place, action }),
                    Err(why) => Err(format!("{place}\n{why}")),
                }
            };
            commands.into_iter().map(action).collect::<Result<Vec<_>, _>>()
        });
        match actions {
            Ok(more) => steps.extend(more),
            Err(why) => wrong.push(why),
        }
    }
    if wrong.is_empty() { Ok(steps) } else { Err(wrong) }
}

/// A command as it stands in a block.
struct Command {
    /// The line of the block, from 0.
    line: usize,
    /// Without the prompt, and on one line.
    text: String,
    /// What follows it, in a block that shows answers.
    shown: Option<Vec<String>>,
}

fn commands(block: &Block) -> Result<Vec<Command>, String> {
    let is_prompt = |line: &String| line.starts_with("$ ");
    let is_answered = match block.language.as_str() {
        "console" => true,
        "sh" => false,
        language if !OTHERS.contains(&language) => return Err(format!("a block of `{language}` is not known here")),
        _ if block.lines.iter().any(is_prompt) => return Err("a command in a block that is not run".to_owned()),
        _ => return Ok(Vec::new()),
    };
    if is_answered && !block.lines.first().is_some_and(is_prompt) {
        return Err("no command".to_owned());
    }
    let mut commands: Vec<Command> = Vec::new();
    let mut goes_on = false;
    for (line, text) in block.lines.iter().enumerate() {
        let (text, continued) = match text.strip_suffix('\\') {
            Some(text) => (text, true),
            None => (text.as_str(), false),
        };
        match commands.last_mut() {
            Some(command) if goes_on => command.text.push_str(text),
            Some(Command { shown: Some(shown), .. }) if !text.starts_with("$ ") => {
                shown.push(block.lines[line].clone());
                continue;
            }
            _ => {
                let text = if is_answered { &text[2..] } else { text };
                commands.push(Command { line, text: text.to_owned(), shown: is_answered.then(Vec::new) });
            }
        }
        goes_on = continued;
    }
    for shown in commands.iter_mut().filter_map(|command| command.shown.as_mut()) {
        // The next command is set off by an empty line.
        let end = shown.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
        shown.truncate(end);
    }
    Ok(commands)
}

/// Where commands are typed.
#[derive(Default)]
struct Terminal {
    /// From the folder of the repository.
    folder: PathBuf,
    variables: Variables,
    /// In a pod there are neither files nor variables of the reader's machine, nor its programs.
    is_in_pod: bool,
}

impl Terminal {
    /// `shown`: the answer, if the block shows answers.
    fn action(&mut self, command: &str, shown: Option<Vec<String>>) -> Result<Action, String> {
        let prints = shown.as_ref().is_some_and(|shown| !shown.is_empty());
        let action = match assignment(command) {
            Some(_) if self.is_in_pod => return Err(IN_POD.to_owned()),
            Some((name, value)) => self.assign(name, value)?,
            None => self.run(command, shown)?,
        };
        match action {
            Action::Curl(..) | Action::Usher { .. } => Ok(action),
            _ if prints => Err("what this prints comes from no test".to_owned()),
            _ => Ok(action),
        }
    }

    fn run(&mut self, command: &str, shown: Option<Vec<String>>) -> Result<Action, String> {
        let none = Variables::new();
        let words = words(command, if self.is_in_pod { &none } else { &self.variables })?;
        let Some((program, arguments)) = words.split_first() else { return Ok(Action::Nothing) };
        let arguments_of = |names: &[&str]| files(&self.folder, arguments, names);
        match program.as_str() {
            "curl" => {
                let shown = shown.ok_or("an answer stands in a block `console`")?;
                Ok(Action::Curl(Curl::parse(arguments)?, Shown::parse(&shown)?))
            }
            "exit" if arguments.is_empty() && mem::take(&mut self.is_in_pod) => Ok(Action::Leave),
            _ if self.is_in_pod => Err(IN_POD.to_owned()),
            "usher" => match arguments.first().map(String::as_str) {
                Some("serve") => {
                    only(&arguments[1..], &["--config"])?;
                    Ok(Action::Serve(arguments_of(&["--config"])))
                }
                Some("doctor" | "validate" | "check") => Ok(Action::Usher {
                    folder: self.folder.clone(),
                    arguments: arguments.to_vec(),
                    shown: shown.map(|lines| lines.join("\n")),
                }),
                _ => Err("this command of usher is not known here".to_owned()),
            },
            "kubectl" => {
                let action = kubectl::action(&self.folder, arguments)?;
                self.is_in_pod = matches!(action, Action::Enter(_));
                Ok(action)
            }
            "istioctl" if arguments.first().is_some_and(|it| it == "install") => {
                only(&arguments[1..], &["-f", "--filename", "--set"])?;
                Ok(Action::Apply(arguments_of(&["-f", "--filename"])))
            }
            "helm" if values(arguments, &["--set"]).any(|it| it == "allowRouteLookup=true") => {
                Ok(Action::Flag("--allow-route-lookup"))
            }
            "docker" | "helm" | "python3" => Ok(Action::Nothing),
            "envoy" => {
                only(arguments, &["--config-path"])?;
                Ok(Action::Apply(arguments_of(&["--config-path"])))
            }
            "agentgateway" => {
                only(arguments, &["-f"])?;
                Ok(Action::Apply(arguments_of(&["-f"])))
            }
            "cd" => match arguments {
                [folder] => {
                    self.folder.push(folder);
                    Ok(Action::Nothing)
                }
                _ => Err("where to?".to_owned()),
            },
            _ => Err(format!("`{program}` is not known here")),
        }
    }

    fn assign(&mut self, name: &str, value: &str) -> Result<Action, String> {
        let Some(command) = value.strip_prefix("$(") else {
            let words = words(value, &self.variables)?;
            let [value] = &words[..] else { return Err("one value".to_owned()) };
            self.variables.insert(name.to_owned(), value.clone());
            return Ok(Action::Nothing);
        };
        let command = command.trim_end().strip_suffix(')').ok_or("a parenthesis is not closed")?;
        let gateway = kubectl::gateway_of_address(&words(command, &self.variables)?);
        let gateway = gateway.ok_or_else(|| format!("what `{command}` prints is not known here"))?;
        self.variables.insert(name.to_owned(), ADDRESS.to_owned());
        Ok(Action::Address(gateway))
    }
}

/// The values of flags as files, seen from a folder. Those on the web are left out.
pub(super) fn files(folder: &Path, arguments: &[String], flags: &[&str]) -> Vec<PathBuf> {
    let files = values(arguments, flags).filter(|file| !file.starts_with("https://"));
    files.map(|file| folder.join(file)).collect()
}

/// The values of flags.
fn values<'a>(arguments: &'a [String], names: &[&str]) -> impl Iterator<Item = &'a str> {
    let pairs = arguments.iter().zip(arguments.iter().skip(1));
    let found: Vec<_> = pairs.filter(|(flag, _)| names.contains(&flag.as_str())).map(|it| it.1.as_str()).collect();
    found.into_iter()
}

/// There are only these flags, which all have values.
pub(super) fn only(arguments: &[String], names: &[&str]) -> Result<(), String> {
    for pair in arguments.chunks(2) {
        match pair {
            [flag, _] if names.contains(&flag.as_str()) => {}
            [word, ..] => return Err(format!("`{word}` is not known here")),
            [] => {}
        }
    }
    if arguments.is_empty() { Err("no file".to_owned()) } else { Ok(()) }
}

#[test]
fn commands_mean_something() {
    let page = "\
```sh
# A comment
kubectl --namespace a apply -f a.yaml \\
  -f https://a.test/b.yaml --filename c.yaml      # another one
A='1 2'
GATEWAY=$(kubectl --namespace a get gtw b --output jsonpath='{.status.addresses[0].value}')
```
```console
$ curl -i http://$GATEWAY/ \\
    -d \"$A\"
HTTP/1.1 200 OK

$ usher doctor needs
```
```sh
kubectl port-forward deployment/a 8080:80
kubectl --namespace a exec --stdin --tty deployment/b -- sh
exit
helm upgrade a b --set allowRouteLookup=true
cd folder
usher serve --config a.yaml
usher validate --config a.yaml
```
```console
$ curl -i http://localhost:8080
HTTP/1.1 200 OK
```
";
    let steps = steps("page", page).unwrap();
    let found: Vec<_> = steps.iter().map(|step| format!("{:?}", step.action)).collect();
    let expected = [
        "Nothing",
        r#"Apply(["a.yaml", "c.yaml"])"#,
        "Nothing",
        r#"Address(Object { kind: "Gateway", namespace: "a", name: Some("b") })"#,
        r#"Curl(Curl { address: "192.0.2.1""#,
        r#"Usher { folder: "", arguments: ["doctor", "needs"], shown: Some("") }"#,
        r#"Forward { to: Object { kind: "Deployment", namespace: "default", name: Some("a") }, port: "8080" }"#,
        r#"Enter(Object { kind: "Deployment", namespace: "a", name: Some("b") })"#,
        "Leave",
        r#"Flag("--allow-route-lookup")"#,
        "Nothing",
        r#"Serve(["folder/a.yaml"])"#,
        r#"Usher { folder: "folder", arguments: ["validate", "--config", "a.yaml"], shown: None }"#,
        "Curl(",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, beginning) in found.iter().zip(expected) {
        assert!(found.starts_with(beginning), "{found}");
    }
    assert!(found[4].contains(r#"body: "1 2""#), "{}", found[4]);
    assert_eq!(steps[13].place, "page:25: curl -i http://localhost:8080");
}

#[test]
fn what_is_not_known_is_an_error() {
    for (language, lines) in [
        ("sh", "curl -i http://a.test/"),
        ("sh", "wget http://a.test/"),
        ("sh", "kubectl delete pod a"),
        ("sh", "kubectl exec --stdin --tty deployment/a -- sh\nkubectl exec --stdin --tty deployment/b -- sh"),
        ("sh", "kubectl exec --stdin --tty deployment/a -- sh\nusher validate --config a.yaml"),
        ("sh", "kubectl exec --stdin --tty deployment/a -- sh\nA=1"),
        ("sh", "kubectl exec --stdin --tty deployment/a -- sh\nexit 1"),
        ("sh", "kubectl exec --stdin --tty deployment/a -- sh\nexit\nexit"),
        ("console", "$ A=1\n$ kubectl exec --stdin --tty deployment/a -- sh\n$ curl -i http://$A/\nHTTP/1.1 200 OK"),
        ("sh", "exit"),
        ("sh", "kubectl apply -f - <<EOF"),
        ("sh", "istioctl install -f a.yaml -y"),
        ("sh", "istioctl version"),
        ("sh", "usher serve --config a.yaml --allow-route-lookup"),
        ("sh", "usher server"),
        ("sh", "usher"),
        ("sh", "A=$(cat a)"),
        ("sh", "A=1 curl"),
        ("console", "curl -i http://a.test/"),
        ("console", "$ curl -i http://a.test/"),
        ("console", "$ curl -i http://a.test/\nhello"),
        ("console", "$ curl http://a.test/\nHTTP/1.1 200 OK"),
        ("console", "$ ls\na"),
        ("console", ""),
        ("bash", "curl -i http://a.test/"),
        ("", "$ curl -i http://a.test/"),
    ] {
        let page = format!("```{language}\n{lines}\n```\n");
        assert_eq!(steps("page", &page).map_err(|wrong| wrong.len()).err(), Some(1), "{page}");
    }
}
