use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::testing::{Certificate, issue};

fn write(directory: &Path, certificate: &Certificate) -> TlsSettings {
    let (chain, key) = (directory.join("tls.crt"), directory.join("tls.key"));
    std::fs::write(&chain, &certificate.certificate).unwrap();
    std::fs::write(&key, &certificate.key).unwrap();
    TlsSettings { certificate: chain, key, ..TlsSettings::default() }
}

fn versions(min: &str, max: &str, suites: &[&str]) -> Result<Vec<u16>, String> {
    let settings = TlsSettings {
        min_version: min.to_owned(),
        max_version: max.to_owned(),
        cipher_suites: suites.iter().map(|suite| (*suite).to_owned()).collect(),
        ..TlsSettings::default()
    };
    let policy = Policy::new(&settings).map_err(|error| error.to_string())?;
    Ok(policy.versions.iter().map(|version| u16::from(version.version)).collect())
}

/// Long enough that a change is noticed by the watch or not at all.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;

#[test]
fn versions_and_cipher_suites() {
    let aes = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    for (min, max, suites, expected) in [
        ("", "", &[][..], &[TLS12, TLS13][..]),
        ("1.2", "1.2", &[], &[TLS12]),
        ("1.3", "", &[], &[TLS13]),
        ("", "1.3", &[aes], &[TLS12, TLS13]),
        ("", "", &["TLS_AES_128_GCM_SHA256"], &[TLS13]),
        ("1.3", "1.3", &[aes], &[TLS13]),
        ("1.0", "", &[], &[TLS12, TLS13]),
        ("1.1", "1.2", &["TLS_RSA_WITH_RC4_128_SHA", aes], &[TLS12]),
    ] {
        assert_eq!(versions(min, max, suites).unwrap(), expected, "{min} {max} {suites:?}");
    }
    for (min, max, suites, expected) in [
        (
            "",
            "1.0",
            &[][..],
            "TLS version `1.0` is not supported, because it is not safe; supported are `1.2` and `1.3`",
        ),
        (
            "1.0",
            "1.1",
            &[],
            "TLS version `1.1` is not supported, because it is not safe; supported are `1.2` and `1.3`",
        ),
        ("2", "", &[], "unknown TLS version `2`; known are `1.2` and `1.3`"),
        ("1.3", "1.2", &[], "the lowest TLS version `1.3` is above the highest, `1.2`"),
        ("", "1.2", &["TLS_AES_128_GCM_SHA256"], "no cipher suite is left for the TLS versions that are allowed"),
    ] {
        assert_eq!(versions(min, max, suites).unwrap_err(), expected, "{min} {max} {suites:?}");
    }
    let error = versions("", "", &["TLS_RSA_WITH_RC4_128_SHA"]).unwrap_err();
    assert!(
        error.starts_with("cipher suite `TLS_RSA_WITH_RC4_128_SHA` is not supported; supported are `TLS_"),
        "{error}"
    );
    assert!(error.contains("`TLS_AES_256_GCM_SHA384`") && error.contains(aes), "{error}");
}

#[test]
fn both_files_or_none() {
    let settings = |certificate: &str, key: &str| Tls::settings(certificate.into(), key.into());
    assert!(settings("", "").unwrap().is_none());
    assert!(settings("a", "b").unwrap().is_some());
    let text = |result: Result<Option<TlsSettings>, TlsError>| result.unwrap_err().to_string();
    assert_eq!(text(settings("a", "")), "TLS needs both a certificate and a key, and only the certificate is given");
    assert_eq!(text(settings("", "b")), "TLS needs both a certificate and a key, and only the key is given");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_errors() {
    let directory = TempDir::new().unwrap();
    let (one, other) = (issue("one"), issue("other"));
    let good = write(directory.path(), &one);
    assert!(Tls::load(good.clone()).is_ok());

    let missing = TlsSettings { key: directory.path().join("none"), ..good.clone() };
    assert!(matches!(Tls::load(missing), Err(TlsError::Read { .. })));
    let swapped = TlsSettings { certificate: good.key.clone(), ..good.clone() };
    assert!(matches!(Tls::load(swapped), Err(TlsError::Content { expected: "certificate in PEM", .. })));
    let no_key = TlsSettings { key: good.certificate.clone(), ..good.clone() };
    assert!(matches!(Tls::load(no_key), Err(TlsError::Content { expected: "private key in PEM", .. })));
    std::fs::write(&good.key, &other.key).unwrap();
    assert!(matches!(Tls::load(good), Err(TlsError::Unusable { .. })));
}

#[tokio::test]
async fn changed_files_are_taken_into_use_and_broken_ones_are_not() {
    let directory = TempDir::new().unwrap();
    let settings = write(directory.path(), &issue("one"));
    let tls = Tls::load_and_poll(settings.clone(), NEVER).unwrap();
    let mut reloads = tls.reloads();
    let first = tls.current();

    // A certificate whose key has not arrived yet is not used; with its key it is.
    let two = issue("two");
    std::fs::write(&settings.certificate, &two.certificate).unwrap();
    let policy = Policy::new(&settings).unwrap();
    assert!(policy.config(&settings, &Files::read(&settings).unwrap()).is_err());
    assert!(Arc::ptr_eq(&first, &tls.current()));
    std::fs::write(&settings.key, &two.key).unwrap();
    reloads.wait_for(|reloads| *reloads == 1).await.unwrap();
    assert!(!Arc::ptr_eq(&first, &tls.current()));

    // By now the files are watched.
    write(directory.path(), &issue("three"));
    reloads.wait_for(|reloads| *reloads == 2).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn files_are_read_now_and_then_even_without_events() {
    let directory = TempDir::new().unwrap();
    let settings = write(directory.path(), &issue("one"));
    let elsewhere = TempDir::new().unwrap();
    // A watch on the directory of the link sees nothing of the file that it leads to.
    for name in ["tls.crt", "tls.key"] {
        std::fs::rename(directory.path().join(name), elsewhere.path().join(name)).unwrap();
        std::os::unix::fs::symlink(elsewhere.path().join(name), directory.path().join(name)).unwrap();
    }
    let tls = Tls::load_and_poll(settings, Duration::from_millis(10)).unwrap();
    let mut reloads = tls.reloads();
    for expected in 1..=2 {
        write(elsewhere.path(), &issue("other"));
        reloads.wait_for(|reloads| *reloads >= expected).await.unwrap();
    }
}

/// As Kubernetes does it: `tls.crt -> ..data/tls.crt`, `..data -> ..generation`, and the latter link is replaced.
#[cfg(unix)]
#[tokio::test]
async fn a_swung_link_is_noticed() {
    use std::os::unix::fs::symlink;

    let directory = TempDir::new().unwrap();
    let root = directory.path();
    for (generation, name) in [("..1", "one"), ("..2", "two"), ("..3", "three")] {
        std::fs::create_dir(root.join(generation)).unwrap();
        write(&root.join(generation), &issue(name));
    }
    symlink("..1", root.join("..data")).unwrap();
    symlink("..data/tls.crt", root.join("tls.crt")).unwrap();
    symlink("..data/tls.key", root.join("tls.key")).unwrap();
    let settings =
        TlsSettings { certificate: root.join("tls.crt"), key: root.join("tls.key"), ..TlsSettings::default() };
    let tls = Tls::load_and_poll(settings, NEVER).unwrap();
    let mut reloads = tls.reloads();
    for (generation, expected) in [("..2", 1), ("..3", 2)] {
        symlink(generation, root.join("..data_new")).unwrap();
        std::fs::rename(root.join("..data_new"), root.join("..data")).unwrap();
        reloads.wait_for(|reloads| *reloads == expected).await.unwrap();
    }
}
