//! What the suites share: processes that end with their test, waiting, plain HTTP, and the parts themselves.

pub(crate) mod collector;
pub(crate) mod documents;
pub(crate) mod envoy;
pub(crate) mod fenced;
pub(crate) mod http;
pub(crate) mod issuer;
pub(crate) mod kubernetes;
pub(crate) mod parts;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod spicedb;
pub(crate) mod upstream;
pub(crate) mod usher;
pub(crate) mod wait;
pub(crate) mod workspace;
