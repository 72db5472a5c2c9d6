//! The schema of AuthConfigs, as `usher crds` prints it.

use std::{iter::Peekable, process::Command};

use crate::support::workspace;

/// What one value must be like.
#[derive(Debug, Default)]
pub(super) struct Schema {
    pub(super) description: String,
    pub(super) kind: Kind,
    /// As it is printed, without quotes.
    pub(super) default: Option<String>,
    /// Of an enumeration.
    pub(super) values: Vec<String>,
    /// The members of an object, by name.
    pub(super) fields: Vec<(String, Schema)>,
    pub(super) required: Vec<String>,
    /// The schema of the entries of a map or a list.
    pub(super) entries: Option<Box<Schema>>,
}

/// The type of a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any JSON.
    #[default]
    Any,
    Object,
    List,
    String,
    Integer,
    Boolean,
}

/// The schema of `spec`.
pub(super) fn printed() -> Schema {
    let output = Command::new(workspace::usher()).arg("crds").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let definition = Yaml::read(&text);
    let [version] = definition.at(&["spec", "versions"]).items() else { panic!("one version is expected") };
    Schema::from(version.at(&["schema", "openAPIV3Schema", "properties", "spec"]))
}

impl Schema {
    fn from(yaml: &Yaml) -> Self {
        let text = |name| yaml.get(name).map(Yaml::text).unwrap_or_default().to_owned();
        let texts =
            |name| yaml.get(name).map(Yaml::items).unwrap_or_default().iter().map(|it| it.text().to_owned()).collect();
        let entries = yaml.get("items").or_else(|| yaml.get("additionalProperties"));
        Self {
            description: text("description"),
            kind: match &*text("type") {
                "object" => Kind::Object,
                "array" => Kind::List,
                "string" => Kind::String,
                "integer" => Kind::Integer,
                "boolean" => Kind::Boolean,
                "" => Kind::Any,
                other => panic!("unknown type `{other}`"),
            },
            default: yaml.get("default").map(|default| default.text().to_owned()),
            values: texts("enum"),
            fields: match yaml.get("properties") {
                Some(Yaml::Map(members)) => {
                    members.iter().map(|(name, member)| (name.clone(), Self::from(member))).collect()
                }
                _ => Vec::new(),
            },
            required: texts("required"),
            entries: entries.map(|entries| Box::new(Self::from(entries))),
        }
    }

    /// The entries of maps and lists, or else this.
    pub(super) fn entry(&self) -> &Self {
        self.entries.as_ref().map_or(self, |entries| entries.entry())
    }

    /// The field at a path, `a.b`.
    pub(super) fn find(&self, path: &str) -> Option<&Self> {
        path.split('.').filter(|name| !name.is_empty()).try_fold(self, |schema, name| {
            schema.entry().fields.iter().find(|(known, _)| known == name).map(|(_, field)| field)
        })
    }

    /// Whether the last field of a path must be there.
    pub(super) fn requires(&self, path: &str) -> bool {
        let (object, name) = path.rsplit_once('.').unwrap_or(("", path));
        self.find(object).is_some_and(|object| object.entry().required.iter().any(|required| required == name))
    }
}

/// As much of YAML as is printed: one line for each scalar, blocks by indentation.
#[derive(Debug, PartialEq, Eq)]
enum Yaml {
    Text(String),
    List(Vec<Yaml>),
    Map(Vec<(String, Yaml)>),
}

impl Yaml {
    fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let mut lines =
            lines.map(|line| (line.len() - line.trim_start().len(), line.trim_start().to_owned())).collect::<Vec<_>>();
        // `- a: 1` is an entry, in which `a` stands two columns farther on.
        let mut at = 0;
        while at < lines.len() {
            if let Some(inner) = lines[at].1.strip_prefix("- ").map(str::to_owned) {
                let indentation = lines[at].0;
                lines[at].1 = "-".to_owned();
                lines.insert(at + 1, (indentation + 2, inner));
            }
            at += 1;
        }
        Self::block(&mut lines.into_iter().peekable())
    }

    fn block(lines: &mut Peekable<impl Iterator<Item = (usize, String)>>) -> Self {
        let (indentation, first) = lines.peek().cloned().unwrap_or_default();
        let (mut items, mut members) = (Vec::new(), Vec::new());
        while let Some((_, line)) = lines.next_if(|(own, _)| *own == indentation) {
            let is_followed = |lines: &mut Peekable<_>| {
                lines.peek().is_some_and(|(next, text): &(usize, String)| {
                    *next > indentation || *next == indentation && line != "-" && text == "-"
                })
            };
            if line == "-" {
                items.push(Self::block(lines));
            } else if let Some((name, value)) = member(&line) {
                let value = match value {
                    "" if is_followed(lines) => Self::followed(lines, indentation),
                    value => Self::Text(unquoted(value)),
                };
                members.push((unquoted(name), value));
            } else {
                return Self::Text(unquoted(&line));
            }
        }
        if first == "-" { Self::List(items) } else { Self::Map(members) }
    }

    /// The value below a name. A list may stand in the same column as the name.
    fn followed(lines: &mut Peekable<impl Iterator<Item = (usize, String)>>, indentation: usize) -> Self {
        if lines.peek().is_some_and(|(next, _)| *next > indentation) {
            return Self::block(lines);
        }
        let mut items = Vec::new();
        while lines.next_if(|(next, text)| *next == indentation && text == "-").is_some() {
            items.push(Self::block(lines));
        }
        Self::List(items)
    }

    fn get(&self, name: &str) -> Option<&Self> {
        let Self::Map(members) = self else { return None };
        members.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    fn at(&self, path: &[&str]) -> &Self {
        path.iter().fold(self, |yaml, name| yaml.get(name).unwrap_or_else(|| panic!("`{name}` of {path:?} is missing")))
    }

    fn items(&self) -> &[Self] {
        if let Self::List(items) = self { items } else { &[] }
    }

    fn text(&self) -> &str {
        if let Self::Text(text) = self { text } else { "" }
    }
}

/// `name: value`, where the name may be in quotes.
fn member(line: &str) -> Option<(&str, &str)> {
    if line.starts_with(['"', '\'']) {
        let end = 1 + line[1..].find(&line[..1])? + 1;
        return line[end..].strip_prefix(':').map(|value| (&line[..end], value.trim()));
    }
    line.strip_suffix(':').map(|name| (name, "")).or_else(|| line.split_once(": "))
}

fn unquoted(text: &str) -> String {
    match text.chars().next() {
        Some('"') => serde_json::from_str(text).unwrap(),
        Some('\'') => text.trim_matches('\'').replace("''", "'"),
        _ => text.to_owned(),
    }
}

#[test]
fn printed_yaml_is_read() {
    let text = "\
a: 1
b:
  c: \"x: y\"
  d:
  - e: true
    f:
    - g
    - h
  - i: {}
'y': z
";
    let text_of = |text: &str| Yaml::Text(text.to_owned());
    let map = |members: Vec<(&str, Yaml)>| {
        Yaml::Map(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    };
    let expected = map(vec![
        ("a", text_of("1")),
        (
            "b",
            map(vec![
                ("c", text_of("x: y")),
                (
                    "d",
                    Yaml::List(vec![
                        map(vec![("e", text_of("true")), ("f", Yaml::List(vec![text_of("g"), text_of("h")]))]),
                        map(vec![("i", text_of("{}"))]),
                    ]),
                ),
            ]),
        ),
        ("y", text_of("z")),
    ]);
    assert_eq!(Yaml::read(text), expected);
}
