//! The commands that need no gateway: what they print, and how they end.

use std::{fs, process::Command};

use super::support::workspace;

/// Runs `usher` and gives its exit status, standard output and standard error.
fn usher(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(workspace::usher()).args(arguments).current_dir(workspace::root()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

const QUICKSTART: &str = "deploy/examples/quickstart";

fn check(more: &[&str]) -> (i32, String) {
    let (status, output, errors) = usher(&[&["check", "--config", QUICKSTART], more].concat());
    assert_eq!(errors, "", "{more:?}");
    (status, output)
}

#[test]
fn the_quick_start_decides_as_its_guide_says() {
    let ann = fs::read_to_string(workspace::root().join(QUICKSTART).join("ann.jwt")).unwrap();
    let ann = format!("authorization: Bearer {}", ann.trim());
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["--host", "public.example.com"], 0, &["verdict: allow"]),
        (&["--host", "keys.example.com"], 3, &["status: 401", "www-authenticate: APIKEY realm="]),
        (&["--host", "keys.example.com", "-H", "Authorization: apikey quickstart-key-of-ann"], 0, &["verdict: allow"]),
        (&["--host", "keys.example.com", "-H", "Authorization: APIKEY wrong"], 3, &["the API Key provided is invalid"]),
        (&["--host", "token.example.com", "-H", &ann], 0, &["verdict: allow"]),
        (&["--host", "token.example.com", "-H", "Authorization: Bearer a.b.c"], 3, &["status: 401"]),
        (&["--host", "nobody.example.com"], 3, &["status: 404", "Service not found"]),
    ];
    for (arguments, expected, texts) in cases {
        let (status, output) = check(arguments);
        assert_eq!(status, *expected, "{arguments:?}: {output}");
        for text in *texts {
            assert!(output.contains(text), "{text:?} of {arguments:?} in {output}");
        }
    }
}

#[test]
fn check_explains_each_step() {
    let (_, output) = check(&["--host", "keys.example.com", "--explain"]);
    assert!(output.contains("steps:\n  authentication "), "{output}");
    assert!(output.contains("denied in ") && output.contains("credential not found"), "{output}");
}

#[test]
fn check_reads_a_request_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("config.yaml"),
        "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {name: a}\nspec:\n  hosts: [a.test]\n  authorization:\n    office: {patternMatching: {patterns: [{predicate: \"source.address == '10.0.0.7' && request.method == 'PUT'\"}]}}\n",
    )
    .unwrap();
    let file = folder.path().join("request.yaml");
    fs::write(&file, "request: {host: a.test, method: PUT, path: /x}\nsource: {address: 10.0.0.7, port: 1}\n").unwrap();
    let (config, file) = (folder.path().to_str().unwrap(), file.to_str().unwrap());
    assert_eq!(usher(&["check", "--config", &format!("{config}/config.yaml"), "--request", file]).0, 0);
    assert_eq!(
        usher(&["check", "--config", &format!("{config}/config.yaml"), "--request", file, "--method", "GET"]).0,
        3
    );
}

#[test]
fn check_reads_the_route_from_what_a_gateway_says_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let of_route = "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {name: of-route, namespace: shop}\nspec: {hosts: [], routes: [{name: web, sectionName: checkout}]}\n";
    fs::write(folder.path().join("config.yaml"), of_route).unwrap();
    let file = folder.path().join("request.json");
    let (config, file_name) = (folder.path().join("config.yaml"), file.to_str().unwrap());
    let arguments = [
        "check",
        "--config",
        config.to_str().unwrap(),
        "--allow-route-lookup",
        "--request",
        file_name,
        "--host",
        "web.test",
    ];
    for (section, expected) in [("checkout", (0, "authconfig: shop/of-route")), ("cart", (3, "Service not found"))] {
        let resource =
            format!(r#"{{"kind": "HTTPRoute", "namespace": "shop", "name": "web", "sectionName": "{section}"}}"#);
        let metadata = format!(r#"{{"filter_metadata": {{"envoy-gateway": {{"resources": [{resource}]}}}}}}"#);
        fs::write(&file, format!(r#"{{"route_metadata": {metadata}}}"#)).unwrap();
        let (status, output, errors) = usher(&arguments);
        assert_eq!((status, errors.as_str()), (expected.0, ""), "{section}");
        assert!(output.contains(expected.1), "{section}: {output}");
        // The route is enough, if it is looked at.
        let without_host = usher(&arguments[..arguments.len() - 2]);
        assert_eq!(without_host.0, expected.0, "{section}: {without_host:?}");
        let without_both = usher(&["check", "--config", QUICKSTART, "--request", file_name]);
        assert_eq!(without_both.0, 1, "{section}: {without_both:?}");
    }
    fs::write(&file, r#"{"route_metadata": {"filter_metadata": {"envoy-gateway": {}}}}"#).unwrap();
    let nothing = usher(&arguments[..arguments.len() - 2]);
    assert_eq!((nothing.0, nothing.2.as_str()), (1, "give the host of the request with `--host`\n"));
}

#[test]
fn check_tells_each_problem_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    let unread = "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {name: a}\nspec: {}\n";
    let uncompiled = "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {name: b}\nspec: {hosts: [b.test], when: [{patternRef: nowhere}]}\n";
    let policy =
        "apiVersion: envoy.kyverno.io/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: p}\nspec: {rules: []}\n";
    fs::write(&file, [unread, uncompiled, policy].join("---\n")).unwrap();
    let (status, _, errors) = usher(&["check", "--config", file.to_str().unwrap(), "--host", "b.test"]);
    assert_eq!(status, 4);
    for problem in ["spec.hosts: ", "spec.when[0].patternRef: ", "AuthorizationPolicy p: "] {
        assert_eq!(errors.matches(problem).count(), 1, "{problem} in {errors}");
    }
}

#[test]
fn validate_tells_everything_that_is_wrong_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    fs::write(
        &file,
        "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {name: a}\nspec:\n  hosts: [a.test]\n  athentication: {}\n  when:\n  - operator: like\n---\napiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {name: b}\nspec:\n  hosts: [b.test]\n  when:\n  - predicate: context.x\n  authorization:\n    p:\n      patternMatching:\n        patterns:\n        - patternRef: missing\n",
    )
    .unwrap();
    let (status, output, errors) = usher(&["validate", "--config", folder.path().to_str().unwrap()]);
    assert_eq!((status, errors.as_str()), (1, ""), "{output}");
    let file = file.display();
    for expected in [
        format!("{file}:6: spec.athentication: unknown field"),
        format!("{file}:8: spec.when[0]"),
        format!("{file}:16: spec.when[0].predicate: ERROR"),
        format!(
            "{file}:21: spec.authorization.p.patternMatching.patterns[0].patternRef: there is no pattern set `missing`"
        ),
    ] {
        assert!(output.contains(&expected), "{expected} in\n{output}");
    }
}

const POLICY: &str = r#"apiVersion: envoy.kyverno.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: demo}
spec:
  variables:
  - {name: role, expression: 'object.attributes.request.http.headers[?"x-role"].orValue("")'}
  deny:
  - {match: 'variables.role == ""', response: 'envoy.Denied(401).WithBody("who?").Response()'}
  allow:
  - match: variables.role == "admin"
    response: envoy.Allowed().WithHeader("x-by", "demo").WithoutHeader("x-role").Response()
---
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: a}
spec: {hosts: [a.test]}
"#;

#[test]
fn policies_decide_where_there_is_no_auth_config() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().to_str().unwrap();
    let file = folder.path().join("policy.yaml");
    fs::write(&file, POLICY).unwrap();
    let check =
        |host: &str, header: &str| usher(&["check", "--config", config, "--host", host, "-H", header, "--explain"]);
    let cases: &[(&str, &str, i32, &[&str])] = &[
        ("a.test", "x: 1", 0, &["authconfig: default/a", "verdict: allow"]),
        ("b.test", "x: 1", 3, &["status: 401", "body: who?", "policy demo: spec.deny[0]: denied"]),
        ("b.test", "x-role: guest", 3, &["status: 403", "reason: no rule allows the request"]),
        ("b.test", "x-role: admin", 0, &["the AuthorizationPolicies decide", "x-by: demo", "removed headers: x-role"]),
    ];
    for (host, header, expected, texts) in cases {
        let (status, output, errors) = check(host, header);
        assert_eq!((status, errors.as_str()), (*expected, ""), "{host} {header}: {output}");
        for text in *texts {
            assert!(output.contains(text), "{text:?} of {host} {header} in {output}");
        }
    }
    let (status, output, _) = usher(&["validate", "--config", config]);
    assert_eq!((status, output.as_str()), (0, "1 AuthConfig valid\n1 AuthorizationPolicy valid\n"));

    fs::write(&file, POLICY.replace("variables.role == \"admin\"", "http.Get(\"http://a\") == null")).unwrap();
    let (status, output, _) = usher(&["validate", "--config", config]);
    assert_eq!(status, 1, "{output}");
    assert!(output.contains("policy.yaml:10: spec.allow[0].match: ERROR"), "{output}");
    assert!(output.contains("the library `http` is not supported"), "{output}");
    let (status, output, errors) = check("b.test", "x-role: admin");
    assert_eq!(status, 4, "{output}{errors}");
    assert!(errors.contains("AuthorizationPolicy demo: spec.allow[0].match"), "{errors}");
}

#[test]
fn validate_accepts_the_quick_start() {
    let (status, output, errors) = usher(&["validate", "--config", QUICKSTART]);
    assert_eq!((status, errors.as_str()), (0, ""), "{output}");
}

#[test]
fn commands_that_cannot_run_say_so() {
    for (arguments, status) in [
        (&["check", "--config", QUICKSTART][..], 1),
        (&["check", "--config", "no/such/folder", "--host", "a.test"], 1),
        (&["validate", "--config", "no/such/folder"], 1),
        (&["serve", "--config", QUICKSTART, "--tls-cert", "only-a-certificate.pem"], 1),
        (&["serve", "--no-such-flag"], 2),
        (&["serve", "--config", QUICKSTART, "--timeout", "soon"], 2),
    ] {
        let (found, output, errors) = usher(arguments);
        assert_eq!(found, status, "{arguments:?}: {output}{errors}");
        assert_ne!(output + &errors, "", "{arguments:?}");
    }
}

#[test]
fn crds_prints_what_is_deployed() {
    let (status, output, _) = usher(&["crds"]);
    let deployed = fs::read_to_string(workspace::root().join("deploy/crds/authconfigs.yaml")).unwrap();
    assert_eq!((status, output), (0, deployed));
}

/// Who redirects into a file must know that it has everything. Linux has a device that is always full.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_is_an_error() {
    let needs = ["doctor", "needs", "--config", QUICKSTART, "--gateway", "kgateway"];
    let symptoms = ["doctor", "symptoms", "--status", "403"];
    let check = ["check", "--config", QUICKSTART, "--host", "public.example.com"];
    let validate = ["validate", "--config", QUICKSTART];
    for arguments in [&needs[..], &symptoms, &["doctor", "causes"], &check, &validate, &["crds"], &["version"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(workspace::usher());
        let output = command.args(arguments).current_dir(workspace::root()).stdout(full).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
        assert!(errors.starts_with("the output cannot be written: "), "{arguments:?}: {errors}");
    }
}

/// `usher doctor causes | head -1`
#[test]
fn who_reads_only_the_beginning_makes_no_error() {
    for arguments in [&["doctor", "causes"][..], &["validate", "--config", QUICKSTART], &["crds"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(workspace::usher())
            .args(arguments)
            .current_dir(workspace::root())
            .stdout(writer)
            .output()
            .unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), errors.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn doctor_says_which_flag_of_the_server_routes_need() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let of_route = "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {name: of-route, namespace: shop}\nspec: {hosts: [], routes: [{name: web}]}\n";
    fs::write(&file, of_route).unwrap();
    let config = file.to_str().unwrap();
    let (status, refused, _) = usher(&["validate", "--config", config]);
    assert_eq!(status, 1, "{refused}");
    let (status, output, errors) = usher(&["doctor", "needs", "--config", config, "--gateway", "kgateway"]);
    assert_eq!((status, errors.as_str()), (0, ""), "{output}");
    assert!(output.contains("contextExtensions:\n      route: HTTPRoute/shop/web\n"), "{output}");
    for text in [refused, output] {
        assert!(text.contains("`--allow-route-lookup`"), "{text}");
    }
}
