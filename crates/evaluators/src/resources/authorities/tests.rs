use proptest::prelude::*;
use serde_json::json;
use usher_api::ObjectMeta;

use super::{
    test_pki::{NOW, authority, client, pem as block, root, self_signed},
    *,
};

const UNKNOWN: &str = "x509: certificate signed by unknown authority";

fn secret(namespace: &str, name: &str, label: &str, entries: &[(&str, &str)]) -> Secret {
    Secret {
        metadata: ObjectMeta {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            labels: [("app".to_owned(), label.to_owned()), ("watched".to_owned(), "yes".to_owned())].into(),
            ..ObjectMeta::default()
        },
        data: entries.iter().map(|(entry, text)| ((*entry).to_owned(), text.as_bytes().to_vec())).collect(),
        ..Secret::default()
    }
}

fn authorities() -> Arc<Authorities> {
    Arc::new(Authorities::new(Selector::parse("watched=yes").unwrap()))
}

fn trust(authorities: &Arc<Authorities>, namespace: Option<&str>) -> Trust {
    authorities.trust(namespace.map(Arc::from), Selector::parse("app=x").unwrap())
}

/// The outcome for the first certificate of a PEM text.
fn verify(trust: &Trust, pem: &str) -> Result<(), String> {
    let read = || {
        let leaf = pem::certificates(pem.as_bytes(), 10).unwrap().remove(0);
        Ok(Presented { leaf, intermediates: Vec::new(), identity: json!("somebody"), identity_bytes: 100 })
    };
    trust.verify(0, pem, NOW, read).map(|_| ()).map_err(|failure| failure.reason().to_owned())
}

#[test]
fn every_certificate_of_an_entry_is_trusted_or_none() {
    let (a, b) = (root("a"), root("b"));
    let clients = [a.issue(client("of a")).pem(), b.issue(client("of b")).pem()];
    let (a, b) = (a.pem(), b.pem());
    let key = block("PRIVATE KEY", b"a key");
    let broken = block("CERTIFICATE", b"no certificate");
    let cut = a[..a.len() - 40].to_owned();
    let join = |parts: &[&str]| parts.concat();
    type Entries = Vec<(&'static str, String)>;
    let cases: Vec<(Entries, [bool; 2])> = vec![
        (vec![("tls.crt", a.clone())], [true, false]),
        (vec![("ca.crt", a.clone())], [true, false]),
        (vec![("tls.crt", join(&[&key, &a]))], [true, false]),
        (vec![("tls.crt", join(&["Bag Attributes\n  name: a\n", &a, "\n\n# and\n", &b]))], [true, true]),
        (vec![("tls.crt", join(&[&a, &b]).replace('\n', "\r\n"))], [true, true]),
        (vec![("tls.crt", join(&[&a, &a]))], [true, false]),
        (vec![("tls.crt", a.clone()), ("ca.crt", b.clone())], [true, false]),
        (vec![("tls.crt", join(&[&a, &broken]))], [false, false]),
        (vec![("tls.crt", join(&[&broken, &a]))], [false, false]),
        (vec![("tls.crt", join(&[&b, &cut]))], [false, false]),
        (vec![("tls.crt", broken.clone()), ("ca.crt", a.clone())], [false, false]),
        (vec![("tls.crt", String::new()), ("ca.crt", a.clone())], [false, false]),
        (vec![("tls.crt", "no PEM".to_owned())], [false, false]),
        (vec![("tls.crt", key)], [false, false]),
        (vec![("tls.crt", a.replace("CERTIFICATE", "X509 CERTIFICATE"))], [false, false]),
        (vec![("other", a.clone())], [false, false]),
        (vec![], [false, false]),
    ];
    for (entries, expected) in cases {
        let authorities = authorities();
        let trust = trust(&authorities, Some("ns"));
        let entries: Vec<_> = entries.iter().map(|(entry, text)| (*entry, text.as_str())).collect();
        authorities.apply(&secret("ns", "s", "x", &entries));
        let found = [0, 1].map(|number| verify(&trust, &clients[number]).is_ok());
        assert_eq!(found, expected, "{entries:?}");
        assert_eq!(authorities.len(), usize::from(expected[0]), "{entries:?}");
    }
}

#[test]
fn changes_count_at_once() {
    let (a, b) = (root("a"), root("b"));
    let (of_a, of_b) = (a.issue(client("of a")).pem(), b.issue(client("of b")).pem());
    let authorities = authorities();
    let trust = trust(&authorities, Some("ns"));
    let state = || [verify(&trust, &of_a).is_ok(), verify(&trust, &of_b).is_ok()];
    let put = |name: &str, label: &str, text: &str| authorities.apply(&secret("ns", name, label, &[("tls.crt", text)]));
    assert_eq!(verify(&trust, &of_a).unwrap_err(), UNKNOWN);
    put("s", "x", &a.pem());
    assert_eq!(state(), [true, false], "new");
    put("s", "x", &b.pem());
    assert_eq!(state(), [false, true], "replaced");
    put("t", "x", &a.pem());
    assert_eq!(state(), [true, true], "another");
    put("s", "x", "broken");
    assert_eq!(state(), [true, false], "invalid");
    put("s", "x", &b.pem());
    assert_eq!(state(), [true, true], "mended");
    put("s", "y", &b.pem());
    assert_eq!(state(), [true, false], "other labels");
    put("u", "x", &a.pem());
    authorities.remove("ns", "t");
    assert_eq!(state(), [true, false], "one of two is gone");
    authorities.remove("ns", "u");
    assert_eq!(state(), [false, false], "both are gone");
    authorities.remove("ns", "u");
    authorities.remove("nowhere", "u");
    assert_eq!(authorities.len(), 1);
    let mut unwatched = secret("ns", "s", "x", &[("tls.crt", &b.pem())]);
    authorities.apply(&unwatched);
    assert_eq!(state(), [false, true]);
    unwatched.metadata.labels.remove("watched");
    authorities.apply(&unwatched);
    assert_eq!(state(), [false, false], "not watched any more");
    assert!(authorities.is_empty() && authorities.lock().is_empty());
}

#[test]
fn namespaces_and_labels_decide_who_is_trusted() {
    let a = root("a");
    let of_a = a.issue(client("of a")).pem();
    let authorities = authorities();
    let (here, everywhere) = (trust(&authorities, Some("ns")), trust(&authorities, None));
    let any = authorities.trust(None, Selector::default());
    let state = || [&here, &everywhere, &any].map(|trust| verify(trust, &of_a).is_ok());
    authorities.apply(&secret("elsewhere", "s", "y", &[("ca.crt", &a.pem())]));
    assert_eq!(state(), [false, false, true]);
    authorities.apply(&secret("elsewhere", "s", "x", &[("ca.crt", &a.pem())]));
    assert_eq!(state(), [false, true, true]);
    authorities.apply(&secret("ns", "s", "x", &[("ca.crt", &a.pem())]));
    assert_eq!(state(), [true, true, true]);
    authorities.remove("elsewhere", "s");
    assert_eq!(state(), [true, true, true]);
}

#[test]
fn who_was_verified_is_remembered_as_long_as_it_counts() {
    let a = root("a");
    let of_a = a.issue(client("of a"));
    let authorities = authorities();
    let trust = trust(&authorities, Some("ns"));
    authorities.apply(&secret("ns", "s", "x", &[("tls.crt", &a.pem())]));
    let pem = of_a.pem();
    let reads = std::cell::Cell::new(0);
    let check = |form: u8, text: &str, now: i64| {
        let read = || {
            reads.set(reads.get() + 1);
            let presented = Presented {
                leaf: of_a.certificate(),
                intermediates: Vec::new(),
                identity: json!("somebody"),
                identity_bytes: 100,
            };
            if text.is_empty() { Err(Failure::denied("unreadable")) } else { Ok(presented) }
        };
        (trust.verify(form, text, now, read).map_err(|failure| failure.reason().to_owned()), reads.take())
    };
    let ok = Ok(Arc::new(json!("somebody")));
    assert_eq!(check(0, &pem, NOW), (ok.clone(), 1));
    assert_eq!(check(0, &pem, NOW + 1), (ok.clone(), 0));
    assert_eq!(check(1, &pem, NOW), (ok.clone(), 1), "another form is another text");
    let (result, reads) = check(0, &pem, NOW + 20 * 365 * 86_400);
    assert!(result.unwrap_err().contains("expired") && reads == 1);
    assert_eq!(check(0, &pem, NOW), (ok.clone(), 0));
    // Changes that do not concern the rule leave it its memory.
    let generation = authorities.generation.load(Ordering::Relaxed);
    authorities.apply(&secret("elsewhere", "s", "x", &[("tls.crt", &root("b").pem())]));
    assert_eq!(check(0, &pem, NOW), (ok.clone(), 0));
    // What says the same as before is no change.
    authorities.apply(&secret("ns", "s", "x", &[("tls.crt", &a.pem())]));
    assert_eq!(authorities.generation.load(Ordering::Relaxed), generation + 1);
    authorities.remove("ns", "s");
    assert_eq!(check(0, &pem, NOW), (Err(UNKNOWN.to_owned()), 1));
    assert_eq!(check(0, &pem, NOW), (Err(UNKNOWN.to_owned()), 1), "failures are not remembered");
    assert_eq!(check(0, "", NOW), (Err("unreadable".to_owned()), 1));
    authorities.apply(&secret("ns", "s", "x", &[("tls.crt", &a.pem()), ("tls.key", "new")]));
    assert_eq!(check(0, &pem, NOW), (ok, 0), "the same trust again");
}

#[test]
fn memory_is_bounded() {
    let authorities = authorities();
    let until = NOW + 365 * 86_400;
    for number in 0_u32..2000 {
        let validity = Validity { from: 0, until };
        let identity = Arc::new(json!("x"));
        authorities
            .verified
            .insert(hash(&[&number.to_be_bytes()]), Arc::new(Verified { identity, validity, bytes: 1 << 16 }));
    }
    authorities.verified.run_pending_tasks();
    assert!(authorities.verified.weighted_size() <= MAX_VERIFIED_BYTES);
}

#[test]
fn several_threads_see_one_state() {
    let a = root("a");
    let of_a = a.issue(client("of a")).pem();
    let authorities = authorities();
    let trust = trust(&authorities, Some("ns"));
    let present = secret("ns", "s", "x", &[("tls.crt", &a.pem())]);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let _ = verify(&trust, &of_a);
                }
            });
        }
        for _ in 0..50 {
            authorities.apply(&present);
            assert!(verify(&trust, &of_a).is_ok());
            authorities.remove("ns", "s");
            assert!(verify(&trust, &of_a).is_err());
        }
    });
}

#[test]
fn debug_output_says_how_many() {
    let authorities = authorities();
    authorities.apply(&secret("ns", "s", "x", &[("tls.crt", &self_signed(authority("hidden")).pem())]));
    assert_eq!(format!("{authorities:?}"), "Authorities { len: 1, .. }");
}

proptest! {
    #[test]
    fn any_entry_is_read(text: Vec<u8>, lines in "(-----(BEGIN|END) (CERTIFICATE|KEY)-----\n|[A-Za-z0-9+/=]{0,64}\n){0,12}") {
        let authorities = authorities();
        let mut any = secret("ns", "s", "x", &[("tls.crt", &lines)]);
        authorities.apply(&any);
        any.data.insert("tls.crt".to_owned(), text);
        authorities.apply(&any);
    }
}
