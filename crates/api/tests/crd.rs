//! The CustomResourceDefinition: what it says, and that the file in the repository is up to date.

#![allow(clippy::panic)]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use usher_api::{crds, crds_yaml, schema};

#[test]
fn the_file_is_what_the_program_prints() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crds/authconfigs.yaml");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, crds_yaml()).unwrap();
    }
    let file = std::fs::read_to_string(path).unwrap_or_default();
    assert!(file == crds_yaml(), "{path} is out of date; run this test with UPDATE=1");
}

#[test]
fn the_yaml_says_what_the_json_says() {
    let yaml: Value = serde_saphyr::from_str(&crds_yaml()).unwrap();
    assert_eq!(yaml, crds());
    // The command line client keeps a copy of what it applies in an annotation, which may have 256 KiB.
    assert!(crds().to_string().len() < 200_000, "{}", crds().to_string().len());
}

#[test]
fn names_scope_and_columns() {
    let crd = crds();
    assert_eq!(crd["metadata"]["name"], "authconfigs.authorino.kuadrant.io");
    assert_eq!(crd["spec"]["scope"], "Namespaced");
    assert_eq!(
        crd["spec"]["names"],
        json!({"kind": "AuthConfig", "listKind": "AuthConfigList", "plural": "authconfigs", "singular": "authconfig"})
    );
    let version = &crd["spec"]["versions"][0];
    assert_eq!(
        (&version["name"], &version["served"], &version["storage"]),
        (&json!("v1beta3"), &json!(true), &json!(true))
    );
    assert_eq!(version["subresources"], json!({"status": {}}));
    let columns: Vec<_> = version["additionalPrinterColumns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| {
            let text = |name: &str| column[name].as_str().unwrap().to_owned();
            (text("name"), text("jsonPath"), text("type"), column["priority"].as_u64().unwrap_or_default())
        })
        .collect();
    let expected = [
        ("Ready", "ready", "string", 0),
        ("Hosts", "numHostsReady", "string", 0),
        ("Authentication", "numIdentitySources", "integer", 2),
        ("Metadata", "numMetadataSources", "integer", 2),
        ("Authorization", "numAuthorizationPolicies", "integer", 2),
        ("Response", "numResponseItems", "integer", 2),
        ("Wristband", "festivalWristbandEnabled", "boolean", 2),
    ]
    .map(|(name, path, kind, priority)| {
        (name.to_owned(), format!(".status.summary.{path}"), kind.to_owned(), priority)
    });
    assert_eq!(columns, expected);
}

/// All places in the schema that have this member, with its value.
fn places(member: &str) -> Vec<(String, Value)> {
    fn walk(path: &str, schema: &Value, member: &str, found: &mut Vec<(String, Value)>) {
        if let Some(value) = schema.get(member) {
            found.push((path.to_owned(), value.clone()));
        }
        for (name, below) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            walk(&format!("{path}.{name}"), below, member, found);
        }
        for (mark, name) in [("[]", "items"), (".*", "additionalProperties")] {
            if let Some(below) = schema.get(name) {
                walk(&format!("{path}{mark}"), below, member, found);
            }
        }
    }
    let mut found = Vec::new();
    walk("", &schema(), member, &mut found);
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found
}

#[test]
fn one_of_stands_exactly_where_users_know_it() {
    let conditions = json!([
        {"required": ["patternRef"]},
        {"required": ["operator", "selector"]},
        {"required": ["operator", "jsonPath"]},
        {"required": ["all"]},
        {"required": ["any"]},
        {"required": ["predicate"]},
    ]);
    let authentication = json!([
        {"required": ["apiKey"]},
        {"required": ["jwt"]},
        {"required": ["oauth2Introspection"]},
        {"required": ["kubernetesTokenReview"]},
        {"required": ["x509"]},
        {"required": ["spiffe"]},
        {"required": ["plain"]},
        {"required": ["anonymous"]},
    ]);
    let response = json!([{"required": ["wristband"]}, {"required": ["json"]}, {"required": ["plain"]}]);
    let mut expected = vec![
        (".spec.when[]", conditions.clone()),
        (".spec.authentication.*", authentication),
        (".spec.authentication.*.jwt.jwks", json!([{"required": ["inline"]}, {"required": ["secretRef"]}])),
        (".spec.authentication.*.when[]", conditions.clone()),
        (".spec.metadata.*.when[]", conditions.clone()),
        (".spec.authorization.*.when[]", conditions.clone()),
        (".spec.authorization.*.patternMatching.patterns[]", conditions.clone()),
        (".spec.response.success.headers.*", response.clone()),
        (".spec.response.success.headers.*.when[]", conditions.clone()),
        (".spec.response.success.dynamicMetadata.*", response.clone()),
        (".spec.response.success.dynamicMetadata.*.when[]", conditions.clone()),
        (".spec.response.success.responseHeaders.*", response.clone()),
        (".spec.response.success.responseHeaders.*.when[]", conditions.clone()),
        (".spec.response.success.queryParameters.set.*", response),
        (".spec.response.success.queryParameters.set.*.when[]", conditions),
    ];
    expected.sort_by_key(|(path, _)| *path);
    let expected: Vec<_> = expected.into_iter().map(|(path, value)| (path.to_owned(), value)).collect();
    assert_eq!(places("oneOf"), expected);
}

#[test]
fn validations_stand_where_users_know_them() {
    let http = [
        ("has(self.url) != has(self.urlExpression)", "Use exactly one of: url, urlExpression"),
        ("!(has(self.body) && has(self.bodyParameters))", "Use one of: body, bodyParameters"),
    ];
    let mut expected = vec![
        (
            ".spec.authentication.*.jwt",
            vec![(
                "has(self.jwksUrl) ? !(has(self.issuerUrl) || has(self.jwks) || has(self.secretRef)) : has(self.issuerUrl) ? !(has(self.jwks) || has(self.secretRef)) : has(self.jwks) != has(self.secretRef)",
                "Use one of: jwksUrl, issuerUrl, jwks, secretRef",
            )],
        ),
        (
            ".spec.authentication.*.plain",
            vec![(
                "has(self.selector) ? !(has(self.expression) || has(self.jsonPath)) : has(self.expression) != has(self.jsonPath)",
                "Use exactly one of: selector, expression, jsonPath",
            )],
        ),
        (
            ".spec.authentication.*.x509.source",
            vec![(
                "has(self.xfccHeader) ? !(has(self.clientCertHeader) || has(self.expression) || has(self.jsonPath)) : has(self.clientCertHeader) ? !(has(self.expression) || has(self.jsonPath)) : !(has(self.expression) && has(self.jsonPath))",
                "Use one of: xfccHeader, clientCertHeader, expression, jsonPath",
            )],
        ),
        (
            ".spec.metadata.*",
            vec![(
                "has(self.http) ? !(has(self.userInfo) || has(self.uma)) : has(self.userInfo) != has(self.uma)",
                "Use exactly one of: http, userInfo, uma",
            )],
        ),
        (".spec.metadata.*.http", http.to_vec()),
        (
            ".spec.metadata.*.userInfo",
            vec![("has(self.identitySource) != has(self.userInfoUrl)", "Use one of: identitySource, userInfoUrl")],
        ),
        (
            ".spec.authorization.*",
            vec![(
                "has(self.patternMatching) ? !(has(self.opa) || has(self.kubernetesSubjectAccessReview) || has(self.spicedb)) : has(self.opa) ? !(has(self.kubernetesSubjectAccessReview) || has(self.spicedb)) : has(self.kubernetesSubjectAccessReview) != has(self.spicedb)",
                "Use exactly one of: patternMatching, opa, kubernetesSubjectAccessReview, spicedb",
            )],
        ),
        (
            ".spec.authorization.*.opa",
            vec![("has(self.rego) != has(self.externalPolicy)", "Use exactly one of: rego, externalPolicy")],
        ),
        (".spec.authorization.*.opa.externalPolicy", http.to_vec()),
        (
            ".spec.authorization.*.kubernetesSubjectAccessReview",
            vec![
                (
                    "has(self.user) || has(self.groups) || has(self.authorizationGroups)",
                    "At least one of user, groups, or authorizationGroups must be specified",
                ),
                ("!has(self.groups) || size(self.groups) > 0", "'groups' must not be empty"),
            ],
        ),
        (".spec.callbacks.*.http", http.to_vec()),
    ];
    expected.sort_by_key(|(path, _)| *path);
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(path, rules)| {
            let rules = rules.iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect();
            (path.to_owned(), Value::Array(rules))
        })
        .collect();
    assert_eq!(places("x-kubernetes-validations"), expected);
}

/// The API server knows no field in CEL whose type the schema does not say, and refuses the definition.
#[test]
fn validations_name_fields_with_a_type() {
    let properties: BTreeMap<_, _> = places("properties").into_iter().collect();
    let mut names = 0;
    for (path, rules) in places("x-kubernetes-validations") {
        for rule in rules.as_array().unwrap() {
            for part in rule["rule"].as_str().unwrap().split("self.").skip(1) {
                let name: String = part.chars().take_while(char::is_ascii_alphanumeric).collect();
                assert!(properties[&path][&name]["type"].is_string(), "{path}.{name}");
                names += 1;
            }
        }
    }
    assert!(names > 20, "{names}");
}

#[test]
fn required_fields_defaults_and_bounds() {
    let at = |pointer: &str| {
        let whole = schema();
        let path: String = pointer.split('.').fold(String::new(), |path, part| match part {
            "*" => path + "/additionalProperties",
            "[]" => path + "/items",
            member => format!("{path}/properties/{member}"),
        });
        whole.pointer(&path).unwrap_or_else(|| panic!("{pointer}")).clone()
    };
    assert_eq!(at("spec")["required"], json!(["hosts"]));
    assert_eq!(schema().get("required"), None);
    for (path, member, value) in [
        ("spec.authentication.*.priority", "default", json!(0)),
        ("spec.authentication.*.metrics", "default", json!(false)),
        ("spec.authentication.*.cache.ttl", "default", json!(60)),
        ("spec.authentication.*.cache", "required", json!(["key"])),
        ("spec.authentication.*.credentials", "maxProperties", json!(1)),
        ("spec.authentication.*.credentials.cookie", "required", json!(["name"])),
        ("spec.authentication.*.apiKey", "required", json!(["selector"])),
        ("spec.authentication.*.apiKey.allNamespaces", "default", json!(false)),
        ("spec.authentication.*.apiKey.selector", "x-kubernetes-map-type", json!("atomic")),
        ("spec.authentication.*.apiKey.selector.matchExpressions.[]", "required", json!(["key", "operator"])),
        ("spec.authentication.*.jwt.timeout", "minimum", json!(0)),
        ("spec.authentication.*.jwt.ttl", "format", json!("int64")),
        ("spec.authentication.*.oauth2Introspection", "required", json!(["endpoint", "credentialsRef"])),
        ("spec.authentication.*.anonymous", "type", json!("object")),
        ("spec.metadata.*.http.method", "default", json!("GET")),
        (
            "spec.metadata.*.http.method",
            "enum",
            json!(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE"]),
        ),
        ("spec.metadata.*.http.contentType", "default", json!("application/x-www-form-urlencoded")),
        ("spec.metadata.*.http.oauth2", "required", json!(["tokenUrl", "clientId", "clientSecretRef"])),
        ("spec.metadata.*.http.oauth2.cache", "default", json!(true)),
        ("spec.metadata.*.uma", "required", json!(["endpoint", "credentialsRef"])),
        ("spec.authorization.*.opa.version", "default", json!("v0")),
        ("spec.authorization.*.opa.version", "enum", json!(["v0", "v1"])),
        ("spec.authorization.*.opa.externalPolicy.ttl", "type", json!("integer")),
        ("spec.authorization.*.patternMatching", "required", json!(["patterns"])),
        (
            "spec.authorization.*.patternMatching.patterns.[].operator",
            "enum",
            json!(["eq", "neq", "incl", "excl", "matches"]),
        ),
        ("spec.authorization.*.spicedb", "required", json!(["endpoint"])),
        ("spec.response.unauthorized.code", "minimum", json!(300)),
        ("spec.response.unauthorized.code", "maximum", json!(599)),
        ("spec.response.success.headers.*.json", "required", json!(["properties"])),
        ("spec.response.success.headers.*.wristband", "required", json!(["issuer", "signingKeyRefs"])),
        (
            "spec.response.success.headers.*.wristband.signingKeyRefs.[].algorithm",
            "enum",
            json!(["ES256", "ES384", "ES512", "RS256", "RS384", "RS512"]),
        ),
        ("spec.callbacks.*", "required", json!(["http"])),
        ("status.conditions.[]", "required", json!(["type", "status"])),
        ("status.conditions.[].lastTransitionTime", "format", json!("date-time")),
        (
            "status.summary",
            "required",
            json!([
                "ready",
                "hostsReady",
                "numHostsReady",
                "numIdentitySources",
                "numMetadataSources",
                "numAuthorizationPolicies",
                "numResponseItems",
                "festivalWristbandEnabled"
            ]),
        ),
    ] {
        assert_eq!(at(path).get(member), Some(&value), "{path} {member}");
    }
    for path in ["spec.when.[].all.[]", "spec.callbacks.*.when.[].any.[]"] {
        let nested = at(path);
        assert_eq!(nested, json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}), "{path}");
    }
    let value = at("spec.authentication.*.defaults.*.value");
    assert_eq!(value.get("type"), None);
    assert_eq!(value["x-kubernetes-preserve-unknown-fields"], true);
}

/// What the Kubernetes API asks of a structural schema, as far as it concerns ours.
#[test]
fn the_schema_is_structural() {
    const KNOWN: [&str; 18] = [
        "description",
        "default",
        "type",
        "format",
        "enum",
        "minimum",
        "maximum",
        "maxProperties",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "oneOf",
        "x-kubernetes-validations",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-map-type",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
    ];
    fn walk(path: &str, schema: &Value) {
        let members = schema.as_object().unwrap_or_else(|| panic!("{path}: {schema}"));
        for name in members.keys() {
            assert!(KNOWN.contains(&name.as_str()), "{path}: {name}");
        }
        let kind = schema.get("type").and_then(Value::as_str);
        let any = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
        assert!(kind.is_some() || any, "{path} has no type");
        assert!(schema.get("properties").is_none() || schema.get("additionalProperties").is_none(), "{path}");
        assert_eq!(schema.get("items").is_some(), kind == Some("array"), "{path}");
        for required in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            assert!(schema["properties"].get(required.as_str().unwrap()).is_some(), "{path}: {required}");
        }
        for branch in schema.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
            for required in branch["required"].as_array().unwrap() {
                assert!(schema["properties"].get(required.as_str().unwrap()).is_some(), "{path}: {required}");
            }
        }
        for (name, below) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            walk(&format!("{path}.{name}"), below);
        }
        for name in ["items", "additionalProperties"] {
            if let Some(below) = schema.get(name) {
                walk(&format!("{path}.{name}"), below);
            }
        }
    }
    walk("", &schema());
}
