//! `usher crds`: the CustomResourceDefinition of AuthConfig.

use std::io::{self, Write as _};

use crate::exit::Exit;

/// Prints it as YAML.
pub(crate) fn run() -> Exit {
    // Whoever reads it may have seen enough: then there is nobody left to tell.
    let _ = io::stdout().lock().write_all(usher_api::crds_yaml().as_bytes());
    Exit::Ok
}
