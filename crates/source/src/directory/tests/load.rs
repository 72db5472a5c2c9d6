//! Reading everything once.

use std::os::unix::net::UnixListener;

use super::*;

fn problems(folder: &Folder, loaded: &Loaded) -> Vec<String> {
    loaded.problems.iter().map(|problem| folder.problem(problem)).collect()
}

#[test]
fn documents_come_in_the_order_of_files_and_texts() {
    let folder = Folder::new();
    folder.put("b.yaml", documents(&[auth_config("two", "b.test"), secret("s", "1"), auth_config("three", "c.test")]));
    folder.put("a/x.yml", auth_config("one", "a.test"));
    folder.put(
        "c.json",
        r#"{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "t", "namespace": "n"}}]}"#,
    );
    folder.put("empty.yaml", "# nothing\n---\n");
    folder.put("readme.txt", "not: [yaml");
    let loaded = folder.source().load();
    assert_eq!(
        folder.words(&loaded.changes),
        [
            "AuthConfig default/one a.test",
            "AuthConfig default/two b.test",
            "Secret default/s 1",
            "AuthConfig default/three c.test",
            "Secret n/t ",
            "loaded",
        ]
    );
    assert_eq!(problems(&folder, &loaded), Vec::<String>::new());
    assert!(!loaded.has_errors());
    assert_eq!(loaded.secrets().count(), 2);
    let files: Vec<_> = loaded.auth_configs().map(|object| object.file.clone().unwrap()).collect();
    assert_eq!(files, [folder.path("a/x.yml"), folder.path("b.yaml"), folder.path("b.yaml")]);
}

#[test]
fn paths_keep_their_order_and_count_once() {
    let folder = Folder::new();
    folder.put("a.yaml", auth_config("a", "a.test"));
    folder.put("z/b.yaml", auth_config("b", "b.test"));
    let paths = vec![folder.path("z"), folder.root(), folder.path("z"), folder.path("a.yaml")];
    let loaded = Source::new(paths, Options::default()).load();
    assert_eq!(folder.words(&loaded.changes), ["AuthConfig default/b b.test", "AuthConfig default/a a.test", "loaded"]);
    assert_eq!(problems(&folder, &loaded), Vec::<String>::new());
}

#[test]
fn every_problem_names_file_and_line() {
    let folder = Folder::new();
    folder.put("1.yaml", documents(&[auth_config("a", "a.test"), auth_config("b", "b.test").replace("hosts", "hots")]));
    folder.put("2.yaml", documents(&[secret("s", "x"), secret("t", "hunter2").replace("stringData", "data")]));
    folder.put("3.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n");
    folder.put("4.yaml", "- a\n");
    folder.put("5.yaml", [b"a: b\nc: ".as_slice(), &[0xff, b'\n']].concat());
    folder.put("6.yaml", vec![b'#'; usize::try_from(MAX_FILE_SIZE).unwrap() + 1]);
    symlink("nowhere", folder.path("7.yaml")).unwrap();
    let _listener = UnixListener::bind(folder.path("8.yaml")).unwrap();
    folder.put(
        "9.yaml",
        "\n---\napiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nspec: {hosts: [nameless.test]}\n",
    );
    let paths = vec![folder.root(), folder.path("missing")];
    let loaded = Source::new(paths, Options::default()).load();
    let expected = [
        "error missing: does not exist",
        "error 1.yaml:13: AuthConfig default/b: spec.hots: ",
        "error 2.yaml:9: Secret default/t: data.k: must be base64",
        "warning 3.yaml:1: ConfigMap c: the kind `ConfigMap` of `v1` is not known and left out",
        "error 4.yaml:1: a document must be of type object, found array",
        "error 5.yaml:2: is not UTF-8 text",
        "error 6.yaml: is larger than 16 MiB",
        "error 7.yaml: cannot be read: entity not found",
        "error 8.yaml: is not a file",
        "error 9.yaml:3: metadata.name: Required value",
    ];
    let mut found = problems(&folder, &loaded);
    found.retain(|problem| !problem.contains("spec.hosts: "));
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
        assert!(!found.contains("hunter2"), "{found}");
    }
    assert!(loaded.has_errors());
    // An AuthConfig with problems is told all the same, even without a name: its hosts must not be left to others.
    let words = folder.words(&loaded.changes);
    assert_eq!(
        words,
        [
            "AuthConfig default/a a.test",
            "AuthConfig default/b  broken",
            "Secret default/s x",
            "AuthConfig default/unnamed:9.yaml:3 nameless.test broken",
            "loaded",
        ]
    );
}

#[test]
fn of_two_definitions_the_first_counts_and_both_places_are_named() {
    let folder = Folder::new();
    folder.put("a.yaml", documents(&[auth_config("x", "first.test"), auth_config("x", "again.test")]));
    folder.put("b.yaml", documents(&[secret("x", "1"), auth_config("x", "second.test")]));
    folder.put("c.yaml", secret("x", "2"));
    let loaded = folder.source().load();
    assert_eq!(folder.words(&loaded.changes), ["AuthConfig default/x first.test", "Secret default/x 1", "loaded"]);
    let root = folder.root().display().to_string();
    let found: Vec<_> = problems(&folder, &loaded).iter().map(|problem| problem.replace(&root, "")).collect();
    assert_eq!(
        found,
        [
            "error a.yaml:8: AuthConfig default/x: is already defined in `a.yaml:1`; that one counts",
            "error b.yaml:6: AuthConfig default/x: is already defined in `a.yaml:1`; that one counts",
            "error c.yaml:1: Secret default/x: is already defined in `b.yaml:1`; that one counts",
        ]
    );
}

#[test]
fn what_is_not_for_this_server_is_left_out_with_its_problems() {
    let folder = Folder::new();
    let elsewhere = |text: String| text.replace("name:", "namespace: other\n  name:");
    folder.put("1.yaml", labelled("mine", "{shard: a}", "1.test"));
    folder.put("2.yaml", labelled("theirs", "{shard: b}", "2.test").replace("hosts", "hots"));
    folder.put("3.yaml", elsewhere(labelled("far", "{shard: a}", "3.test")));
    folder.put("4.yaml", documents(&[secret("s", "1"), secret("t", "1").replace("{name", "{namespace: other, name")]));
    let options = Options {
        watch_namespace: Some("default".to_owned()),
        auth_config_label_selector: "shard in (a, c)".parse().unwrap(),
        ..Options::default()
    };
    let loaded = Source::new(vec![folder.root()], options).load();
    assert_eq!(folder.words(&loaded.changes), ["AuthConfig default/mine 1.test", "Secret default/s 1", "loaded"]);
    assert_eq!(problems(&folder, &loaded), Vec::<String>::new());
}
