use std::fmt::Write;

use base64::{Engine, prelude::BASE64_STANDARD};
use proptest::prelude::*;
use rcgen::{DistinguishedName, DnType, DnValue};
use serde_json::json;
use usher_api::{ObjectMeta, Secret, Selector};
use usher_engine::{Request, RequestParts};

use super::*;
use crate::resources::authorities::{
    Authorities,
    test_pki::{Entity, NOW, authority, changed, client, pem, root, self_signed, to_version_1},
};

const UNKNOWN: &str = "x509: certificate signed by unknown authority";
const INVALID: &str = "invalid client certificate";
const MISSING: &str = "client certificate is missing";

/// A rule that trusts `trusted`, and takes certificates from `source`.
fn rule(source: Value, trusted: &[&Entity]) -> X509 {
    let authorities = Arc::new(Authorities::new(Selector::default()));
    let bundle: String = trusted.iter().map(|entity| entity.pem()).collect();
    authorities.apply(&Secret {
        metadata: ObjectMeta { namespace: "ns".to_owned(), name: "ca".to_owned(), ..ObjectMeta::default() },
        data: [("ca.crt".to_owned(), bundle.into_bytes())].into(),
        ..Secret::default()
    });
    let spec: X509Spec = serde_json::from_value(json!({"selector": {}, "source": source})).unwrap();
    let mut problems = Problems::default();
    let source = Source::build(&spec, &FieldPath::root("source"), &mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    X509 { source: source.unwrap(), trust: authorities.trust(Some("ns".into()), Selector::default()) }
}

fn request(headers: &[(&str, &str)], certificate: &str) -> Request {
    let mut parts = RequestParts::default();
    parts.headers.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    parts.source.certificate = certificate.to_owned();
    Request::new(parts)
}

fn identify(rule: &X509, request: &Request) -> Result<Arc<Value>, String> {
    let context = Context::new(request, None, None);
    rule.identify(&context, NOW).map_err(|failure| {
        assert!(matches!(failure, Failure::Denied(_)));
        failure.reason().to_owned()
    })
}

fn name(rule: &X509, request: &Request) -> Result<String, String> {
    identify(rule, request).map(|identity| identity["CommonName"].as_str().unwrap().to_owned())
}

fn of_connection(rule: &X509, certificate: &str) -> Result<String, String> {
    name(rule, &request(&[], certificate))
}

fn of_header(rule: &X509, header: &str, value: &str) -> Result<String, String> {
    name(rule, &request(&[(header, value)], "never looked at"))
}

fn ok(name: &str) -> Result<String, String> {
    Ok(name.to_owned())
}

fn err(reason: &str) -> Result<String, String> {
    Err(reason.to_owned())
}

/// As gateways do it.
fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => write!(encoded, "%{byte:02X}").unwrap(),
        }
        encoded
    })
}

/// As HTML forms do it.
fn encode_form(text: &str) -> String {
    encode(text).replace("%20", "+")
}

#[test]
fn the_certificate_of_the_connection() {
    let r = root("r");
    let (a, other) = (r.issue(client("a")), root("other").issue(client("a")));
    let rule = rule(Value::Null, &[&r]);
    assert_eq!(of_connection(&rule, &encode(&a.pem())), ok("a"));
    assert_eq!(of_connection(&rule, &encode(&a.pem())), ok("a"), "once more");
    assert_eq!(of_connection(&rule, &encode_form(&a.pem())), ok("a"));
    assert_eq!(of_connection(&rule, &a.pem()), ok("a"), "not encoded");
    assert_eq!(of_connection(&rule, &encode(&other.pem())), err(UNKNOWN));
    assert_eq!(of_connection(&rule, ""), err(MISSING));
    for text in ["%zz", "%2D%2D%2Dnothing", "-----BEGIN CERTIFICATE-----", " ", "\0", "%00", &"a".repeat(70_000)] {
        assert_eq!(of_connection(&rule, text), err(INVALID), "{text}");
    }
}

#[test]
fn the_first_certificate_is_the_client() {
    let r = root("r");
    let i = r.issue(authority("i"));
    let (a, of_r) = (i.issue(client("a")), r.issue(client("of r")));
    let rule_of = |trusted: &[&Entity]| rule(Value::Null, trusted);
    let check = |trusted: &[&Entity], text: &str| of_connection(&rule_of(trusted), &encode(text));
    let key = pem("PRIVATE KEY", b"key");
    let broken = pem("CERTIFICATE", b"broken");
    let all = |parts: &[&Entity]| parts.iter().map(|entity| entity.pem()).collect::<String>();
    // An authority that only signed the one that signed the client.
    assert_eq!(check(&[&r], &all(&[&a])), err(UNKNOWN));
    assert_eq!(check(&[&i], &all(&[&a])), ok("a"));
    assert_eq!(check(&[&r], &all(&[&a, &i])), ok("a"));
    assert_eq!(check(&[&r], &all(&[&a, &i, &r])), ok("a"));
    // Nobody is taken for an authority only because its certificate comes along.
    let own = self_signed(client("own"));
    assert_eq!(check(&[&r], &all(&[&own, &r])), err(UNKNOWN));
    assert_eq!(check(&[&r], &all(&[&own, &of_r])), err(UNKNOWN));
    assert_eq!(check(&[&r], &all(&[&r])), ok("r"));
    assert_eq!(check(&[], &all(&[&a])), err(UNKNOWN));
    assert_eq!(check(&[&r], &format!("{key}{}", of_r.pem())), ok("of r"));
    assert_eq!(check(&[&r], &format!("{}{broken}", of_r.pem())), err(INVALID));
    assert_eq!(check(&[&r], &format!("{broken}{}", of_r.pem())), err(INVALID));
    assert_eq!(check(&[&r], &key), err(INVALID));
    assert_eq!(check(&[&r], &of_r.pem().repeat(10)), ok("of r"));
    assert_eq!(check(&[&r], &of_r.pem().repeat(11)), err(INVALID));
}

#[test]
fn the_certificate_of_an_xfcc_header() {
    let r = root("r");
    let (a, b, other) = (r.issue(client("a")), r.issue(client("b")), root("other").issue(client("a")));
    let (a, b, other) = (encode(&a.pem()), encode(&b.pem()), encode(&other.pem()));
    let first = rule(json!({"xfccHeader": "X-Forwarded-Client-Cert"}), &[&r]);
    let last = rule(json!({"xfccHeader": "X-Forwarded-Client-Cert", "xfccElement": "last"}), &[&r]);
    let check = |rule: &X509, value: &str| of_header(rule, "x-forwarded-client-cert", value);
    let not_found = "failed to extract certificate from XFCC: client certificate not found in XFCC header";
    let cases = [
        (format!(r#"Hash=abc;Cert="{a}";Subject="CN=a,O=\"b\"""#), ok("a"), ok("a")),
        (format!("Cert={a}"), ok("a"), ok("a")),
        (format!(r#"Hash=a;Chain="{a}""#), ok("a"), ok("a")),
        (format!(r#"Cert="{a}",Cert="{b}""#), ok("a"), ok("b")),
        (format!(r#"Cert="{other}",Cert="{b}""#), err(UNKNOWN), ok("b")),
        (format!(r#"Hash=a,Cert="{b}""#), err(not_found), ok("b")),
        ("Hash=a".to_owned(), err(not_found), err(not_found)),
    ];
    for (value, of_first, of_last) in cases {
        assert_eq!(check(&first, &value), of_first, "{value}");
        assert_eq!(check(&last, &value), of_last, "{value}");
    }
    let reasons = [
        ("", "failed to extract certificate from XFCC: XFCC header is empty"),
        (",,", "failed to extract certificate from XFCC: no XFCC elements found"),
        ("Cert=\"", "failed to extract certificate from XFCC: malformed XFCC header"),
        (
            "Cert=\"%ZZ\"",
            "failed to extract certificate from XFCC: failed to URL-decode certificate from XFCC header: invalid URL \
             escape \"%ZZ\"",
        ),
        ("Cert=\"nothing\"", INVALID),
    ];
    for (value, reason) in reasons {
        assert_eq!(check(&first, value), err(reason), "{value}");
    }
    assert_eq!(
        name(&first, &request(&[], &a)),
        err("failed to extract XFCC header: header X-Forwarded-Client-Cert not found in request")
    );
}

#[test]
fn the_certificate_of_a_client_cert_header() {
    let r = root("r");
    let (a, other) = (r.issue(client("a")), root("other").issue(client("a")));
    let rule = rule(json!({"clientCertHeader": "Client-Cert"}), &[&r]);
    let check = |value: &str| of_header(&rule, "client-cert", value);
    let base64 = BASE64_STANDARD.encode(&a.der);
    assert_eq!(check(&format!(":{base64}:")), ok("a"));
    assert_eq!(check(&format!("  :{base64}: ")), ok("a"));
    assert_eq!(check(&format!(":{}:", BASE64_STANDARD.encode(&other.der))), err(UNKNOWN));
    let problem = |text: &str| err(&format!("failed to extract certificate from Client-Cert header: {text}"));
    let missing = "invalid Client-Cert header format: missing colon delimiters (expected format: :base64_cert:)";
    for value in [format!("{base64}:"), format!(":{base64}"), base64.clone(), String::new(), format!(":{base64}:;p=1")]
    {
        assert_eq!(check(&value), problem(missing), "{value}");
    }
    for value in ["::", ":"] {
        assert_eq!(check(value), problem("empty certificate in Client-Cert header"));
    }
    let not_base64 = "failed to base64 decode certificate: illegal base64 data at input byte 3";
    assert_eq!(check(":not-base64!:"), problem(not_base64));
    assert!(check(&format!(":{base64}:, :{base64}:")).unwrap_err().contains("failed to base64 decode certificate"));
    for garbage in
        [BASE64_STANDARD.encode("hello"), BASE64_STANDARD.encode(a.pem()), format!("{base64}{base64}").replace('=', "")]
    {
        let value = format!(":{garbage}:");
        assert!(check(&value).is_err(), "{value}");
    }
    assert_eq!(check(&format!(":{}:", BASE64_STANDARD.encode("hello"))), err(INVALID));
    assert_eq!(check(&format!(":{}:", BASE64_STANDARD.encode([&a.der[..], &[0]].concat()))), err(INVALID));
    assert_eq!(check(&format!(":{}:", "a".repeat(70_000))), err(INVALID));
    assert_eq!(name(&rule, &request(&[], &base64)), err("header Client-Cert not found in request"));
}

#[test]
fn the_certificate_of_an_expression() {
    let r = root("r");
    let a = r.issue(client("a"));
    let rules = [
        rule(json!({"expression": "request.headers['x-cert']"}), &[&r]),
        rule(json!({"jsonPath": "$.request.headers['x-cert']"}), &[&r]),
    ];
    for rule in &rules {
        assert_eq!(of_header(rule, "x-cert", &encode(&a.pem())), ok("a"));
        assert_eq!(of_header(rule, "x-cert", &a.pem()), ok("a"));
        assert_eq!(of_header(rule, "x-cert", ""), err(INVALID));
        assert_eq!(of_header(rule, "x-cert", "%"), err(INVALID));
    }
    let reason = name(&rules[0], &request(&[("accept", "*/*")], "")).unwrap_err();
    assert!(reason.starts_with("failed to obtain the client certificate: no such key"), "{reason}");
    let of_source = rule(json!({"expression": "source.certificate"}), &[&r]);
    assert_eq!(of_connection(&of_source, &encode(&a.pem())), ok("a"));
    assert_eq!(of_connection(&of_source, ""), err(INVALID));
    assert_eq!(of_connection(&rule(json!({"expression": "5"}), &[&r]), ""), err(INVALID));
}

#[test]
fn the_identity_is_the_subject() {
    let r = root("r");
    let rule = rule(Value::Null, &[&r]);
    let mut subject = DistinguishedName::new();
    let printable = |text: &str| DnValue::PrintableString(text.try_into().unwrap());
    subject.push(DnType::CountryName, printable("UK"));
    subject.push(DnType::LocalityName, "London");
    subject.push(DnType::StateOrProvinceName, DnValue::TeletexString("Ze".try_into().unwrap()));
    subject.push(DnType::CustomDnType(vec![2, 5, 4, 9]), "Street 1");
    subject.push(DnType::CustomDnType(vec![2, 5, 4, 17]), "N1");
    subject.push(DnType::CustomDnType(vec![2, 5, 4, 5]), printable("77"));
    subject.push(DnType::OrganizationName, DnValue::BmpString("Zoë €".try_into().unwrap()));
    subject.push(DnType::OrganizationalUnitName, "Engineering");
    subject.push(DnType::CommonName, "john");
    subject.push(
        DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]),
        DnValue::Ia5String("j@x.test".try_into().unwrap()),
    );
    let john = r.issue(changed(client(""), |params| params.distinguished_name = subject));
    let identity = identify(&rule, &request(&[], &john.pem())).unwrap();
    assert_eq!(
        identity.to_string(),
        json!({
            "Country": ["UK"], "Organization": ["Zoë €"], "OrganizationalUnit": ["Engineering"],
            "Locality": ["London"], "Province": ["Ze"], "StreetAddress": ["Street 1"], "PostalCode": ["N1"],
            "SerialNumber": "77", "CommonName": "john",
            "Names": [
                {"Type": [2, 5, 4, 6], "Value": "UK"},
                {"Type": [2, 5, 4, 7], "Value": "London"},
                {"Type": [2, 5, 4, 8], "Value": "Ze"},
                {"Type": [2, 5, 4, 9], "Value": "Street 1"},
                {"Type": [2, 5, 4, 17], "Value": "N1"},
                {"Type": [2, 5, 4, 5], "Value": "77"},
                {"Type": [2, 5, 4, 10], "Value": "Zoë €"},
                {"Type": [2, 5, 4, 11], "Value": "Engineering"},
                {"Type": [2, 5, 4, 3], "Value": "john"},
                {"Type": [1, 2, 840, 113_549, 1, 9, 1], "Value": "j@x.test"},
            ],
            "ExtraNames": null,
        })
        .to_string()
    );
}

#[test]
fn an_attribute_may_be_there_several_times() {
    use crate::resources::authorities::test_pki::value;
    let r = root("r");
    let attribute = |last: u8, text: &str| {
        let pair = [value(6, &[0x55, 4, last]), value(0x0c, text.as_bytes())].concat();
        value(0x30, &pair)
    };
    let several = r.issue_edited(client(""), |fields| {
        // Two in one set, and two more sets.
        let sets = [
            value(0x31, &[attribute(10, "O1"), attribute(10, "O2")].concat()),
            value(0x31, &attribute(10, "O3")),
            value(0x31, &attribute(3, "first")),
            value(0x31, &attribute(3, "second")),
        ];
        fields[5] = value(0x30, &sets.concat());
    });
    let identity = identify(&rule(Value::Null, &[&r]), &request(&[], &several.pem())).unwrap();
    assert_eq!(identity["Organization"], json!(["O1", "O2", "O3"]));
    assert_eq!(identity["CommonName"], json!("second"));
    assert_eq!(identity["Names"].as_array().unwrap().len(), 5);
    assert_eq!(identity["Country"], Value::Null);
}

#[test]
fn names_with_tricks_are_refused() {
    let r = root("r");
    let rule = rule(Value::Null, &[&r]);
    let check = |subject: DistinguishedName| {
        let entity = r.issue(changed(client(""), |params| params.distinguished_name = subject));
        identify(&rule, &request(&[], &entity.pem())).map(|_| ())
    };
    let named = |value: DnValue| {
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, value);
        subject
    };
    assert_eq!(check(named("admin\0.evil".into())), Err(INVALID.to_owned()));
    assert_eq!(check(named(DnValue::UniversalString("a".try_into().unwrap()))), Err(INVALID.to_owned()));
    assert_eq!(check(named("admin".into())), Ok(()));
    assert_eq!(check(DistinguishedName::new()), Ok(()));
}

#[test]
fn certificates_of_version_1_are_taken() {
    let r = root("r");
    let a = r.issue_edited(client("a"), to_version_1);
    assert_eq!(of_connection(&rule(Value::Null, &[&r]), &a.pem()), ok("a"));
}

#[test]
fn the_credential_is_the_text_of_the_certificate() {
    let rule = rule(json!({"xfccHeader": "x"}), &[&root("r")]);
    let credential = |value: Option<&str>| {
        let headers: Vec<_> = value.map(|value| ("x", value)).into_iter().collect();
        let request = request(&headers, "");
        let context = Context::new(&request, None, None);
        rule.credential(&context).map(|credential| credential.map(Cow::into_owned))
    };
    assert_eq!(credential(Some(r#"Hash=1;Cert="a%20\"b""#)), Ok(Some("a%20\"b".to_owned())));
    assert!(credential(Some("Hash=1")).is_err());
    assert!(credential(None).is_err());
}

#[tokio::test]
async fn a_rule_is_built_from_its_specification() {
    use crate::{identity, test_world::TestWorld};
    let r = root("r");
    let certificate = encode(&r.issue(client("a")).pem());
    let world = TestWorld::new();
    let build = |spec: Value| {
        let spec = serde_json::from_value(spec).unwrap();
        world.build(|context, problems| identity::build("mtls", &spec, &FieldPath::root("rule"), context, problems))
    };
    let spec = |more: Value| {
        let mut x509 = json!({"selector": {"matchLabels": {"app": "x"}}, "source": {"xfccHeader": "XFCC"}});
        x509.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"x509": x509})
    };
    let check = async |rule: &usher_engine::plan::IdentityRule| {
        let request = request(&[("xfcc", &format!("Cert={certificate}"))], "");
        let context = Context::new(&request, None, None);
        match rule.step.evaluator.evaluate(&context) {
            Evaluation::Ready(outcome) => outcome.is_ok(),
            Evaluation::Pending(_) => panic!("the check waits"),
        }
    };
    let secret = |namespace: &str| Secret {
        metadata: ObjectMeta {
            namespace: namespace.to_owned(),
            name: "ca".to_owned(),
            labels: [("app".to_owned(), "x".to_owned())].into(),
            ..ObjectMeta::default()
        },
        data: [("tls.crt".to_owned(), r.pem().into_bytes())].into(),
        ..Secret::default()
    };

    let (built, problems, warnings) = build(spec(json!({})));
    assert_eq!((problems.len(), warnings.len()), (0, 0), "{problems:?} {warnings:?}");
    let (rule, facts) = built.unwrap();
    assert_eq!(rule.challenge, r#"Certificate realm="mtls""#);
    assert!(facts.credentials.is_none() && facts.issuer.is_none());
    let everywhere = build(spec(json!({"allNamespaces": true}))).0.unwrap().0;
    assert!(!check(&rule).await && !check(&everywhere).await);
    world.resources.authorities.apply(&secret("elsewhere"));
    assert!(!check(&rule).await && check(&everywhere).await);
    world.resources.authorities.apply(&secret("team"));
    assert!(check(&rule).await && check(&everywhere).await);

    let wrong = spec(json!({"selector": {"matchLabels": {"a b": "c"}}, "source": {"expression": "request."}}));
    let (built, problems, _) = build(wrong);
    assert!(built.is_none());
    assert!(problems.iter().any(|problem| problem.starts_with("rule.x509.selector")), "{problems:?}");
    assert!(problems.iter().any(|problem| problem.starts_with("rule.x509.source.expression")), "{problems:?}");
}

#[test]
fn sources_that_cannot_be_read_are_problems() {
    let problems = |source: Value| {
        let spec: X509Spec = serde_json::from_value(json!({"selector": {}, "source": source})).unwrap();
        let mut problems = Problems::default();
        let source = Source::build(&spec, &FieldPath::root("source"), &mut problems);
        let (problems, warnings) = problems.into_parts();
        assert_eq!(source.is_none(), !problems.is_empty());
        (problems.len(), warnings.len())
    };
    assert_eq!(problems(json!({"xfccHeader": "a", "clientCertHeader": "b"})), (1, 0));
    assert_eq!(problems(json!({"expression": "request."})), (1, 0));
    assert_eq!(problems(json!({"jsonPath": "$["})), (1, 0));
    assert_eq!(problems(json!({"clientCertHeader": "b", "xfccElement": "last"})), (0, 1));
    assert_eq!(problems(json!({"xfccHeader": "b", "xfccElement": "last"})), (0, 0));
    assert_eq!(problems(json!({})), (0, 0));
}

proptest! {
    #[test]
    fn any_text_has_an_outcome(text in "(-----(BEGIN|END) CERTIFICATE-----|%0A|\n|[A-Za-z0-9+/=]{0,64}|%[0-9a-f]{0,2}|Cert=|[;,:\"\\\\]){0,12}") {
        thread_local! {
            static RULES: [X509; 4] = {
                let r = root("r");
                [
                    Value::Null,
                    json!({"xfccHeader": "h"}),
                    json!({"clientCertHeader": "h"}),
                    json!({"jsonPath": "$.request.headers.h"}),
                ]
                .map(|source| rule(source, &[&r]))
            };
        }
        RULES.with(|rules| {
            let request = request(&[("h", &text)], &text);
            for rule in rules {
                assert!(identify(rule, &request).is_err());
            }
        });
    }
}
