//! Placeholder.
/// Issuers.
#[derive(Debug)]
pub struct Issuers;
