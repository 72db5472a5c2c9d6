//! The tutorial of the Kyverno Authz Server, with its tokens, and Usher in the place of that server.

use serde_json::{Value, json};

use super::{ALLOW, FOLDER, bearer, checks, shipped, start_usher, through_each_envoy, tokens};
use crate::support::{
    documents::Folder,
    usher::{Usher, validate},
    workspace::root,
};

#[test]
fn guests_are_refused_and_admins_pass() {
    const CHALLENGE: &str = r#"Bearer realm="tutorial""#;
    let usher = start_usher();
    let [bob, alice] = [tokens::BOB, tokens::ALICE];
    let with_a_bit_changed = bob.replace(".veMe", ".veMf");
    through_each_envoy(&shipped(), &usher, |gateway| {
        let passed = gateway.upstream.requests();
        assert_eq!(gateway.get("tokens.example.com", "/get", &[]).status, 401);
        for (authorization, status) in [
            (format!("Bearer {alice}"), 403),
            (format!("Bearer {}", tokens::NO_ROLE), 403),
            // Schemes are compared without regard to case, and spaces after them do not count.
            (format!("bearer {alice}"), 403),
            (format!("BEARER {alice}"), 403),
            (format!("Bearer  {alice}"), 403),
            ("Bearer".to_owned(), 401),
            ("Bearer garbage".to_owned(), 401),
            (format!("Bearer {bob} more"), 401),
            (format!("Bearer\t{bob}"), 401),
            (format!("Bearer \t{bob}"), 401),
            (format!("Bearer{bob}"), 401),
            (format!("more Bearer {bob}"), 401),
            (format!("Basic {bob}"), 401),
            (bob.to_owned(), 401),
            (format!("Bearer {}", tokens::OTHER_KEY), 401),
            (format!("Bearer {}", tokens::UNSIGNED), 401),
            (format!("Bearer {}", tokens::EXPIRED), 401),
            (format!("Bearer {with_a_bit_changed}"), 401),
        ]
        .into_iter()
        .chain(tokens::OTHER_ROLES.map(|token| (bearer(token), 403)))
        {
            let response = gateway.get("tokens.example.com", "/get", &[("authorization", &authorization)]);
            assert_eq!(response.status, status, "{authorization}: {}", response.text());
            let challenges: Vec<_> = response.headers("www-authenticate").collect();
            assert_eq!(challenges, if status == 401 { &[CHALLENGE][..] } else { &[] }, "{authorization}");
        }
        // Of two nobody knows which one counts, even if they are the same.
        let (guest, admin) = (bearer(alice), bearer(bob));
        let (guest, admin) = (("authorization", guest.as_str()), ("authorization", admin.as_str()));
        for headers in [[admin, admin], [guest, admin], [admin, guest], [("authorization", "Basic YTph"), admin]] {
            assert_eq!(gateway.get("tokens.example.com", "/get", &headers).status, 401, "{headers:?}");
        }
        assert_eq!(gateway.upstream.requests(), passed);

        // Whatever host leads to the route. There is one check: that of the route is in the place of that of the Gateway.
        let before = checks(&usher, None);
        assert_eq!(gateway.get("tokens.example.com", "/get", &[]).status, 401);
        assert_eq!(checks(&usher, None), before + 1.0);
        for host in ["tokens.example.com", "tokens.example.com:8080", "a.tokens.example.com"] {
            for scheme in ["Bearer", "bearer", "bEARER", "Bearer "] {
                let headers = [
                    ("authorization", &*format!("{scheme} {bob}")),
                    ("x-force-authorized", "true"),
                    ("x-validated-by", "forged"),
                    ("x-validated-by", "twice"),
                ];
                let response = gateway.get(host, "/get", &headers);
                assert_eq!(response.status, 200, "{host} {scheme}: {}", response.text());
                assert_eq!(response.header("x-add-custom-response-header"), Some("added"));
                let seen = response.json()["headers"].clone();
                assert_eq!(seen["x-validated-by"], "my-security-checkpoint");
                assert_eq!(seen.get("x-force-authorized"), None);
                assert_eq!(seen["authorization"], headers[0].1);
            }
        }
        gateway.get("tokens.example.com", "/get?logged", &[admin]);
        let logged = gateway.envoy.access_log("/get?logged");
        assert_eq!(logged[0]["ext_authz"]["subject"], "YWxpY2U=");
        // The name that the policy gives is no way in.
        assert_eq!(gateway.get("tokens.authconfig.internal", "/get", &[]).status, 404);
    });
}

/// In place of a name for the AuthConfig, the policy can tell the name of the route.
#[test]
fn an_auth_config_can_be_for_a_route() {
    let mut objects = shipped();
    objects.edit("TrafficPolicy", "tokens")["spec"]["extAuth"]["contextExtensions"] =
        json!({"route": "HTTPRoute/httpbin/tokens"});
    let config = &mut objects.edit("AuthConfig", "tokens")["spec"];
    config["hosts"] = json!([]);
    config["routes"] = json!([{"name": "tokens"}]);
    let usher = Usher::start_with(&objects.for_usher(), &["--allow-route-lookup"]);
    let [bob, alice] = [bearer(tokens::BOB), bearer(tokens::ALICE)];
    through_each_envoy(&objects, &usher, |gateway| {
        for (headers, status) in
            [(&[][..], 401), (&[("authorization", &*alice)], 403), (&[("authorization", &*bob)], 200)]
        {
            assert_eq!(gateway.get("tokens.example.com", "/get", headers).status, status, "{headers:?}");
        }
        // The routes that no AuthConfig is for are found by their hosts.
        assert_eq!(gateway.get("www.example.com", "/get", &[ALLOW]).status, 200);
    });
}

/// Where keys are public, nobody can sign with them.
#[test]
fn a_key_set_never_verifies_what_a_shared_secret_signed() {
    let with_keys = |keys: Value| {
        let mut objects = Folder::read(FOLDER);
        let rules = &mut objects.edit("AuthConfig", "tokens")["spec"]["authentication"];
        rules["tutorial"]["jwt"] = json!({"jwks": {"inline": {"keys": keys}}});
        objects.documents.retain(|object| object["kind"] == "AuthConfig");
        objects.for_usher()
    };
    // The public key of the quickstart, and the secret of the tutorial as if it were one.
    let token = Folder::read("deploy/examples/quickstart").one("AuthConfig", "token").clone();
    let public = token["spec"]["authentication"]["quickstart"]["jwt"]["jwks"]["inline"]["keys"].clone();
    let shared = json!([{"kty": "oct", "alg": "HS256", "k": "c2VjcmV0"}]);
    let folder = tempfile::tempdir().unwrap();
    let is_valid = |keys: &Value| {
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, with_keys(keys.clone())).unwrap();
        validate(&file).0
    };
    assert_eq!((is_valid(&public), is_valid(&shared)), (true, false));

    let usher = Usher::start(&with_keys(public));
    let ann = std::fs::read_to_string(root().join("deploy/examples/quickstart/ann.jwt")).unwrap();
    through_each_envoy(&shipped(), &usher, |gateway| {
        for (token, status) in [(ann.trim(), 200), (tokens::BOB, 401), (tokens::UNSIGNED, 401)] {
            let response = gateway.get("tokens.example.com", "/get", &[("authorization", &bearer(token))]);
            assert_eq!(response.status, status, "{token}: {}", response.text());
        }
    });
}
