//! Which signature algorithms a rule accepts, RFC 7518 §3.1.

use usher_api::{JwtKeySource, JwtSpec};

use super::shared_secret::HmacAlgorithm;
use crate::{FieldPath, Problems, resources::jwks::Algorithm};

/// An algorithm that a token may name, with the kind of key that it takes. `none` is not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignatureAlgorithm {
    /// One side signs, everybody can verify.
    PublicKey(Algorithm),
    /// Who can verify can sign.
    SharedSecret(HmacAlgorithm),
}

impl SignatureAlgorithm {
    fn all() -> impl Iterator<Item = Self> {
        let public = Algorithm::ALL.into_iter().map(Self::PublicKey);
        public.chain(HmacAlgorithm::ALL.into_iter().map(Self::SharedSecret))
    }

    fn name(self) -> &'static str {
        match self {
            Self::PublicKey(algorithm) => algorithm.name(),
            Self::SharedSecret(algorithm) => algorithm.name(),
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        HmacAlgorithm::from_name(name)
            .map(Self::SharedSecret)
            .or_else(|| Algorithm::from_name(name).map(Self::PublicKey))
    }
}

/// The algorithms of a rule: those that its keys are for, or fewer. The keys decide first, so that a public key can
/// never be taken for a shared secret.
#[derive(Debug, Clone)]
pub(super) struct Algorithms {
    with_shared_secret: bool,
    only: Option<Vec<SignatureAlgorithm>>,
}

impl Algorithms {
    /// Reads `algorithms` of `jwt`.
    pub(super) fn build(spec: &JwtSpec, at: &FieldPath<'_>, problems: &mut Problems) -> Self {
        let mut algorithms = Self {
            with_shared_secret: matches!(spec.key_source(), Ok(JwtKeySource::SecretRef(_))),
            only: (!spec.algorithms.is_empty()).then(Vec::new),
        };
        let at = at.field("algorithms");
        for (index, name) in spec.algorithms.iter().enumerate() {
            let at = at.index(index);
            match SignatureAlgorithm::from_name(name) {
                Some(algorithm) => algorithms.only.get_or_insert_default().push(algorithm),
                None if name.eq_ignore_ascii_case("none") => {
                    problems.add(&at, "`none` is not a signature: such tokens are never accepted");
                }
                None => problems.add(&at, format_args!("unknown signature algorithm `{name}`")),
            }
        }
        let suits = |algorithm: &SignatureAlgorithm| algorithms.suits_keys(*algorithm);
        if algorithms.only.as_ref().is_some_and(|only| !only.iter().any(suits)) {
            problems.warn(&at, "no token can be accepted: the keys of the rule are for other algorithms");
        }
        algorithms
    }

    /// All algorithms with public keys.
    #[cfg(test)]
    pub(super) fn of_public_keys() -> Self {
        Self { with_shared_secret: false, only: None }
    }

    /// The algorithm of that name, if the rule accepts it.
    pub(super) fn accept(&self, name: &str) -> Option<SignatureAlgorithm> {
        SignatureAlgorithm::from_name(name).filter(|algorithm| self.accepts(*algorithm))
    }

    fn accepts(&self, algorithm: SignatureAlgorithm) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&algorithm)) && self.suits_keys(algorithm)
    }

    /// The names of those that the rule accepts and for which there is a key.
    pub(super) fn names(&self, has_key_for: impl Fn(SignatureAlgorithm) -> bool) -> Vec<&'static str> {
        let useful = |algorithm: &SignatureAlgorithm| self.accepts(*algorithm) && has_key_for(*algorithm);
        SignatureAlgorithm::all().filter(useful).map(SignatureAlgorithm::name).collect()
    }

    /// Whether the rule accepts fewer than its keys are for.
    pub(super) fn are_narrowed(&self) -> bool {
        self.only.is_some()
    }

    /// The algorithms with a shared secret that the rule accepts.
    pub(super) fn hmac(&self) -> impl Iterator<Item = HmacAlgorithm> {
        HmacAlgorithm::ALL.into_iter().filter(|algorithm| self.accept(algorithm.name()).is_some())
    }

    fn suits_keys(&self, algorithm: SignatureAlgorithm) -> bool {
        matches!(algorithm, SignatureAlgorithm::SharedSecret(_)) == self.with_shared_secret
    }
}

#[cfg(test)]
mod tests {
    use usher_api::JwtSecretReference;

    use super::*;

    fn read(with_secret: bool, names: &[&str]) -> (Algorithms, Vec<String>, Vec<String>) {
        let mut spec =
            JwtSpec { algorithms: names.iter().map(|&name| name.to_owned()).collect(), ..JwtSpec::default() };
        if with_secret {
            spec.secret_ref = Some(JwtSecretReference::default());
        } else {
            spec.issuer_url = Some("https://i.test".to_owned());
        }
        let mut problems = Problems::default();
        let algorithms = Algorithms::build(&spec, &FieldPath::root("jwt"), &mut problems);
        let (problems, warnings) = problems.into_parts();
        let texts = |list: Vec<crate::Problem>| list.iter().map(ToString::to_string).collect();
        (algorithms, texts(problems), texts(warnings))
    }

    #[test]
    fn keys_decide_first_and_the_list_narrows() {
        let public = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"];
        let shared = ["HS256", "HS384", "HS512"];
        let cases: [(bool, &[&str], Vec<&str>); 7] = [
            (false, &[], public.to_vec()),
            (true, &[], shared.to_vec()),
            (false, &["ES256", "PS384"], vec!["PS384", "ES256"]),
            (false, &["Ed25519"], vec!["EdDSA"]),
            (false, &["ES256", "HS256"], vec!["ES256"]),
            (true, &["HS512", "RS256"], vec!["HS512"]),
            (true, &["HS256", "HS256"], vec!["HS256"]),
        ];
        for (with_secret, names, expected) in cases {
            let (algorithms, problems, warnings) = read(with_secret, names);
            assert!(problems.is_empty() && warnings.is_empty(), "{names:?}: {problems:?} {warnings:?}");
            let accepted: Vec<_> =
                public.into_iter().chain(shared).filter(|name| algorithms.accept(name).is_some()).collect();
            assert_eq!(accepted, expected, "{with_secret} {names:?}");
            assert_eq!(algorithms.names(|_| true), expected, "{with_secret} {names:?}");
            let first = |algorithm: SignatureAlgorithm| expected.first() == Some(&algorithm.name());
            assert_eq!(algorithms.names(first), expected[..1], "{with_secret} {names:?}");
            assert_eq!(algorithms.are_narrowed(), !names.is_empty());
            for never in ["none", "None", "", "hs256", "RSA-OAEP", "ES256K"] {
                assert!(algorithms.accept(never).is_none(), "{never}");
            }
        }
    }

    #[test]
    fn names_that_mean_nothing_are_problems() {
        const NONE: &str = "jwt.algorithms[0]: `none` is not a signature: such tokens are never accepted";
        const USELESS: &str = "jwt.algorithms: no token can be accepted: the keys of the rule are for other algorithms";
        type Texts = &'static [&'static str];
        let cases: [(bool, Texts, Texts, Texts); 5] = [
            (false, &["none"], &[NONE], &[USELESS]),
            (
                true,
                &["NONE", "HS256"],
                &["jwt.algorithms[0]: `none` is not a signature: such tokens are never accepted"],
                &[],
            ),
            (false, &["ES256", "es256"], &["jwt.algorithms[1]: unknown signature algorithm `es256`"], &[]),
            (false, &["HS256"], &[], &[USELESS]),
            (true, &["RS256"], &[], &[USELESS]),
        ];
        for (with_secret, names, problems, warnings) in cases {
            let found = read(with_secret, names);
            assert_eq!((&found.1[..], &found.2[..]), (&to_owned(problems)[..], &to_owned(warnings)[..]), "{names:?}");
        }
    }

    fn to_owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }
}
