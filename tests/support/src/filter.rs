//! Which objects of a kind a request is about.

use crate::{failure::Failure, selector::Selector, store::Stored};

/// Namespace, labels, and fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) namespace: Option<String>,
    labels: Selector,
    fields: Vec<(Field, bool, String)>,
}

#[derive(Clone, Copy, Debug)]
enum Field {
    Name,
    Namespace,
}

impl Filter {
    /// # Errors
    ///
    /// 400 for selectors that cannot be understood, or that ask for other fields than the name and the namespace.
    pub(crate) fn new(namespace: Option<&str>, labels: &str, fields: &str) -> Result<Self, Failure> {
        let labels = Selector::parse(labels)
            .map_err(|error| Failure::bad_request(format!("unable to parse requirement: {error}")))?;
        let fields =
            fields.split(',').map(str::trim).filter(|field| !field.is_empty()).map(field).collect::<Result<_, _>>()?;
        Ok(Self { namespace: namespace.map(str::to_owned), labels, fields })
    }

    /// Selects only the object of this name.
    pub(crate) fn only(&mut self, name: &str) {
        self.fields.push((Field::Name, true, name.to_owned()));
    }

    pub(crate) fn has_selectors(&self) -> bool {
        !self.labels.is_empty() || !self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Stored) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == object.namespace)
            && self.labels.matches(&object.labels)
            && self.fields.iter().all(|(field, equal, value)| {
                let found = match field {
                    Field::Name => &object.name,
                    Field::Namespace => &object.namespace,
                };
                (found == value) == *equal
            })
    }
}

fn field(text: &str) -> Result<(Field, bool, String), Failure> {
    let (field, equal, value) = if let Some((field, value)) = text.split_once("!=") {
        (field, false, value)
    } else if let Some((field, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (field, true, value)
    } else {
        return Err(Failure::bad_request(format!("invalid field selector: `{text}`")));
    };
    let field = match field {
        "metadata.name" => Field::Name,
        "metadata.namespace" => Field::Namespace,
        other => return Err(Failure::bad_request(format!("field label not supported: {other}"))),
    };
    Ok((field, equal, value.to_owned()))
}
