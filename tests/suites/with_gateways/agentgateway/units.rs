//! Durations in the fields of agentgateway's objects.

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, de::Error};

use crate::with_gateways::units::duration;

/// A field with a [`duration`], which may be absent.
pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| duration(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is no duration")))).transpose()
}
