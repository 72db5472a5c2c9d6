//! `usher crds`: the CustomResourceDefinition of AuthConfig.

use super::output;
use crate::exit::Exit;

/// Prints it as YAML.
pub(crate) fn run() -> Exit {
    output::print(&usher_api::crds_yaml(), Exit::Ok)
}
