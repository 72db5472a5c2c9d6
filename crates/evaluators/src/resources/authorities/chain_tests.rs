use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints, RsaKeySize, SanType, date_time_ymd,
};

use super::{
    certificate::{Certificate, Validity},
    chain::{Anchors, Refusal, verify},
    der::Malformed,
    pem,
    test_pki::{Entity, NOW, authority, changed, client, root, self_signed, to_version_1, value, values, with_key},
};

const UNKNOWN: Refusal = Refusal::UnknownAuthority;

fn check(leaf: &Entity, intermediates: &[&Entity], anchors: &[&Entity]) -> Result<Validity, Refusal> {
    check_at(NOW, leaf, intermediates, anchors)
}

fn check_at(now: i64, leaf: &Entity, intermediates: &[&Entity], anchors: &[&Entity]) -> Result<Validity, Refusal> {
    let anchors: Anchors = anchors.iter().map(|anchor| Arc::new(anchor.certificate())).collect();
    let intermediates: Vec<_> = intermediates.iter().map(|intermediate| intermediate.certificate()).collect();
    verify(&leaf.certificate(), &intermediates, &anchors, now)
}

fn accepted(result: Result<Validity, Refusal>) -> bool {
    result.map_err(|refusal| assert_ne!(refusal, UNKNOWN, "refused for another reason than meant")).is_ok()
}

fn usages(params: CertificateParams, usages: &[ExtendedKeyUsagePurpose]) -> CertificateParams {
    changed(params, |params| params.extended_key_usages = usages.to_vec())
}

fn years(params: CertificateParams, from: i32, until: i32) -> CertificateParams {
    changed(params, |params| {
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
    })
}

#[test]
fn a_certificate_is_of_a_trusted_authority_or_is_trusted_itself() {
    let (r, other) = (root("r"), root("other"));
    let (same_name, leaf) = (root("r"), r.issue(client("a")));
    let all = Validity { from: 1_577_836_800, until: 2_208_988_800 };
    assert_eq!(check(&leaf, &[], &[&r]), Ok(all));
    assert_eq!(check(&leaf, &[], &[&other, &same_name, &r]), Ok(all));
    assert_eq!(check(&leaf, &[], &[&other]), Err(UNKNOWN));
    assert_eq!(check(&leaf, &[], &[&same_name]), Err(UNKNOWN));
    assert_eq!(check(&leaf, &[], &[]), Err(UNKNOWN));
    assert_eq!(check(&leaf, &[&r], &[&other]), Err(UNKNOWN));
    // What is trusted vouches for itself, whatever it is.
    assert_eq!(check(&r, &[], &[&r]), Ok(all));
    assert_eq!(check(&r, &[], &[&same_name]), Err(UNKNOWN));
    assert_eq!(check(&leaf, &[], &[&leaf]), Ok(all));
    let sibling = r.issue(client("b"));
    assert_eq!(check(&sibling, &[], &[&leaf]), Err(UNKNOWN));
}

#[test]
fn a_certificate_must_be_meant_for_clients() {
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, CodeSigning, Other, ServerAuth};
    let r = root("r");
    let cases: [(&[ExtendedKeyUsagePurpose], bool); 7] = [
        (&[], true),
        (&[ClientAuth], true),
        (&[ServerAuth], false),
        (&[ServerAuth, ClientAuth], true),
        (&[Any], true),
        (&[CodeSigning], false),
        (&[Other(vec![1, 2, 3])], false),
    ];
    for (list, good) in cases {
        let expected = if good { None } else { Some(Refusal::IncompatibleUsage) };
        let refusal = |result: Result<_, _>| result.err();
        assert_eq!(refusal(check(&r.issue(usages(client("a"), list)), &[], &[&r])), expected, "leaf {list:?}");
        let anchor = self_signed(usages(authority("anchor"), list));
        assert_eq!(refusal(check(&anchor.issue(client("a")), &[], &[&anchor])), expected, "anchor {list:?}");
        assert_eq!(refusal(check(&anchor, &[], &[&anchor])), expected, "itself {list:?}");
        let intermediate = r.issue(usages(authority("i"), list));
        let leaf = intermediate.issue(client("a"));
        assert_eq!(refusal(check(&leaf, &[&intermediate], &[&r])), expected, "intermediate {list:?}");
        assert_eq!(refusal(check(&leaf, &[], &[&intermediate])), expected, "trusted intermediate {list:?}");
    }
}

#[test]
fn everything_in_a_path_must_be_valid() {
    let r = root("r");
    let expired = r.issue(years(client("a"), 2020, 2021));
    assert_eq!(
        check(&expired, &[], &[&r]).unwrap_err().to_string(),
        "x509: certificate has expired or is not yet valid: current time 2026-11-21T05:20:00Z is after \
         2021-01-01T00:00:00Z"
    );
    let future = r.issue(years(client("a"), 2030, 2031));
    assert_eq!(
        check(&future, &[], &[&r]).unwrap_err().to_string(),
        "x509: certificate has expired or is not yet valid: current time 2026-11-21T05:20:00Z is before \
         2030-01-01T00:00:00Z"
    );
    // The leaf is looked at first, whoever vouches for it.
    assert!(matches!(check(&expired, &[], &[]), Err(Refusal::Expired { .. })));
    let old = self_signed(years(authority("old"), 2020, 2021));
    assert!(matches!(check(&old.issue(client("a")), &[], &[&old]), Err(Refusal::Expired { .. })));
    assert!(matches!(check(&old, &[], &[&old]), Err(Refusal::Expired { .. })));
    let intermediate = r.issue(years(authority("i"), 2020, 2021));
    assert!(matches!(check(&intermediate.issue(client("a")), &[&intermediate], &[&r]), Err(Refusal::Expired { .. })));
    // To the second, and the shortest time counts.
    let leaf = r.issue(years(client("a"), 2025, 2045));
    let validity = check(&leaf, &[], &[&r]).unwrap();
    assert_eq!(validity, Validity { from: 1_735_689_600, until: 2_208_988_800 });
    for (now, good) in
        [(validity.from - 1, false), (validity.from, true), (validity.until, true), (validity.until + 1, false)]
    {
        assert_eq!(check_at(now, &leaf, &[], &[&r]).is_ok(), good, "{now}");
    }
}

#[test]
fn a_renewed_authority_counts_where_the_old_one_does_not() {
    let key = KeyPair::generate().unwrap();
    let old = with_key(years(authority("r"), 2020, 2021), KeyPair::from_pem(&key.serialize_pem()).unwrap());
    let new = with_key(authority("r"), key);
    let leaf = new.issue(client("a"));
    assert!(accepted(check(&leaf, &[], &[&old, &new])));
    assert!(accepted(check(&leaf, &[], &[&new, &old])));
    assert!(matches!(check(&leaf, &[], &[&old]), Err(Refusal::Expired { .. })));
}

#[test]
fn intermediates_lead_to_an_anchor_in_any_order() {
    let r = root("r");
    let a = r.issue(authority("a"));
    let b = a.issue(authority("b"));
    let c = b.issue(authority("c"));
    let leaf = c.issue(client("leaf"));
    let stranger = root("stranger");
    assert!(accepted(check(&leaf, &[&c, &b, &a], &[&r])));
    assert!(accepted(check(&leaf, &[&r, &a, &stranger, &b, &c], &[&r])));
    assert!(accepted(check(&leaf, &[&c], &[&b])));
    assert!(accepted(check(&leaf, &[], &[&c])));
    assert_eq!(check(&leaf, &[&c, &a], &[&r]), Err(UNKNOWN));
    assert_eq!(check(&leaf, &[], &[&r]), Err(UNKNOWN));
    // A leaf that its maker signed, with a trusted certificate after it.
    assert_eq!(check(&self_signed(client("leaf")), &[&r], &[&r]), Err(UNKNOWN));
    // An intermediate with the right name and another key.
    let forged = self_signed(authority("c"));
    assert_eq!(check(&forged.issue(client("leaf")), &[&forged, &c, &b, &a], &[&r]), Err(UNKNOWN));
    assert!(accepted(check(&leaf, &[&forged, &c, &b, &a], &[&r])));
}

#[test]
fn only_authorities_vouch_for_others() {
    let r = root("r");
    let refused = |params: CertificateParams, expected: Refusal| {
        let issuer = r.issue(params.clone());
        let leaf = issuer.issue(client("a"));
        assert_eq!(check(&leaf, &[&issuer], &[&r]), Err(expected), "intermediate {params:?}");
        assert_eq!(check(&leaf, &[], &[&issuer]), Err(expected), "anchor {params:?}");
    };
    refused(client("i"), Refusal::NotAuthorizedToSign);
    refused(changed(authority("i"), |params| params.is_ca = IsCa::ExplicitNoCa), Refusal::NotAuthorizedToSign);
    refused(changed(authority("i"), |params| params.is_ca = IsCa::NoCa), Refusal::NotAuthorizedToSign);
    let digital_signature = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
    refused(changed(authority("i"), |params| params.key_usages = digital_signature), Refusal::NotAuthorizedToSign);
    let without_key_usage = r.issue(changed(authority("i"), |params| params.key_usages = Vec::new()));
    assert!(accepted(check(&without_key_usage.issue(client("a")), &[&without_key_usage], &[&r])));
}

#[test]
fn a_client_may_be_an_authority() {
    let r = root("r");
    assert!(accepted(check(&r.issue(authority("a")), &[], &[&r])));
}

#[test]
fn paths_may_be_limited_in_length() {
    let limited = |name: &str, most: u8| {
        changed(authority(name), |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(most)))
    };
    let r = self_signed(limited("r", 1));
    let a = r.issue(authority("a"));
    let b = a.issue(authority("b"));
    assert!(accepted(check(&r.issue(client("l")), &[], &[&r])));
    assert!(accepted(check(&a.issue(client("l")), &[&a], &[&r])));
    assert_eq!(check(&b.issue(client("l")), &[&b, &a], &[&r]), Err(Refusal::TooManyIntermediates));
    let r = root("r2");
    let a = r.issue(limited("a2", 0));
    let b = a.issue(authority("b2"));
    assert!(accepted(check(&a.issue(client("l")), &[&a], &[&r])));
    assert_eq!(check(&b.issue(client("l")), &[&b, &a], &[&r]), Err(Refusal::TooManyIntermediates));
    assert_eq!(check(&b.issue(client("l")), &[&b], &[&a]), Err(Refusal::TooManyIntermediates));
}

#[test]
fn names_may_be_limited() {
    let constrained = |permitted: Vec<GeneralSubtree>, excluded: Vec<GeneralSubtree>| {
        let constraints = NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded };
        self_signed(changed(authority("r"), |params| params.name_constraints = Some(constraints)))
    };
    let named = |name: &str| {
        let names = vec![SanType::DnsName(name.try_into().unwrap())];
        changed(client("l"), |params| params.subject_alt_names = names)
    };
    let dns = |name: &str| GeneralSubtree::DnsName(name.to_owned());
    let r = constrained(vec![dns("a.test")], vec![dns("x.a.test")]);
    assert!(accepted(check(&r.issue(named("c.a.test")), &[], &[&r])));
    assert!(accepted(check(&r.issue(client("no names")), &[], &[&r])));
    assert_eq!(check(&r.issue(named("b.test")), &[], &[&r]), Err(Refusal::NameConstraints));
    assert_eq!(check(&r.issue(named("y.x.a.test")), &[], &[&r]), Err(Refusal::NameConstraints));
    let i = r.issue(authority("i"));
    assert!(accepted(check(&i.issue(named("c.a.test")), &[&i], &[&r])));
    assert_eq!(check(&i.issue(named("b.test")), &[&i], &[&r]), Err(Refusal::NameConstraints));
    // Nobody can tell whether a subject is within: nobody is.
    let mut directory = DistinguishedName::new();
    directory.push(DnType::OrganizationName, "acme");
    let r = constrained(vec![GeneralSubtree::DirectoryName(directory)], Vec::new());
    assert_eq!(check(&r.issue(client("l")), &[], &[&r]), Err(Refusal::NameConstraints));
}

#[test]
fn keys_of_several_kinds() {
    let algorithms = [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &rcgen::PKCS_ED25519,
    ];
    for algorithm in algorithms {
        let r = with_key(authority("r"), KeyPair::generate_for(algorithm).unwrap());
        assert!(accepted(check(&r.issue(client("a")), &[], &[&r])), "{algorithm:?}");
    }
    for algorithm in [&rcgen::PKCS_RSA_SHA256, &rcgen::PKCS_RSA_SHA512] {
        let r = with_key(authority("r"), KeyPair::generate_rsa_for(algorithm, RsaKeySize::_2048).unwrap());
        assert!(accepted(check(&r.issue(client("a")), &[], &[&r])), "{algorithm:?}");
    }
}

#[test]
fn weak_keys_and_hashes_count_for_nothing() {
    let files = [
        (&include_bytes!("testdata/rsa-2048.pem")[..], true),
        (include_bytes!("testdata/rsa-1024.pem"), false),
        (include_bytes!("testdata/sha-1.pem"), false),
    ];
    for (file, good) in files {
        let mut certificates = pem::certificates(file, 2).unwrap().into_iter();
        let (leaf, anchor) = (certificates.next().unwrap(), certificates.next().unwrap());
        let anchors = [Arc::new(anchor)].into_iter().collect();
        // Later than when they were made.
        let result = verify(&leaf, &[], &anchors, NOW + 10 * 365 * 86_400);
        assert_eq!(result.err(), if good { None } else { Some(UNKNOWN) });
    }
}

#[test]
fn version_1_is_for_clients_and_anchors() {
    let r = root("r");
    let leaf = r.issue_edited(client("a"), to_version_1);
    assert_eq!(leaf.certificate().version, 1);
    assert!(accepted(check(&leaf, &[], &[&r])));
    let old_root = root("old").edited(to_version_1);
    assert!(accepted(check(&old_root.issue(client("a")), &[], &[&old_root])));
    let old_intermediate = r.issue_edited(authority("i"), to_version_1);
    let leaf = old_intermediate.issue(client("a"));
    assert_eq!(check(&leaf, &[&old_intermediate], &[&r]), Err(Refusal::NotAuthorizedToSign));
}

#[test]
fn critical_extensions_must_be_understood() {
    let r = root("r");
    let extended = |params: CertificateParams, critical: bool| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(critical);
        changed(params, |params| params.custom_extensions = vec![extension])
    };
    assert!(accepted(check(&r.issue(extended(client("a"), false)), &[], &[&r])));
    let unknown = Err(Refusal::UnhandledCriticalExtension);
    assert_eq!(check(&r.issue(extended(client("a"), true)), &[], &[&r]), unknown);
    let i = r.issue(extended(authority("i"), true));
    assert_eq!(check(&i.issue(client("a")), &[&i], &[&r]), unknown);
    assert_eq!(check(&i.issue(client("a")), &[], &[&i]), unknown);
}

#[test]
fn a_signature_must_fit() {
    let r = root("r");
    let mut leaf = r.issue(client("a"));
    let last = leaf.der.len() - 1;
    leaf.der[last] ^= 1;
    assert_eq!(check(&leaf, &[], &[&r]), Err(UNKNOWN));
}

#[test]
fn broken_certificates_are_refused() {
    let r = root("r");
    let parse = |entity: &Entity| Certificate::parse(Bytes::copy_from_slice(&entity.der)).map(|_| ());
    let good = r.issue(client("a"));
    assert_eq!(parse(&good), Ok(()));
    let twice = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    let params = changed(client("a"), |params| params.custom_extensions = vec![twice.clone(), twice]);
    assert_eq!(parse(&r.issue(params)), Err(Malformed), "an extension twice");
    let many = (0..64).map(|last| CustomExtension::from_oid_content(&[1, 2, 3, 4, last], vec![5, 0])).collect();
    assert_eq!(parse(&r.issue(changed(client("a"), |params| params.custom_extensions = many))), Err(Malformed));
    let with = |oid: &[u64], content: &[u8]| {
        let extension = CustomExtension::from_oid_content(oid, content.to_vec());
        let params = changed(client("a"), |params| params.custom_extensions = vec![extension]);
        parse(&r.issue(usages(params, &[])))
    };
    let extensions: [(&[u64], &[u8], bool); 12] = [
        (&[2, 5, 29, 19], &[0x30, 0], true),
        (&[2, 5, 29, 19], &[0x30, 3, 1, 1, 0], true),
        (&[2, 5, 29, 19], &[0x30, 3, 1, 1, 1], false),
        (&[2, 5, 29, 19], &[0x30, 3, 2, 1, 0xff], false),
        (&[2, 5, 29, 19], &[0x30, 6, 1, 1, 0xff, 2, 1, 0, 0], false),
        (&[2, 5, 29, 15], &[3, 2, 2, 4], true),
        (&[2, 5, 29, 15], &[3, 0], false),
        (&[2, 5, 29, 15], &[3, 2, 8, 4], false),
        (&[2, 5, 29, 37], &[0x30, 0], false),
        (&[2, 5, 29, 37], &[0x30, 2, 5, 0], false),
        (&[2, 5, 29, 37], &[0x30, 3, 6, 1, 42], true),
        (&[2, 5, 29, 37], &[0x30, 3, 6, 1, 42, 0], false),
    ];
    for (oid, content, good) in extensions {
        assert_eq!(with(oid, content).is_ok(), good, "{oid:?} {content:?}");
    }
    type Edit = fn(&mut Vec<Vec<u8>>);
    let edits: [(&str, Edit); 8] = [
        ("trailing data", |fields| fields.push(vec![5, 0])),
        ("version 4", |fields| fields[0] = vec![0xa0, 3, 2, 1, 3]),
        ("version 2 with extensions", |fields| fields[0] = vec![0xa0, 3, 2, 1, 1]),
        ("no serial number", |fields| _ = fields.remove(1)),
        ("another algorithm", |fields| fields[2] = vec![0x30, 4, 6, 2, 42, 3]),
        ("no validity", |fields| fields[4] = vec![0x30, 0]),
        ("no key", |fields| fields[6] = vec![0x30, 0]),
        ("extensions twice", |fields| {
            let extensions = fields[7].clone();
            fields.push(extensions);
        }),
    ];
    for (what, edit) in edits {
        assert_eq!(parse(&r.issue_edited(client("a"), edit)), Err(Malformed), "{what}");
    }
    let mut long = good.der.clone();
    long.push(0);
    assert!(Certificate::parse(long.into()).is_err());
    let outer = values(&good.der);
    let three = [outer.concat(), vec![5, 0]].concat();
    assert!(Certificate::parse(value(0x30, &three).into()).is_err());
    assert!(Certificate::parse(Bytes::new()).is_err());
}

/// All have the same name, so every certificate may be the issuer of every other.
#[test]
fn a_search_has_an_end() {
    let r = root("same");
    let intermediates: Vec<_> = (0..9).map(|_| self_signed(authority("same"))).collect();
    let intermediates: Vec<_> = intermediates.iter().collect();
    let leaf = intermediates[0].issue(client("leaf"));
    assert_eq!(check(&leaf, &intermediates, &[&r]), Err(UNKNOWN));
    assert_eq!(check(&leaf, &intermediates, &[]), Err(UNKNOWN));
    // What it would find, had it no end.
    let other = root("other");
    let vouched = other.issue(authority("same"));
    let leaf = vouched.issue(client("leaf"));
    let mut all = intermediates.clone();
    all.push(&vouched);
    assert_eq!(check(&leaf, &all, &[&other]), Err(UNKNOWN));
    all.rotate_right(1);
    assert!(accepted(check(&leaf, &all, &[&other])));
    let anchors: Vec<_> = (0..40).map(|_| root("same")).collect();
    let mut anchors: Vec<_> = anchors.iter().collect();
    anchors.push(&r);
    assert_eq!(check(&r.issue(client("leaf")), &[], &anchors), Err(UNKNOWN));
    anchors.rotate_right(1);
    assert!(accepted(check(&r.issue(client("leaf")), &[], &anchors)));
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes: Vec<u8>) {
        let _ = Certificate::parse(bytes.clone().into());
        let _ = pem::certificates(&bytes, 10);
    }

    #[test]
    fn changed_certificates_are_read_and_not_believed(changes in prop::collection::vec((0_usize..10_000, any::<u8>()), 1..4)) {
        thread_local! {
            static GOOD: (Anchors, Vec<u8>) = {
                let r = root("r");
                let leaf = r.issue(client("a")).der;
                ([Arc::new(r.certificate())].into_iter().collect(), leaf)
            };
        }
        GOOD.with(|(anchors, good)| {
            let mut changed = good.clone();
            for (place, byte) in changes {
                let place = place % changed.len();
                changed[place] = byte;
            }
            if changed != *good && let Ok(leaf) = Certificate::parse(changed.into()) {
                assert!(verify(&leaf, &[], anchors, NOW).is_err());
            }
        });
    }
}
