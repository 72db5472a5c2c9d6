//! Placeholder.
pub mod anonymous;
pub mod api_key;
pub mod extension;
pub mod jwt;
pub mod plain;
