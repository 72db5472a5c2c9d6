//! Names of scenarios.

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// Everybody may pass.
    Anonymous,
    /// One of 10 API keys, and one pattern.
    #[value(name = "api-key-10")]
    ApiKey10,
    /// One of 10,000 API keys, and one pattern.
    #[value(name = "api-key-10000")]
    ApiKey10000,
    /// One of 1,000,000 API keys, and one pattern.
    #[value(name = "api-key-1000000")]
    ApiKey1000000,
    /// API keys that do not exist, next to 10,000 that do: denied.
    UnknownKey,
    /// Tokens that were seen before, and one CEL predicate.
    JwtSeen,
    /// Tokens that were never seen before, and one CEL predicate.
    JwtFirst,
    /// Tokens with a signature on P-256 that were seen before, and one CEL predicate.
    #[value(name = "jwt-es256-seen")]
    JwtEs256Seen,
    /// The same, never seen before.
    #[value(name = "jwt-es256-first")]
    JwtEs256First,
    /// Tokens of a shared secret that were seen before, and one CEL predicate.
    JwtHs256,
    /// Client certificates that were seen before, and one pattern.
    X509,
    /// One CEL predicate.
    #[value(name = "cel-1")]
    Cel1,
    /// Ten CEL predicates.
    #[value(name = "cel-10")]
    Cel10,
    /// Three patterns about parts of values, which selectors take out.
    Gjson,
    /// A policy of one line.
    Opa,
    /// A policy of 50 rules.
    #[value(name = "opa-50")]
    Opa50,
    /// An API key, and a pattern about metadata that were fetched before.
    MetadataCached,
    /// One plain header and one JSON header for the upstream.
    Headers,
    /// An API key that is taken out, as another header is; two headers with more values for the upstream, and one for the client.
    Answers,
    /// An API key, and a token for the upstream, signed for each request.
    Wristband,
    /// An API key, and a token for the upstream that was signed before.
    WristbandCached,
    /// An API key, and a service that is told of each decision.
    Callbacks,
    /// Everybody may pass, with 10,000 AuthConfigs, some with wildcards, all of them in use in turn.
    #[value(name = "hosts-10000")]
    Hosts10000,
    /// Everybody may pass, and sends 60 headers of 16 KB.
    LargeCheck,
    /// One of 10 API keys, and one pattern, with 60 headers of 16 KB.
    LargeCheckKey,
    /// One of 10 API keys, and two patterns, while files change.
    Churn,
}

impl Name {
    /// All, in the order of the table.
    pub(crate) fn all() -> Vec<Self> {
        <Self as clap::ValueEnum>::value_variants().to_vec()
    }

    /// Those that are measured if nobody says which: without the one that takes minutes to prepare.
    pub(crate) fn usual() -> Vec<Self> {
        Self::all().into_iter().filter(|name| *name != Self::ApiKey1000000).collect()
    }

    /// Whether its checks are large.
    pub(crate) fn is_large(self) -> bool {
        matches!(self, Self::LargeCheck | Self::LargeCheckKey)
    }

    /// The word on the command line.
    pub(crate) fn word(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words() {
        let words: Vec<String> = Name::all().into_iter().map(Name::word).collect();
        assert_eq!(
            words.join(" "),
            "anonymous api-key-10 api-key-10000 api-key-1000000 unknown-key jwt-seen jwt-first jwt-es256-seen \
             jwt-es256-first jwt-hs256 x509 cel-1 cel-10 gjson opa opa-50 metadata-cached headers answers wristband \
             wristband-cached callbacks hosts-10000 large-check large-check-key churn"
        );
        assert_eq!(Name::usual().len() + 1, words.len());
    }
}
