//! The reference describes the fields of the schema: all of them, no others, with their types and defaults.
//!
//! A heading describes an object of the schema, and all objects below it that have no heading of their own. Each field
//! must be named there between backticks. In tables whose first column is called `field` or `fields`, each row must name
//! fields of that object, and its columns `type` and `default` must say what the schema says.

mod schema;

use std::{collections::BTreeMap, fs};

use self::schema::{Kind, Schema, printed};
use super::markdown::{Section, code, sections, tables};
use crate::support::workspace::root;

/// A page and a heading of it.
type Place = (&'static str, &'static str);

/// Which heading describes which object. Paths begin below `spec`; maps and lists add nothing to them.
const TOPICS: [(&str, &str, &str); 34] = [
    ("README.md", "spec", ""),
    ("README.md", "Routes", "routes"),
    ("authentication.md", "Authentication", "authentication"),
    ("authentication.md", "anonymous", "authentication.anonymous"),
    ("authentication.md", "apiKey", "authentication.apiKey"),
    ("authentication.md", "jwt", "authentication.jwt"),
    ("authentication.md", "oauth2Introspection", "authentication.oauth2Introspection"),
    ("authentication.md", "kubernetesTokenReview", "authentication.kubernetesTokenReview"),
    ("authentication.md", "x509", "authentication.x509"),
    ("authentication.md", "spiffe", "authentication.spiffe"),
    ("authentication.md", "plain", "authentication.plain"),
    ("metadata.md", "Metadata", "metadata"),
    ("metadata.md", "oauth2", "metadata.http.oauth2"),
    ("metadata.md", "userInfo", "metadata.userInfo"),
    ("metadata.md", "uma", "metadata.uma"),
    ("authorization.md", "Authorization", "authorization"),
    ("authorization.md", "patternMatching", "authorization.patternMatching"),
    ("authorization.md", "opa", "authorization.opa"),
    ("authorization.md", "externalPolicy", "authorization.opa.externalPolicy"),
    ("authorization.md", "kubernetesSubjectAccessReview", "authorization.kubernetesSubjectAccessReview"),
    ("authorization.md", "spicedb", "authorization.spicedb"),
    ("response.md", "Response", "response"),
    ("response.md", "Success", "response.success"),
    ("response.md", "Items", "response.success.headers"),
    ("response.md", "Items", "response.success.responseHeaders"),
    ("response.md", "Items", "response.success.queryParameters.set"),
    ("response.md", "Items", "response.success.dynamicMetadata"),
    ("response.md", "json", "*.json"),
    ("response.md", "wristband", "*.wristband"),
    ("response.md", "Denials", "response.unauthenticated"),
    ("response.md", "Denials", "response.unauthorized"),
    ("callbacks.md", "Callbacks", "callbacks"),
    ("README.md", "Conditions", "patterns"),
    ("README.md", "Conditions", "when"),
];

/// Fields that many objects have together: which heading describes them, and an object that has them.
const SHARED: [(&str, &str, &str, &[&str]); 7] = [
    ("README.md", "Every rule", "authorization", &["when", "priority", "cache", "metrics"]),
    ("README.md", "Values", "authorization.cache.key", &["expression", "jsonPath", "selector", "value"]),
    ("README.md", "Secrets", "authorization.spicedb.sharedSecretRef", &["name", "key"]),
    (
        "README.md",
        "Conditions",
        "authorization.when",
        &["selector", "jsonPath", "operator", "value", "predicate", "patternRef", "all", "any"],
    ),
    (
        "authentication.md",
        "Credentials",
        "authentication.credentials",
        &["authorizationHeader", "customHeader", "queryString", "cookie"],
    ),
    ("authentication.md", "apiKey", "authentication.apiKey.selector", &["matchLabels", "matchExpressions"]),
    (
        "metadata.md",
        "http",
        "metadata.http",
        &[
            "url",
            "urlExpression",
            "method",
            "body",
            "bodyParameters",
            "contentType",
            "headers",
            "sharedSecretRef",
            "oauth2",
            "credentials",
            "expectStatus",
            "timeout",
        ],
    ),
];

/// A field of the schema, and where it must be described.
struct Described<'s> {
    place: Place,
    path: String,
    schema: &'s Schema,
}

#[test]
fn each_field_of_the_schema_is_described() {
    let spec = printed();
    let pages = Pages::read();
    let mut wrong = Vec::new();
    let fields = described(&spec);
    for Described { place, path, schema } in &fields {
        let text = pages.text(*place);
        let name = path.rsplit('.').next().unwrap();
        let mut missing = |word: &str, what: &str| {
            if !words(&text).any(|found| found == word) {
                wrong.push(format!("{}, `{}`: {what} of `{path}` is not named", place.0, place.1));
            }
        };
        missing(name, "the field");
        for value in &schema.values {
            missing(value, &format!("the value `{value}`"));
        }
        if let Some(default) = &schema.default
            && !rows(&pages, *place).any(|row| row.names.iter().any(|row| last(row) == name) && row.default.is_some())
        {
            wrong.push(format!("{}, `{}`: the default {default} of `{path}` is in no table", place.0, place.1));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(fields.len() > 120, "the schema has only {} fields", fields.len());
}

#[test]
fn tables_of_fields_say_what_the_schema_says() {
    let spec = printed();
    let pages = Pages::read();
    let mut wrong = Vec::new();
    let mut count = 0;
    let mut places: BTreeMap<Place, Vec<&Schema>> = BTreeMap::new();
    for (page, heading, path) in TOPICS.iter().filter(|topic| !topic.2.starts_with('*')) {
        places.entry((page, heading)).or_default().push(spec.find(path).unwrap());
    }
    for (page, heading, path, _) in SHARED {
        places.entry((page, heading)).or_default().push(spec.find(path).unwrap());
    }
    for name in ["json", "wristband"] {
        let object = spec.find(&format!("response.success.headers.{name}")).unwrap();
        places.entry(("response.md", name)).or_default().push(object);
    }
    for (place, objects) in places {
        for row in rows(&pages, place) {
            for name in &row.names {
                count += 1;
                let found = objects.iter().find_map(|object| Some((object.find(name)?, object.requires(name))));
                let problem = match found {
                    None => Some("there is no such field".to_owned()),
                    Some((schema, is_required)) => row.problem(schema, is_required),
                };
                wrong.extend(problem.map(|problem| format!("{}:{}: `{name}`: {problem}", place.0, row.line)));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count > 100, "only {count} rows were found");
}

/// All fields of the schema, each once for each place that must describe it.
fn described(spec: &Schema) -> Vec<Described<'_>> {
    let mut fields = Vec::new();
    walk(spec, "", ("README.md", "spec"), &mut fields);
    for (page, heading, path, names) in SHARED {
        let object = spec.find(path).unwrap();
        for name in names {
            let path = format!("{path}.{name}");
            let schema = object.find(name).unwrap_or_else(|| panic!("there is no field `{path}`"));
            fields.push(Described { place: (page, heading), path: path.clone(), schema });
            walk(schema, &path, topic(&path).unwrap_or((page, heading)), &mut fields);
        }
    }
    fields
}

fn walk<'s>(object: &'s Schema, path: &str, place: Place, fields: &mut Vec<Described<'s>>) {
    let object = object.entry();
    let has = |name: &str| object.fields.iter().any(|(known, _)| known == name);
    for (name, schema) in &object.fields {
        let is_shared = SHARED.iter().any(|(.., names)| names.contains(&&**name) && names.iter().all(|name| has(name)));
        if is_shared {
            continue;
        }
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        fields.push(Described { place, path: path.clone(), schema });
        walk(schema, &path, topic(&path).unwrap_or(place), fields);
    }
}

fn topic(path: &str) -> Option<Place> {
    let fits = |pattern: &str| pattern.strip_prefix('*').map_or(pattern == path, |end| path.ends_with(end));
    TOPICS.iter().find(|(.., pattern)| fits(pattern)).map(|(page, heading, _)| (*page, *heading))
}

/// The pages of the reference, by name.
struct Pages(BTreeMap<&'static str, String>);

impl Pages {
    fn read() -> Self {
        let names = TOPICS.iter().map(|topic| topic.0);
        Self(names.map(|name| (name, fs::read_to_string(root().join("docs/reference").join(name)).unwrap())).collect())
    }

    /// What a heading describes: all up to the next heading of its level or with a topic of its own.
    fn lines(&self, (page, heading): Place) -> Vec<(usize, &str)> {
        let sections = sections(&self.0[page]);
        let start = sections.iter().position(|section| section.heading == heading);
        let start = start.unwrap_or_else(|| panic!("{page} has no heading `{heading}`"));
        let level = sections[start].level;
        let is_other = |section: &&Section<'_>| {
            let is_topic = TOPICS.iter().any(|topic| (topic.0, topic.1) == (page, section.heading.as_str()))
                || SHARED.iter().any(|topic| (topic.0, topic.1) == (page, section.heading.as_str()));
            is_topic || section.level <= level
        };
        let own = sections[start + 1..].iter().take_while(|section| !is_other(section));
        sections[start..=start].iter().chain(own).flat_map(|section| section.lines.clone()).collect()
    }

    fn text(&self, place: Place) -> String {
        self.lines(place).iter().map(|(_, line)| format!("{line}\n")).collect()
    }
}

/// The words in code.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(code).flat_map(|code| {
        // Values such as `application/json` are words too.
        code.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').chain([code])
    })
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// A row of a table of fields.
struct Row {
    line: usize,
    names: Vec<String>,
    kind: Option<String>,
    default: Option<String>,
}

fn rows(pages: &Pages, place: Place) -> impl Iterator<Item = Row> {
    let lines = pages.lines(place);
    let mut rows = Vec::new();
    for table in tables(&lines).into_iter().filter(|table| matches!(table.header[0], "field" | "fields")) {
        let column = |name: &str| table.header.iter().position(|header| *header == name);
        let (kind, default) = (column("type"), column("default"));
        for (line, cells) in &table.rows {
            let path = |code: &str| {
                let end = code.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.');
                code[..end.unwrap_or(code.len())].to_owned()
            };
            rows.push(Row {
                line: *line,
                names: code(cells[0]).into_iter().map(path).collect(),
                kind: kind.map(|column| cells[column].to_owned()),
                default: default.map(|column| cells[column].to_owned()),
            });
        }
    }
    rows.into_iter()
}

impl Row {
    /// What is wrong about it.
    fn problem(&self, schema: &Schema, is_required: bool) -> Option<String> {
        if let Some(kind) = &self.kind
            && let Some((word, _)) =
                KINDS.iter().find(|(word, known)| kind.starts_with(word) != (*known == schema.kind))
        {
            return Some(format!("the type is `{kind}` here, and {:?} in the schema: `{word}`", schema.kind));
        }
        let cell = self.default.as_deref()?;
        if is_required != (cell == "required") {
            // What the schema for the Kubernetes API cannot ask for may be asked for when an AuthConfig is loaded.
            return is_required.then(|| "it is required".to_owned());
        }
        let known = schema.default.clone().or_else(|| default_in_words(&schema.description));
        let said = literals(cell);
        match known {
            Some(known) if !said.contains(&known) => Some(format!("the default is {known}, not {cell}")),
            None if said == [cell.replace('`', "")] => Some(format!("the schema knows of no default {cell}")),
            _ => None,
        }
    }
}

/// With which word the column `type` begins.
const KINDS: [(&str, Kind); 3] = [("integer", Kind::Integer), ("boolean", Kind::Boolean), ("list", Kind::List)];

/// `5000` of "… Default: 5000.", where it is a literal.
fn default_in_words(description: &str) -> Option<String> {
    let (_, default) = description.rsplit_once("Default: ")?;
    let first = default.split([' ', ',', ';']).next()?.trim_end_matches('.');
    literals(first).into_iter().next()
}

/// Numbers, and what stands between backticks.
fn literals(text: &str) -> Vec<String> {
    let numbers = text.split([' ', ',', ':', ';']).filter(|word| word.parse::<f64>().is_ok() || *word == "false");
    numbers.chain(code(text)).map(str::to_owned).collect()
}

#[test]
fn rows_are_compared_with_the_schema() {
    let schema = |kind, default: Option<&str>, description: &str| Schema {
        kind,
        default: default.map(str::to_owned),
        description: description.to_owned(),
        ..Schema::default()
    };
    let cases = [
        ("integer, seconds", "60", schema(Kind::Integer, Some("60"), ""), true),
        ("integer, seconds", "61", schema(Kind::Integer, Some("60"), ""), false),
        ("string", "60", schema(Kind::Integer, Some("60"), ""), false),
        ("integer", "none", schema(Kind::String, None, ""), false),
        ("boolean", "`false`", schema(Kind::Boolean, Some("false"), ""), true),
        ("boolean", "none", schema(Kind::Boolean, Some("false"), ""), false),
        ("integer", "0: never", schema(Kind::Integer, None, "When. Default: 0, never."), true),
        ("integer", "5000", schema(Kind::Integer, None, "How long. Default: 5000."), true),
        ("integer", "6000", schema(Kind::Integer, None, "How long. Default: 5000."), false),
        ("integer", "5000", schema(Kind::Integer, None, "How long."), false),
        ("`a` or `b`", "`a`", schema(Kind::String, None, "Which. Default: `a`."), true),
        ("`a` or `b`", "`b`", schema(Kind::String, None, "Which. Default: `a`."), false),
        ("object", "the name", schema(Kind::Object, None, "It. Default: the name of it."), true),
    ];
    for (kind, default, schema, expected) in cases {
        let (kind, default) = (Some(kind.to_owned()), Some(default.to_owned()));
        let row = Row { line: 1, names: Vec::new(), kind, default };
        assert_eq!(row.problem(&schema, false).is_none(), expected, "{:?} {:?} {schema:?}", row.kind, row.default);
    }
    let required = Row { line: 1, names: Vec::new(), kind: None, default: Some("none".to_owned()) };
    assert!(required.problem(&Schema::default(), true).is_some());
}
