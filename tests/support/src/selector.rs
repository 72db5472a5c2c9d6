//! Selectors: which objects a list or a watch is about.

use std::collections::BTreeMap;

use serde_json::Value;

/// All requirements must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    /// Also holds where the label is missing.
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

impl Selector {
    /// Reads `a=b,c!=d,e in (x,y),f notin (z),!g,h`.
    ///
    /// # Errors
    ///
    /// Says what cannot be understood.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        split(text)?.into_iter().map(requirement).collect::<Result<_, _>>().map(Self)
    }

    /// Reads an object with `matchLabels` and `matchExpressions`.
    pub(crate) fn from_object(value: &Value) -> Self {
        let mut requirements = Vec::new();
        for (key, value) in value["matchLabels"].as_object().into_iter().flatten() {
            requirements.push(Requirement::In(key.clone(), vec![value.as_str().unwrap_or_default().to_owned()]));
        }
        for expression in value["matchExpressions"].as_array().into_iter().flatten() {
            let key = expression["key"].as_str().unwrap_or_default().to_owned();
            let values = expression["values"].as_array().into_iter().flatten();
            let values = values.filter_map(|value| value.as_str().map(str::to_owned)).collect();
            requirements.push(match expression["operator"].as_str() {
                Some("In") => Requirement::In(key, values),
                Some("NotIn") => Requirement::NotIn(key, values),
                Some("DoesNotExist") => Requirement::Missing(key),
                _ => Requirement::Exists(key),
            });
        }
        Self(requirements)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Missing(key) => !labels.contains_key(key),
        })
    }
}

/// At the commas that are not in parentheses.
fn split(text: &str) -> Result<Vec<&str>, String> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut inside = false;
    for (at, character) in text.char_indices() {
        match character {
            '(' if inside => return Err(format!("found '(' inside parentheses in `{text}`")),
            '(' => inside = true,
            ')' if !inside => return Err(format!("found ')' without '(' in `{text}`")),
            ')' => inside = false,
            ',' if !inside => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(format!("')' is missing in `{text}`"));
    }
    parts.push(text[start..].trim());
    if parts == [""] {
        parts.clear();
    }
    Ok(parts)
}

fn requirement(text: &str) -> Result<Requirement, String> {
    if let Some(key) = text.strip_prefix('!') {
        return Ok(Requirement::Missing(checked_key(key)?));
    }
    if let Some((head, values)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        let values = values.split(',').map(|value| checked_value(value.trim())).collect::<Result<_, _>>()?;
        return match head.trim().rsplit_once(char::is_whitespace) {
            Some((key, "in")) => Ok(Requirement::In(checked_key(key)?, values)),
            Some((key, "notin")) => Ok(Requirement::NotIn(checked_key(key)?, values)),
            _ => Err(format!("expected `in` or `notin` in `{text}`")),
        };
    }
    if let Some((key, value)) = text.split_once("!=") {
        return Ok(Requirement::NotIn(checked_key(key)?, vec![checked_value(value.trim())?]));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Requirement::In(checked_key(key)?, vec![checked_value(value.trim())?]));
    }
    Ok(Requirement::Exists(checked_key(text)?))
}

fn checked_key(key: &str) -> Result<String, String> {
    let key = key.trim();
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let fine = is_name(name) && prefix.is_none_or(|prefix| !prefix.is_empty() && prefix.len() <= 253);
    if fine { Ok(key.to_owned()) } else { Err(format!("`{key}` is not a label key")) }
}

fn checked_value(value: &str) -> Result<String, String> {
    if value.is_empty() || is_name(value) {
        Ok(value.to_owned())
    } else {
        Err(format!("`{value}` is not a label value"))
    }
}

fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    bytes.len() <= 63
        && outer(bytes.first())
        && outer(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split(',').filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').unwrap()).map(|(key, value)| (key.into(), value.into())).collect()
    }

    #[test]
    fn requirements_hold_together() {
        for (selector, of, expected) in [
            ("", "a=b", true),
            ("a=b", "a=b", true),
            ("a==b", "a=b", true),
            ("a=b", "a=c", false),
            ("a=b", "", false),
            ("a=", "a=", true),
            ("a!=b", "", true),
            ("a!=b", "a=b", false),
            ("a", "a=b", true),
            ("a", "c=b", false),
            ("!a", "c=b", true),
            ("!a", "a=b", false),
            ("e in (x,y)", "e=y", true),
            ("e in (x, y)", "e=z", false),
            ("e notin (x,y)", "e=z", true),
            ("e notin (x,y)", "", true),
            ("e notin (x)", "e=x", false),
            ("a=b,c!=d,e in (x,y),!f,g", "a=b,c=z,e=x,g=1", true),
            ("a=b,c!=d,e in (x,y),!f,g", "a=b,c=z,e=x,g=1,f=1", false),
            ("authorino.kuadrant.io/managed-by=authorino", "authorino.kuadrant.io/managed-by=authorino", true),
        ] {
            let parsed = Selector::parse(selector).unwrap();
            assert_eq!(parsed.matches(&labels(of)), expected, "`{selector}` of `{of}`");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        for selector in ["a=b,,c", "a in x)", "a in (x", "a within (x)", "=b", "a=b c", "-a", "a in ((x))"] {
            assert!(Selector::parse(selector).is_err(), "{selector}");
        }
    }

    #[test]
    fn selectors_of_objects_are_read() {
        let selector = Selector::from_object(&serde_json::json!({
            "matchLabels": {"a": "b"},
            "matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["d"]}, {"key": "e", "operator": "Exists"}],
        }));
        assert_eq!(selector, Selector::parse("a=b,c notin (d),e").unwrap());
    }
}
