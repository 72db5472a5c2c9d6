//! Placeholder.
/// Keys.
#[derive(Debug)]
pub struct ApiKeys;
