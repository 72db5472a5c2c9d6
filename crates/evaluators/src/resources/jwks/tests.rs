use serde_json::json;

use super::{test_keys::TestKey, *};

const MESSAGE: &[u8] = b"header.payload";

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn with(mut key: Value, member: &str, value: Value) -> Value {
    key[member] = value;
    key
}

fn without(mut key: Value, member: &str) -> Value {
    key.as_object_mut().unwrap().remove(member);
    key
}

#[test]
fn every_algorithm_is_verified_and_only_with_what_the_key_is_for() {
    for signing in Algorithm::ALL {
        let key = TestKey::generate(signing, "k");
        let signature = key.sign(signing, MESSAGE);
        let narrow = set(&[key.jwk()]);
        let wide = set(&[without(key.jwk(), "alg")]);
        for set in [&narrow, &wide] {
            assert_eq!(set.verify(Some("k"), signing, MESSAGE, &signature), SignatureCheck::Valid, "{signing:?}");
            assert_eq!(set.verify(None, signing, MESSAGE, &signature), SignatureCheck::Valid, "{signing:?}");
            assert_eq!(set.verify(Some("other"), signing, MESSAGE, &signature), SignatureCheck::UnknownKey);
            assert_eq!(set.verify(Some("k"), signing, b"other.payload", &signature), SignatureCheck::Invalid);
            assert_eq!(set.verify(Some("k"), signing, MESSAGE, b""), SignatureCheck::Invalid);
        }
        for other in Algorithm::ALL.into_iter().filter(|other| *other != signing) {
            assert_eq!(
                wide.verify(Some("k"), other, MESSAGE, &signature),
                SignatureCheck::Invalid,
                "{signing:?} {other:?}"
            );
            if key.can_sign(other) {
                let signature = key.sign(other, MESSAGE);
                assert_eq!(wide.verify(Some("k"), other, MESSAGE, &signature), SignatureCheck::Valid);
                assert_eq!(narrow.verify(Some("k"), other, MESSAGE, &signature), SignatureCheck::Invalid);
            }
        }
    }
}

#[test]
fn a_set_is_for_what_one_of_its_keys_is_for() {
    let [rsa, ec] = [Algorithm::PS384, Algorithm::ES512].map(|algorithm| TestKey::generate(algorithm, "k").jwk());
    let names = |set: &KeySet| {
        let found = Algorithm::ALL.into_iter().filter(|algorithm| set.has_key_for(*algorithm));
        found.map(Algorithm::name).collect::<Vec<_>>()
    };
    assert_eq!(names(&set(&[ec.clone(), rsa.clone(), ec.clone(), json!({"kty": "XYZ"})])), ["PS384", "ES512"]);
    let any = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
    assert_eq!(names(&set(&[rsa.clone(), without(rsa, "alg")])), any);
    assert!(names(&set(&[])).is_empty());
    for algorithm in Algorithm::ALL {
        assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
    }
}

#[test]
fn useless_and_broken_keys_are_left_out_and_do_not_spoil_the_rest() {
    let good = TestKey::generate(Algorithm::ES256, "good");
    let ec = || TestKey::generate(Algorithm::ES256, "bad").jwk();
    let rsa = || TestKey::generate(Algorithm::RS256, "bad").jwk();
    let ed = || TestKey::generate(Algorithm::EdDSA, "bad").jwk();
    let useless = [
        json!(null),
        json!("key"),
        json!({}),
        json!({"kty": "XYZ", "kid": "bad"}),
        json!({"kty": "oct", "kid": "bad", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "alg": "HS256"}),
        json!({"kty": "EC", "kid": "bad", "crv": "secp256k1", "x": "AA", "y": "AA"}),
        json!({"kty": "OKP", "kid": "bad", "crv": "X25519", "x": "AA"}),
        json!({"kty": "OKP", "kid": "bad", "crv": "P-256", "x": "AA"}),
        with(ec(), "use", json!("enc")),
        with(ec(), "key_ops", json!(["encrypt"])),
        with(ec(), "alg", json!("ES384")),
        with(ec(), "alg", json!("HS256")),
        with(ec(), "alg", json!("none")),
        with(ec(), "x", json!("!!")),
        with(ec(), "x", json!("AA")),
        with(ec(), "x", json!(BASE64_URL_SAFE_NO_PAD.encode([1; 32]))),
        without(ec(), "y"),
        with(ec(), "kid", json!(7)),
        with(rsa(), "alg", json!("RSA-OAEP")),
        with(rsa(), "n", json!("AQAB")),
        with(rsa(), "n", json!("")),
        with(rsa(), "e", json!("")),
        with(rsa(), "e", json!("Ag")),
        with(rsa(), "e", json!("AQ")),
        with(rsa(), "n", json!(BASE64_URL_SAFE_NO_PAD.encode([0x7f; 256]))),
        with(rsa(), "n", json!(BASE64_URL_SAFE_NO_PAD.encode([0xff; 1025]))),
        with(ed(), "x", json!("AA")),
        with(ed(), "alg", json!("ES256")),
    ];
    for key in useless {
        let set = set(&[key.clone(), good.jwk()]);
        assert_eq!(set.len(), 1, "{key}");
        let signature = good.sign(Algorithm::ES256, MESSAGE);
        assert_eq!(set.verify(Some("good"), Algorithm::ES256, MESSAGE, &signature), SignatureCheck::Valid);
        assert_eq!(set.verify(Some("bad"), Algorithm::ES256, MESSAGE, &signature), SignatureCheck::UnknownKey, "{key}");
    }
}

#[test]
fn spellings_that_issuers_use_are_understood() {
    let rsa = TestKey::generate(Algorithm::RS256, "k");
    let modulus = BASE64_URL_SAFE_NO_PAD.decode(rsa.jwk()["n"].as_str().unwrap()).unwrap();
    let zeroed = BASE64_URL_SAFE_NO_PAD.encode([&[0, 0], &modulus[..]].concat());
    let ec = TestKey::generate(Algorithm::ES256, "k");
    let padded = format!("{}=", ec.jwk()["x"].as_str().unwrap());
    let ed = TestKey::generate(Algorithm::EdDSA, "k");
    for key in [
        with(rsa.jwk(), "n", json!(zeroed)),
        with(ec.jwk(), "x", json!(padded)),
        with(ec.jwk(), "key_ops", json!(["verify"])),
        with(ec.jwk(), "x-unknown", json!({"a": [1]})),
        with(ec.jwk(), "d", json!("AQ")),
        with(ed.jwk(), "alg", json!("Ed25519")),
    ] {
        assert_eq!(set(std::slice::from_ref(&key)).len(), 1, "{key}");
    }
}

#[test]
fn a_token_that_names_no_key_is_tried_with_all() {
    let [a, b] = ["a", ""].map(|id| TestKey::generate(Algorithm::ES256, id));
    let set = set(&[a.jwk(), b.jwk()]);
    for key in [&a, &b] {
        let signature = key.sign(Algorithm::ES256, MESSAGE);
        assert_eq!(set.verify(None, Algorithm::ES256, MESSAGE, &signature), SignatureCheck::Valid);
        assert_eq!(set.verify(Some(""), Algorithm::ES256, MESSAGE, &signature), SignatureCheck::Valid);
    }
    let stranger = TestKey::generate(Algorithm::ES256, "").sign(Algorithm::ES256, MESSAGE);
    assert_eq!(set.verify(None, Algorithm::ES256, MESSAGE, &stranger), SignatureCheck::Invalid);
    assert_eq!(set.verify(None, Algorithm::EdDSA, MESSAGE, &stranger), SignatureCheck::UnknownKey);
}

#[test]
fn keys_that_share_an_id_are_all_tried() {
    let keys =
        [Algorithm::ES256, Algorithm::ES256, Algorithm::EdDSA].map(|algorithm| TestKey::generate(algorithm, "k"));
    let set = set(&keys.each_ref().map(TestKey::jwk));
    for key in &keys {
        let signature = key.sign(key.algorithm(), MESSAGE);
        assert_eq!(set.verify(Some("k"), key.algorithm(), MESSAGE, &signature), SignatureCheck::Valid);
    }
}

#[test]
fn documents_that_are_no_key_sets_are_refused() {
    for document in ["", "[]", "{}", "null", r#"{"keys": {}}"#, "{\"keys\": [}", "<html>"] {
        assert!(matches!(KeySet::parse(document.as_bytes()), Err(KeySetError::Malformed(_))), "{document}");
    }
    assert!(set(&[]).is_empty());
    let deep = format!("{{\"keys\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(KeySet::parse(deep.as_bytes()), Err(KeySetError::Malformed(_))));
}

#[test]
fn the_number_of_keys_is_bounded() {
    let key = TestKey::generate(Algorithm::EdDSA, "k").jwk();
    let document = |count: usize| json!({"keys": vec![&key; count]}).to_string();
    assert_eq!(KeySet::parse(document(MAX_KEYS).as_bytes()).unwrap().len(), MAX_KEYS);
    let error = KeySet::parse(document(MAX_KEYS + 1).as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "the key set has 501 keys, 500 at most are accepted");
}

#[test]
fn sets_are_compared_by_their_keys() {
    let [a, b] = ["a", "b"].map(|id| TestKey::generate(Algorithm::EdDSA, id).jwk());
    let both = set(&[a.clone(), b.clone()]);
    assert!(both.has_same_keys(&set(&[b.clone(), a.clone()])));
    assert!(both.has_same_keys(&set(&[b.clone(), json!({"kty": "XYZ"}), a.clone()])));
    assert!(!both.has_same_keys(&set(std::slice::from_ref(&a))));
    assert!(!both.has_same_keys(&set(&[a, with(b, "kid", json!("c"))])));
}
