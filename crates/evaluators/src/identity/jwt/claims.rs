//! The claims of a token, RFC 7519 §4.

use std::sync::Arc;

use serde_json::{Number, Value};
use usher_api::JwtSpec;
use usher_engine::Failure;

use super::token::{decode, malformed};
use crate::{FieldPath, Problems, resources::oidc::VerifiedToken};

/// How far ahead `nbf` may be, where the rule does not say: clocks differ. `exp` has no leeway then.
const NOT_BEFORE_LEEWAY: i64 = 300;

/// Reads the payload of a token whose signature was verified.
pub(super) fn read(payload: &str) -> Result<VerifiedToken, Failure> {
    let payload = decode(payload).ok_or_else(|| malformed(&"oidc: malformed jwt payload: not base64url"))?;
    let mut claims: Value =
        serde_json::from_slice(&payload).map_err(|error| unreadable(&format_args!("not json: {error}")))?;
    if !claims.is_object() {
        return Err(unreadable(&"not an object"));
    }
    for name in ["iss", "sub", "nonce", "at_hash"] {
        if !matches!(claims.get(name), None | Some(Value::Null | Value::String(_))) {
            return Err(unreadable(&format_args!("`{name}` is not a string")));
        }
    }
    let audience_is_readable = match claims.get("aud") {
        None | Some(Value::Null | Value::String(_)) => true,
        Some(Value::Array(audiences)) => audiences.iter().all(Value::is_string),
        Some(_) => false,
    };
    if !audience_is_readable {
        return Err(unreadable(&"`aud` is neither a string nor a list of strings"));
    }
    time(&claims, "iat")?;
    check_distributed(&claims)?;
    let (expires, not_before) = (time(&claims, "exp")?, time(&claims, "nbf")?);
    // One order for all, so that what is made of the identity does not depend on how the issuer wrote it.
    claims.sort_all_objects();
    write_whole_numbers_without_fraction(&mut claims);
    Ok(VerifiedToken { claims: Arc::new(claims), expires, not_before })
}

/// Claims that stand elsewhere (OpenID Connect Core §5.6.2) name a source each, which the token must have. What is found
/// there is not fetched.
fn check_distributed(claims: &Value) -> Result<(), Failure> {
    let Some(names) = claims.get("_claim_names").filter(|names| !names.is_null()) else { return Ok(()) };
    let names = names.as_object().ok_or_else(|| unreadable(&"`_claim_names` is not an object"))?;
    for source in names.values() {
        let source = source.as_str().ok_or_else(|| unreadable(&"`_claim_names` has a name that is not a string"))?;
        if claims.get("_claim_sources").and_then(|sources| sources.get(source)).is_none() {
            return Err(Failure::denied("oidc: source does not exist"));
        }
    }
    Ok(())
}

/// What a rule expects of the claims of a token.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    /// Of these `iss` must be one. None: it must be the issuer of the discovery document, if there is one.
    issuers: Option<Vec<String>>,
    /// Of these `aud` must have one, unless there are none.
    audiences: Vec<String>,
    /// Seconds by which clocks may differ.
    leeway: Option<i64>,
}

impl Expected {
    /// Reads `issuer`, `audiences` and `leewaySeconds` of `jwt`.
    pub(super) fn build(spec: &JwtSpec, at: &FieldPath<'_>, problems: &mut Problems) -> Option<Self> {
        let issuers = problems.take(&at.field("issuer"), spec.issuers())?;
        Some(Self {
            issuers: issuers.map(|issuers| issuers.into_iter().map(str::to_owned).collect()),
            audiences: spec.audiences.clone(),
            leeway: spec.leeway_seconds.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX)),
        })
    }

    /// Whether the token counts now: the second since 1970. `discovered` is the issuer of the discovery document.
    pub(super) fn check(&self, token: &VerifiedToken, discovered: Option<&str>, now: i64) -> Result<(), Failure> {
        match token.expires {
            Some(expires) if now < expires.saturating_add(self.leeway.unwrap_or(0)) => {}
            Some(expires) => {
                return Err(Failure::denied(format!("oidc: token is expired (Token Expiry: {})", date(expires))));
            }
            None => {
                return Err(Failure::denied("oidc: token is expired (Token Expiry: 0001-01-01 00:00:00 +0000 UTC)"));
            }
        }
        if let Some(not_before) = token.not_before
            && now.saturating_add(self.leeway.unwrap_or(NOT_BEFORE_LEEWAY)) < not_before
        {
            let (now, not_before) = (date(now), date(not_before));
            return Err(Failure::denied(format!(
                "oidc: current time {now} before the nbf (not before) time: {not_before}"
            )));
        }
        let any_issuer = self.issuers.is_none() && discovered.is_none();
        if !any_issuer && !self.is_issuer(token.claims.get("iss").and_then(Value::as_str), discovered) {
            return Err(Failure::denied("oidc: token was issued by another issuer"));
        }
        if self.audiences.is_empty() {
            return Ok(());
        }
        self.check_audience(token.claims.get("aud"))
    }

    /// Whether the payload of a token that is not verified could be by the right issuer.
    pub(super) fn may_be_issuer_of(&self, payload: &str, discovered: Option<&str>) -> bool {
        #[derive(serde::Deserialize)]
        struct Claims<'c> {
            #[serde(borrow)]
            iss: Option<std::borrow::Cow<'c, str>>,
        }
        let payload = decode(payload).unwrap_or_default();
        let issuer = serde_json::from_slice::<Claims<'_>>(&payload).ok().and_then(|claims| claims.iss);
        self.is_issuer(issuer.as_deref(), discovered)
    }

    fn is_issuer(&self, issuer: Option<&str>, discovered: Option<&str>) -> bool {
        match (&self.issuers, discovered) {
            (Some(issuers), _) => issuers.iter().any(|expected| issuer == Some(expected)),
            (None, Some(discovered)) => issuer == Some(discovered),
            (None, None) => true,
        }
    }

    /// Whom the token is for, RFC 7519 §4.1.3: a string or a list of strings. One of the audiences, of which there are
    /// some.
    fn check_audience(&self, audience: Option<&Value>) -> Result<(), Failure> {
        let is_expected = |audience: &Value| {
            audience.as_str().is_some_and(|audience| self.audiences.iter().any(|own| own == audience))
        };
        let is_for_us = match audience {
            Some(Value::Array(audiences)) => audiences.iter().any(is_expected),
            Some(audience) => is_expected(audience),
            None => false,
        };
        if is_for_us {
            return Ok(());
        }
        let expected: Vec<_> = self.audiences.iter().map(|audience| format!("{audience:?}")).collect();
        Err(Failure::denied(format!("oidc: expected audience {}", expected.join(" or "))))
    }
}

/// A `NumericDate` (§2): a number of seconds, whose fraction does not count; also as text, which some issuers write.
fn time(claims: &Value, name: &str) -> Result<Option<i64>, Failure> {
    let seconds = match claims.get(name) {
        None => return Ok(None),
        Some(Value::Number(number)) => whole_seconds(number),
        Some(Value::String(text)) => serde_json::from_str::<Number>(text).ok().as_ref().and_then(whole_seconds),
        Some(_) => None,
    };
    seconds.map(Some).ok_or_else(|| unreadable(&format_args!("`{name}` is not a number")))
}

#[expect(clippy::cast_possible_truncation, reason = "truncation is meant, and saturates")]
fn whole_seconds(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds as i64))
}

/// `1.7e9` and `1.0` are whole numbers however they are written, and are shown as such.
fn write_whole_numbers_without_fraction(value: &mut Value) {
    /// Below it every whole number has a floating-point number of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(float) = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < EXACT) {
                #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
                let whole = float as i64;
                *number = whole.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(write_whole_numbers_without_fraction),
        Value::Object(members) => members.values_mut().for_each(write_whole_numbers_without_fraction),
        _ => {}
    }
}

fn unreadable(what: &dyn std::fmt::Display) -> Failure {
    Failure::denied(format!("oidc: failed to unmarshal claims: {what}"))
}

/// A second since 1970 as text, for example `2026-11-21 08:00:00 +0000 UTC`.
fn date(seconds: i64) -> String {
    let (mut days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 0000-03-01 in the Gregorian calendar: with the leap day last, years and months are regular.
    days = days.saturating_add(719_468);
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} +0000 UTC")
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn read_text(payload: &str) -> Result<VerifiedToken, Failure> {
        read(&BASE64_URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn claims_are_read_or_refused() {
        let nested = |depth: usize| format!(r#"{{"exp":1,"x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        let cases = [
            ("{}", None),
            (r#"{"iss":null,"sub":null,"aud":null}"#, None),
            (r#"{"aud":"a"}"#, None),
            (r#"{"aud":["a","b"]}"#, None),
            (&nested(100), None),
            ("\"text\"", Some("not an object")),
            ("[]", Some("not an object")),
            ("", Some("not json: ")),
            ("{} {}", Some("not json: ")),
            (&nested(200), Some("not json: ")),
            (r#"{"iss":1}"#, Some("`iss` is not a string")),
            (r#"{"sub":{}}"#, Some("`sub` is not a string")),
            (r#"{"nonce":[]}"#, Some("`nonce` is not a string")),
            (r#"{"at_hash":true}"#, Some("`at_hash` is not a string")),
            (r#"{"aud":1}"#, Some("`aud` is neither a string nor a list of strings")),
            (r#"{"aud":["a",1]}"#, Some("`aud` is neither a string nor a list of strings")),
            (r#"{"exp":null}"#, Some("`exp` is not a number")),
            (r#"{"exp":"soon"}"#, Some("`exp` is not a number")),
            (r#"{"exp":""}"#, Some("`exp` is not a number")),
            (r#"{"exp":" 1"}"#, None),
            (r#"{"exp":true}"#, Some("`exp` is not a number")),
            (r#"{"nbf":{}}"#, Some("`nbf` is not a number")),
            (r#"{"iat":"x"}"#, Some("`iat` is not a number")),
        ];
        for (payload, expected) in cases {
            match (read_text(payload), expected) {
                (Ok(_), None) => {}
                (Err(failure), Some(reason)) => {
                    let start = format!("oidc: failed to unmarshal claims: {reason}");
                    assert!(failure.reason().starts_with(&start), "{payload}: {failure:?}");
                }
                (result, _) => panic!("{payload}: {result:?}"),
            }
        }
        let failure = read("!").unwrap_err();
        assert_eq!(failure.reason(), "oidc: malformed jwt: oidc: malformed jwt payload: not base64url");
    }

    #[test]
    fn claims_that_stand_elsewhere_have_a_source() {
        let missing = Some("oidc: source does not exist");
        let no_object = Some("oidc: failed to unmarshal claims: `_claim_names` is not an object");
        let no_string = Some("oidc: failed to unmarshal claims: `_claim_names` has a name that is not a string");
        let sources = json!({"s": {"endpoint": "https://graph.test/groups"}, "j": {"JWT": "e30.e30.AAAA"}});
        let cases = [
            (json!({}), None),
            (json!({"_claim_names": null}), None),
            (json!({"_claim_names": {}}), None),
            (json!({"_claim_sources": sources}), None),
            (json!({"_claim_names": {"groups": "s", "a": "j"}, "_claim_sources": sources}), None),
            (json!({"_claim_names": {"groups": "s", "a": "t"}, "_claim_sources": sources}), missing),
            (json!({"_claim_names": {"groups": ""}, "_claim_sources": sources}), missing),
            (json!({"_claim_names": {"groups": "s"}}), missing),
            (json!({"_claim_names": {"groups": "s"}, "_claim_sources": null}), missing),
            (json!({"_claim_names": {"groups": "0"}, "_claim_sources": [{}]}), missing),
            (json!({"_claim_names": "s", "_claim_sources": sources}), no_object),
            (json!({"_claim_names": ["s"], "_claim_sources": sources}), no_object),
            (json!({"_claim_names": {"groups": 1}, "_claim_sources": sources}), no_string),
            (json!({"_claim_names": {"groups": null}, "_claim_sources": sources}), no_string),
        ];
        for (claims, reason) in cases {
            assert_eq!(read_text(&claims.to_string()).err().as_ref().map(Failure::reason), reason, "{claims}");
        }
    }

    #[test]
    fn times_have_several_forms() {
        let cases = [
            ("1700000000", NOW),
            ("1.7e9", NOW),
            ("1700000000.9", NOW),
            ("-1.5", -1),
            ("\"1700000000\"", NOW),
            ("\"1.7e9\"", NOW),
            ("1e300", i64::MAX),
            ("18446744073709551615", i64::MAX),
            ("-1e300", i64::MIN),
        ];
        for (text, seconds) in cases {
            let token = read_text(&format!(r#"{{"exp":{text},"nbf":{text}}}"#)).unwrap();
            assert_eq!((token.expires, token.not_before), (Some(seconds), Some(seconds)), "{text}");
        }
    }

    #[test]
    fn claims_have_one_order_and_whole_numbers_no_fraction() {
        let token =
            read_text(r#"{"b":{"z":1.0,"a":[{"y":1,"x":1.5}]},"a":1.7e9,"c":1e300,"d":9007199254740993,"e":-0.0}"#)
                .unwrap();
        let expected = r#"{"a":1700000000,"b":{"a":[{"x":1.5,"y":1}],"z":1},"c":1e+300,"d":9007199254740993,"e":0}"#;
        assert_eq!(token.claims.to_string(), expected);
    }

    fn expected(issuers: Option<&[&str]>, audiences: &[&str], leeway: Option<i64>) -> Expected {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Expected { issuers: issuers.map(owned), audiences: owned(audiences), leeway }
    }

    #[test]
    fn what_is_expected_is_read() {
        let cases = [
            (json!({}), Ok(expected(None, &[], None))),
            (json!({"issuer": "https://i"}), Ok(expected(Some(&["https://i"]), &[], None))),
            (json!({"issuer": ["a", "b"], "audiences": ["x"]}), Ok(expected(Some(&["a", "b"]), &["x"], None))),
            (json!({"leewaySeconds": 0}), Ok(expected(None, &[], Some(0)))),
            (json!({"leewaySeconds": u64::MAX}), Ok(expected(None, &[], Some(i64::MAX)))),
            (json!({"issuer": 5}), Err("jwt.issuer: must be a string or a list of strings")),
            (json!({"issuer": []}), Err("jwt.issuer: must be a string or a list of strings")),
            (json!({"issuer": ["a", null]}), Err("jwt.issuer: must be a string or a list of strings")),
        ];
        for (spec, result) in cases {
            let parsed: JwtSpec = serde_json::from_value(spec.clone()).unwrap();
            let mut problems = Problems::default();
            let built = Expected::build(&parsed, &FieldPath::root("jwt"), &mut problems);
            let problem = problems.into_parts().0.first().map(ToString::to_string);
            assert_eq!(
                (built.as_ref(), problem.as_deref()),
                (result.as_ref().ok(), result.as_ref().err().copied()),
                "{spec}"
            );
        }
    }

    #[test]
    fn a_token_counts_between_its_times() {
        let expired = |time: &str| Some(format!("oidc: token is expired (Token Expiry: {time} +0000 UTC)"));
        let early = |time: &str| {
            let now = "2023-11-14 22:13:20 +0000 UTC";
            Some(format!("oidc: current time {now} before the nbf (not before) time: {time} +0000 UTC"))
        };
        let cases = [
            (json!({"exp": NOW + 1}), None, None),
            (json!({"exp": NOW}), None, expired("2023-11-14 22:13:20")),
            (json!({"exp": NOW - 1}), None, expired("2023-11-14 22:13:19")),
            (json!({}), None, expired("0001-01-01 00:00:00")),
            (json!({}), Some(i64::MAX), expired("0001-01-01 00:00:00")),
            (json!({"exp": NOW - 9}), Some(10), None),
            (json!({"exp": NOW - 10}), Some(10), expired("2023-11-14 22:13:10")),
            (json!({"exp": NOW}), Some(0), expired("2023-11-14 22:13:20")),
            (json!({"exp": i64::MIN}), Some(i64::MAX), expired("-292277022657-01-27 08:29:52")),
            (json!({"exp": NOW + 999, "nbf": NOW + 300}), None, None),
            (json!({"exp": NOW + 999, "nbf": NOW + 301}), None, early("2023-11-14 22:18:21")),
            (json!({"exp": NOW + 999, "nbf": NOW + 10}), Some(10), None),
            (json!({"exp": NOW + 999, "nbf": NOW + 11}), Some(10), early("2023-11-14 22:13:31")),
            (json!({"exp": NOW + 999, "nbf": NOW + 400}), Some(400), None),
        ];
        for (claims, leeway, reason) in cases {
            let token = read_text(&claims.to_string()).unwrap();
            let result = expected(None, &[], leeway).check(&token, None, NOW);
            assert_eq!(result.as_ref().err().map(Failure::reason), reason.as_deref(), "{claims} {leeway:?}");
        }
    }

    #[test]
    fn a_token_counts_from_its_issuer_and_for_its_audience() {
        let another = Some("oidc: token was issued by another issuer");
        let list: Option<&[&str]> = Some(&["https://a", "https://b"]);
        let (one, two) = (Some(r#"oidc: expected audience "x""#), Some(r#"oidc: expected audience "x" or "y""#));
        let cases = [
            (json!({"iss": "https://j"}), None, expected(None, &[], None), None),
            (json!({"iss": "https://i"}), Some("https://i"), expected(None, &[], None), None),
            (json!({"iss": "https://i/"}), Some("https://i"), expected(None, &[], None), another),
            (json!({}), Some("https://i"), expected(None, &[], None), another),
            (json!({"iss": null}), Some("https://i"), expected(None, &[], None), another),
            (json!({"iss": "https://a"}), None, expected(list, &[], None), None),
            (json!({"iss": "https://b"}), Some("https://i"), expected(list, &[], None), None),
            (json!({"iss": "https://i"}), Some("https://i"), expected(list, &[], None), another),
            (json!({}), None, expected(list, &[], None), another),
            (json!({}), None, expected(None, &["x"], None), one),
            (json!({"aud": null}), None, expected(None, &["x"], None), one),
            (json!({"aud": []}), None, expected(None, &["x"], None), one),
            (json!({"aud": "x"}), None, expected(None, &["x"], None), None),
            (json!({"aud": ["z", "x"]}), None, expected(None, &["x"], None), None),
            (json!({"aud": "X"}), None, expected(None, &["x"], None), one),
            (json!({"aud": ["y"]}), None, expected(None, &["x", "y"], None), None),
            (json!({"aud": ["z", "xy"]}), None, expected(None, &["x", "y"], None), two),
        ];
        for (mut claims, discovered, expected, reason) in cases {
            claims["exp"] = json!(NOW + 1);
            let token = read_text(&claims.to_string()).unwrap();
            let result = expected.check(&token, discovered, NOW);
            assert_eq!(result.as_ref().err().map(Failure::reason), reason, "{claims} {expected:?}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let cases = [
            (0, "1970-01-01 00:00:00 +0000 UTC"),
            (-1, "1969-12-31 23:59:59 +0000 UTC"),
            (951_782_400, "2000-02-29 00:00:00 +0000 UTC"),
            (951_868_800, "2000-03-01 00:00:00 +0000 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 +0000 UTC"),
            (1_709_164_799, "2024-02-28 23:59:59 +0000 UTC"),
            (-62_135_596_800, "0001-01-01 00:00:00 +0000 UTC"),
        ];
        for (seconds, text) in cases {
            assert_eq!(date(seconds), text);
        }
        assert!(date(i64::MAX).ends_with("UTC") && date(i64::MIN).ends_with("UTC"));
    }

    #[test]
    fn an_unverified_issuer_is_only_compared() {
        let may_be = |payload: &str, issuers, discovered| {
            expected(issuers, &[], None).may_be_issuer_of(&BASE64_URL_SAFE_NO_PAD.encode(payload), discovered)
        };
        let discovered = |payload: &str| may_be(payload, None, Some("https://i"));
        assert!(discovered(r#"{"iss":"https://i"}"#) && discovered(r#"{"sub":"a","iss":"https:\/\/i"}"#));
        assert!(!discovered(r#"{"iss":"https://j"}"#) && !discovered("{}") && !discovered("[]"));
        assert!(!expected(None, &[], None).may_be_issuer_of("!", Some("https://i")));
        let listed = |payload: &str| may_be(payload, Some(&["https://j", "https://k"]), Some("https://i"));
        assert!(listed(r#"{"iss":"https://k"}"#) && !listed(r#"{"iss":"https://i"}"#) && !listed("{}"));
        assert!(may_be("{}", None, None) && may_be("", None, None), "there is nothing to compare it with");
    }
}
