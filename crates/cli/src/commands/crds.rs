//! `usher crds`: the CustomResourceDefinition of AuthConfig.

use crate::exit::Exit;

/// Prints it as YAML.
pub(crate) fn run() -> Exit {
    print!("{}", usher_api::crds_yaml());
    Exit::Ok
}
