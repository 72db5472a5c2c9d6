//! Placeholder.
/// Client.
#[derive(Debug)]
pub struct Client;
