//! Changes of files, one look after another. Nobody is going to look again here, so that all is believed at once.

use super::*;

struct Steps {
    folder: Folder,
    scanner: Scanner,
}

impl Steps {
    fn new(files: &[(&str, String)]) -> Self {
        Self::with(files, &Options::default())
    }

    fn with(files: &[(&str, String)], options: &Options) -> Self {
        let folder = Folder::new();
        for (name, text) in files {
            folder.put(name, text);
        }
        let mut steps = Self { folder, scanner: Scanner::new(Filter::new(options), Timing::default()) };
        steps.look();
        steps
    }

    /// What a look at the files tells.
    fn look(&mut self) -> Vec<String> {
        let changes = self.scanner.scan(Listing::of(&[self.folder.root()]), None).changes;
        self.folder.words(&changes)
    }

    fn put(&mut self, name: &str, text: impl AsRef<[u8]>) -> Vec<String> {
        self.folder.put(name, text);
        self.look()
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn only_differences_are_told() {
    let mut steps = Steps::new(&[
        ("a.yaml", documents(&[auth_config("a", "a.test"), auth_config("b", "b.test"), secret("s", "1")])),
        ("b.yaml", auth_config("c", "c.test")),
    ]);
    assert_eq!(steps.look(), NOTHING);
    let a = documents(&[auth_config("a", "a.test"), auth_config("b", "b2.test"), secret("s", "1")]);
    assert_eq!(steps.put("a.yaml", &a), ["AuthConfig default/b b2.test"]);
    assert_eq!(steps.put("a.yaml", format!("# a comment\n{a}")), NOTHING);
    let a = documents(&[auth_config("d", "d.test"), auth_config("a", "a.test"), secret("s", "2")]);
    assert_eq!(
        steps.put("a.yaml", &a),
        ["AuthConfig default/b gone", "AuthConfig default/d d.test", "Secret default/s 2"]
    );
    steps.folder.remove("a.yaml");
    assert_eq!(steps.look(), ["AuthConfig default/d gone", "AuthConfig default/a gone", "Secret default/s gone"]);
}

#[test]
fn policies_have_names_and_no_namespaces() {
    let policy = |name: &str, spec: &str| {
        format!("apiVersion: envoy.kyverno.io/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name}\nspec: {spec}\n")
    };
    let options = Options { watch_namespace: Some("other".to_owned()), ..Options::default() };
    let mut steps = Steps::with(&[("a.yaml", policy("{name: p, namespace: n}", "{}"))], &options);
    assert_eq!(steps.put("a.yaml", policy("{name: p, namespace: m}", "{}")), NOTHING);
    assert_eq!(steps.put("a.yaml", policy("{name: p}", "{failurePolicy: Ignore}")), ["AuthorizationPolicy p"]);
    let told = steps.put("a.yaml", policy("{name: p}", "{rules: []}"));
    assert_eq!(told.first().map(String::as_str), Some("AuthorizationPolicy p broken"));
    steps.put("a.yaml", policy("{name: p}", "{}"));
    let told = steps.put("b.yaml", policy("{}", "{}"));
    assert_eq!(told.first().map(String::as_str), Some("AuthorizationPolicy unnamed:b.yaml:1 broken"));
    steps.folder.remove("b.yaml");
    assert_eq!(steps.look(), ["AuthorizationPolicy unnamed:b.yaml:1 gone", "all is well"]);
    steps.folder.remove("a.yaml");
    assert_eq!(steps.look(), ["AuthorizationPolicy p gone"]);
}

#[test]
fn a_document_that_moves_is_a_change_and_no_removal() {
    for (from, to) in [("a.yaml", "b.yaml"), ("b.yaml", "a.yaml")] {
        let mut steps = Steps::new(&[(from, documents(&[auth_config("x", "x.test"), secret("s", "1")]))]);
        steps.folder.put(to, documents(&[auth_config("x", "y.test"), secret("s", "1")]));
        steps.folder.put(from, "# moved");
        assert_eq!(steps.look(), ["AuthConfig default/x y.test"], "from {from} to {to}");
        fs::rename(steps.folder.path(to), steps.folder.path("c.yaml")).unwrap();
        // It says the same, but its file is told with it.
        assert_eq!(steps.look(), ["AuthConfig default/x y.test"]);
    }
}

#[test]
fn the_definition_that_was_there_first_counts_until_it_goes() {
    let mut steps = Steps::new(&[("m.yaml", auth_config("x", "m.test"))]);
    assert_eq!(
        steps.put("z.yaml", auth_config("x", "z.test")),
        ["error z.yaml:1: AuthConfig default/x: is already defined in `m.yaml:1`; that one counts"]
    );
    let told = steps.put("a.yaml", auth_config("x", "a.test"));
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|problem| problem.contains("`m.yaml:1`")), "{told:?}");
    assert_eq!(
        steps.put("m.yaml", ""),
        [
            "AuthConfig default/x a.test",
            "error z.yaml:1: AuthConfig default/x: is already defined in `a.yaml:1`; that one counts",
        ]
    );
    steps.folder.remove("z.yaml");
    assert_eq!(steps.look(), ["all is well"]);
}

#[test]
fn what_cannot_be_read_removes_nothing() {
    let good = documents(&[auth_config("a", "a.test"), secret("s", "1"), auth_config("b", "b.test")]);
    let b = auth_config("b", "b.test");
    let table: [(&str, Vec<u8>); 8] = [
        ("not yaml", b"a: [".to_vec()),
        ("not utf-8", vec![0xff]),
        ("a list", b"- a".to_vec()),
        ("no name", auth_config("a", "a.test").replace("name: a", "nmae: a").into_bytes()),
        (
            "a misspelt namespace",
            auth_config("a", "a.test").replace("name: a", "name: c\n  namespce: other").into_bytes(),
        ),
        ("a misspelt kind", auth_config("a", "a.test").replace("AuthConfig", "AuthConfg").into_bytes()),
        ("no kind", auth_config("a", "a.test").replace("kind:", "knid:").into_bytes()),
        ("one document of two", documents(&[b, "}".to_owned()]).into_bytes()),
    ];
    for (what, bad) in table {
        let mut steps = Steps::new(&[("f.yaml", good.clone()), ("g.yaml", auth_config("g", "g.test"))]);
        let told = steps.put("f.yaml", bad);
        assert!(!told.iter().any(|change| change.ends_with(" gone")), "{what}: {told:#?}");
        assert!(told.iter().any(|change| change.starts_with("error f.yaml")), "{what}: {told:#?}");
        let kept = "warning f.yaml: until that is mended, what was read before stays in force: ";
        assert!(told.iter().any(|change| change.starts_with(kept)), "{what}: {told:#?}");
        assert_eq!(steps.look(), NOTHING, "{what}: told once");

        // Still in force after further edits that do not mend it, and as it was when it is mended.
        let told = steps.put("f.yaml", "b: [");
        assert!(!told.iter().any(|change| change.contains("default/a gone")), "{what}: {told:#?}");
        let told = steps.put("f.yaml", &good);
        assert!(
            !told.iter().any(|change| change.contains("default/a") && !change.contains("unnamed")),
            "{what}: {told:#?}"
        );
        assert_eq!(told.last().map(String::as_str), Some("all is well"), "{what}");

        let told = steps.put("f.yaml", auth_config("b", "b.test"));
        assert_eq!(told, ["AuthConfig default/a gone", "Secret default/s gone"], "{what}");
    }
}

#[test]
fn a_document_with_problems_is_told_with_them() {
    let mut steps = Steps::new(&[("a.yaml", documents(&[auth_config("a", "a.test"), auth_config("b", "b.test")]))]);
    let told = steps.put("a.yaml", auth_config("a", "a.test").replace("spec:", "spec:\n  wen: []"));
    assert_eq!(told.len(), 3, "{told:#?}");
    // Which objects the file defines is clear, so what it no longer defines is gone.
    assert_eq!(told[..2], ["AuthConfig default/b gone", "AuthConfig default/a a.test broken"]);
    assert!(told[2].starts_with("error a.yaml:6: AuthConfig default/a: spec.wen: "), "{told:#?}");
}

#[test]
fn a_secret_that_becomes_unusable_stays_as_it_was() {
    let mut steps = Steps::new(&[("a.yaml", documents(&[secret("s", "1"), secret("t", "1")]))]);
    let told = steps.put("a.yaml", secret("s", "%").replace("stringData", "data"));
    assert_eq!(told[0], "Secret default/t gone");
    assert!(told[1].starts_with("error a.yaml:4: Secret default/s: data.k: "), "{told:#?}");
    assert!(told[2].contains("stays in force: `Secret default/s`"), "{told:#?}");
    assert_eq!(steps.put("a.yaml", secret("s", "2")), ["Secret default/s 2", "all is well"]);
}

#[test]
fn labels_decide_who_is_served_as_long_as_they_can_be_read() {
    let options = Options { auth_config_label_selector: "shard=a".parse().unwrap(), ..Options::default() };
    let mut steps = Steps::with(&[("a.yaml", labelled("x", "{shard: a}", "x.test"))], &options);
    let told = steps.put("a.yaml", labelled("x", "[shard]", "x.test"));
    assert_eq!(told[0], "AuthConfig default/x x.test broken");
    assert_eq!(told.len(), 2, "{told:#?}");
    let told = steps.put("a.yaml", labelled("x", "{shard: b}", "x.test"));
    assert_eq!(told, ["AuthConfig default/x gone", "all is well"]);
    assert_eq!(steps.put("a.yaml", labelled("x", "{shard: a}", "x2.test")), ["AuthConfig default/x x2.test"]);
}

#[test]
fn a_folder_that_is_missing_removes_nothing_but_one_below_that_is_removed_does() {
    let mut steps = Steps::new(&[("a.yaml", auth_config("a", "a.test")), ("below/b.yaml", auth_config("b", "b.test"))]);
    let aside = steps.folder.beside("aside");
    fs::rename(steps.folder.root(), &aside).unwrap();
    assert_eq!(steps.look(), ["error .: does not exist"]);
    fs::rename(&aside, steps.folder.root()).unwrap();
    assert_eq!(steps.look(), ["all is well"]);
    fs::remove_dir_all(steps.folder.path("below")).unwrap();
    assert_eq!(steps.look(), ["AuthConfig default/b gone"]);
}

#[test]
fn a_second_write_of_the_same_size_is_seen() {
    let mut steps = Steps::new(&[("a.yaml", auth_config("a", "a.test"))]);
    for host in ["b.test", "c.test", "d.test"] {
        fs::write(steps.folder.path("a.yaml"), auth_config("a", host)).unwrap();
        assert_eq!(steps.look(), [format!("AuthConfig default/a {host}")]);
    }
}
