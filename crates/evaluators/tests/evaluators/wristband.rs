//! Tokens that we issue, and accept again.

use serde_json::{Value, json};
use usher_api::Secret;
use usher_engine::{
    Plan,
    plan::{PlanKind, TokenIssuer},
};

use crate::support::{World, secret, verdict};

const P256: &str = include_str!("../../src/response/wristband/testdata/p256-sec1-with-parameters.pem");
const P384: &str = include_str!("../../src/response/wristband/testdata/p384-pkcs8.pem");
const RSA: &str = include_str!("../../src/response/wristband/testdata/rsa2048-pkcs8.pem");
const ISSUER: &str = "https://us.test/team/config/wb";

/// A Secret of the namespace `team`.
fn key(name: &str, pem: &str) -> Secret {
    let mut key = secret(&format!("team/{name}"), "", "");
    key.data = [("key.pem".to_owned(), pem.as_bytes().to_vec())].into();
    key
}

fn world() -> World {
    let mut other = key("no-entry", "");
    other.data = [("other".to_owned(), b"x".to_vec())].into();
    World::new().with(&[key("ec", P256), key("ec384", P384), key("rsa", RSA), key("garbage", "not a key"), other])
}

/// An AuthConfig with a wristband in the header `x-wb`, for callers who say in metadata who they are.
fn issuing(wristband: Value) -> Value {
    json!({
        "authentication": {"who": {"plain": {"selector": "metadata.filter_metadata.id"}}},
        "response": {"success": {"headers": {"wb": {"key": "x-wb", "wristband": wristband}}}},
    })
}

fn ec(name: &str, algorithm: &str) -> Value {
    json!({"name": name, "algorithm": algorithm})
}

fn token_issuers(plan: &Plan) -> Vec<(&str, &TokenIssuer)> {
    let PlanKind::Rules(rules) = &plan.kind else { panic!("the plan is broken") };
    rules.token_issuers.iter().map(|(name, issuer)| (&**name, issuer)).collect()
}

fn ann() -> Value {
    json!({"metadata": {"id": {"name": "ann"}}})
}

#[test]
fn tokens_are_accepted_with_the_published_keys() {
    let world = world();
    for (name, algorithm) in [("ec", "ES256"), ("ec384", "ES384"), ("rsa", "RS256"), ("rsa", "RS512")] {
        let plan = world.plan(&issuing(json!({
            "issuer": ISSUER,
            "signingKeyRefs": [ec(name, algorithm)],
            "customClaims": {"username": {"selector": "auth.identity.name"}, "aud": {"value": ["inner"]}},
        })));
        let answer = verdict(&plan, &ann());
        let token = answer["headers"]["x-wb"].as_str().unwrap_or_else(|| panic!("{algorithm}: {answer}"));
        let [(item, issuer)] = token_issuers(&plan)[..] else { panic!("there is one issuer") };
        assert_eq!((item, issuer.issuer.as_str()), ("wb", ISSUER));
        let accepting = |jwt: Value| {
            let mut jwt = jwt;
            jwt["jwks"] = json!({"inline": &*issuer.keys});
            json!({
                "authentication": {"inner": {"jwt": jwt}},
                "response": {"success": {"headers": {"x-user": {"plain": {"selector": "auth.identity.username"}}}}},
            })
        };
        let request = json!({"headers": {"authorization": format!("Bearer {token}")}});
        let refused = |reason: &str| json!({ "denied": reason });
        let cases = [
            (json!({}), None),
            (json!({"issuer": ISSUER, "audiences": ["inner"], "algorithms": [algorithm]}), None),
            (json!({"issuer": "https://them.test"}), Some("oidc: token was issued by another issuer")),
            (json!({"audiences": ["outer"]}), Some("oidc: expected audience \"outer\"")),
        ];
        for (jwt, reason) in cases {
            let plan = world.plan(&accepting(jwt.clone()));
            let answer = verdict(&plan, &request);
            match reason {
                Some(reason) => assert_eq!(answer, refused(reason), "{algorithm} {jwt}"),
                None => assert_eq!(answer["headers"]["x-user"], "ann", "{algorithm} {jwt}: {answer}"),
            }
        }
    }
}

#[test]
fn tokens_are_handed_over_in_headers_and_in_metadata() {
    let wristband = json!({"issuer": ISSUER, "signingKeyRefs": [ec("ec", "ES256")]});
    let mut spec = issuing(wristband.clone());
    spec["response"]["success"]["dynamicMetadata"] =
        json!({"wb": {"wristband": wristband}, "other": {"wristband": wristband}});
    let plan = world().plan(&spec);
    let answer = verdict(&plan, &ann());
    for token in [&answer["headers"]["x-wb"], &answer["metadata"]["wb"], &answer["metadata"]["other"]] {
        assert_eq!(token.as_str().unwrap().split('.').count(), 3, "{answer}");
    }
    let names: Vec<_> = token_issuers(&plan).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["wb", "other", "wb"]);
}

#[test]
fn all_keys_are_published_in_order_and_without_their_private_part() {
    let plan = world().plan(&issuing(json!({
        "issuer": ISSUER,
        "signingKeyRefs": [ec("rsa", "RS384"), ec("ec384", "ES384"), ec("ec", "ES256")],
    })));
    let [(_, issuer)] = token_issuers(&plan)[..] else { panic!("there is one issuer") };
    let keys: Value = serde_json::from_str(&issuer.keys).unwrap();
    let members =
        |index: usize| keys["keys"][index].as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(members(0), ["use", "kty", "kid", "alg", "n", "e"]);
    assert_eq!(members(1), ["use", "kty", "kid", "crv", "alg", "x", "y"]);
    assert_eq!(members(2), ["use", "kty", "kid", "crv", "alg", "x", "y"]);
    let ids: Vec<_> = keys["keys"].as_array().unwrap().iter().map(|key| (&key["kid"], &key["alg"])).collect();
    assert_eq!(
        ids,
        [("rsa", "RS384"), ("ec384", "ES384"), ("ec", "ES256")]
            .map(|(id, alg)| (json!(id), json!(alg)))
            .each_ref()
            .map(|(id, alg)| (id, alg))
    );
}

#[test]
fn keys_that_cannot_sign_are_refused() {
    let at = "spec.response.success.headers.wb.wristband.signingKeyRefs";
    let cases = [
        (json!([]), vec![format!("{at}: missing at least one signing key")]),
        (json!([ec("none", "ES256")]), vec![format!("{at}[0]: Secret \"none\" not found")]),
        (
            json!([ec("ec", "ES256"), ec("garbage", "ES256"), ec("no-entry", "ES256")]),
            vec![
                format!(
                    "{at}[1]: entry \"key.pem\" of Secret \"garbage\": failed to decode PEM file: there is no private key in it"
                ),
                format!(
                    "{at}[2]: entry \"key.pem\" of Secret \"no-entry\": failed to decode PEM file: there is no private key in it"
                ),
            ],
        ),
        (
            json!([ec("ec", "RS256")]),
            vec![format!(
                "{at}[0]: entry \"key.pem\" of Secret \"ec\": invalid signing key algorithm: `RS256` needs a key of kind RSA, and this is P-256"
            )],
        ),
        (json!(vec![ec("ec", "ES256"); 33]), vec![format!("{at}: more than 32 signing keys")]),
    ];
    for (references, expected) in cases {
        let spec = issuing(json!({"issuer": ISSUER, "signingKeyRefs": references}));
        let (plan, problems, _) = world().build(&spec);
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, expected, "{references}");
        assert!(token_issuers(&plan).is_empty());
    }
}

#[test]
fn a_claim_that_fails_leaves_out_the_item_and_nothing_else() {
    let mut spec = issuing(json!({
        "issuer": ISSUER,
        "signingKeyRefs": [ec("ec", "ES256")],
        "customClaims": {"group": {"expression": "auth.identity.group"}},
    }));
    spec["response"]["success"]["headers"]["x-name"] = json!({"plain": {"selector": "auth.identity.name"}});
    let answer = verdict(&world().plan(&spec), &ann());
    assert_eq!(answer["headers"], json!({"x-name": "ann"}));
}

#[test]
fn a_token_can_be_kept_and_issued_again() {
    let mut spec = issuing(json!({"issuer": ISSUER, "signingKeyRefs": [ec("ec", "ES256")]}));
    spec["response"]["success"]["headers"]["wb"]["cache"] = json!({"key": {"selector": "auth.identity.name"}});
    let plan = world().plan(&spec);
    let [one, two] = [(); 2].map(|()| verdict(&plan, &ann())["headers"]["x-wb"].clone());
    assert!(one.is_string() && one == two, "the signature of P-256 is another one each time it is made");
}

#[test]
fn an_identity_of_a_key_set_is_one_to_issue_for() {
    let world = world();
    let issuing_plan = world.plan(&issuing(json!({"issuer": ISSUER, "signingKeyRefs": [ec("ec", "ES256")]})));
    let token = verdict(&issuing_plan, &ann())["headers"]["x-wb"].as_str().unwrap().to_owned();
    let [(_, issuer)] = token_issuers(&issuing_plan)[..] else { panic!("there is one issuer") };
    let plan = world.plan(&json!({
        "authentication": {"inner": {"jwt": {"jwks": {"inline": &*issuer.keys}}}},
        "response": {"success": {"headers": {"x-wb": {"wristband": {"issuer": ISSUER, "signingKeyRefs": [ec("ec", "ES256")]}}}}},
    }));
    let answer = verdict(&plan, &json!({"headers": {"authorization": format!("Bearer {token}")}}));
    assert!(answer["headers"]["x-wb"].is_string(), "{answer}");
}
