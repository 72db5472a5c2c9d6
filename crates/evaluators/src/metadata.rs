//! What else is to be known: the methods of `spec.metadata`.

pub mod http;
pub mod uma;
pub mod user_info;

use usher_api::{MetadataMethod, MetadataSpec};
use usher_engine::plan::{MetadataRule, OnMetadataError};

use crate::{
    BuildContext, FieldPath, Problems,
    step::{Method, step},
};

/// Builds the metadata rule `name`.
pub fn build(
    name: &str,
    spec: &MetadataSpec,
    at: &FieldPath<'_>,
    context: &BuildContext<'_>,
    problems: &mut Problems,
) -> Option<MetadataRule> {
    let method = problems.take(at, spec.method()).map(|method| match method {
        MetadataMethod::Http(http) => {
            Method::new("METADATA_GENERIC_HTTP", http::build(http, &at.field("http"), context, problems))
        }
        MetadataMethod::UserInfo(user_info) => {
            let at = &at.field("userInfo");
            Method::new("METADATA_USERINFO", user_info::build(user_info, at, context, problems))
        }
        MetadataMethod::Uma(uma) => Method::new("METADATA_UMA", uma::build(uma, &at.field("uma"), context, problems)),
    });
    let step = step(name, &spec.common, method, at, context, problems)?;
    let on_error = match spec.on_error.unwrap_or_default() {
        usher_api::OnMetadataError::Skip => OnMetadataError::Skip,
        usher_api::OnMetadataError::Deny => OnMetadataError::Deny,
    };
    Some(MetadataRule { step, on_error })
}
