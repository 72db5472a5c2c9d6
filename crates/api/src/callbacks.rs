//! `spec.callbacks`: whom to tell about the decision.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::rules::not_published_below;
use crate::{CommonEvaluatorSpec, HttpEndpointSpec};

/// An HTTP request that is sent once the decision is made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
// The CustomResourceDefinition that users know accepts any condition here. What makes no sense is refused when read.
#[schemars(transform = not_published_below("when"))]
pub struct CallbackSpec {
    /// Priority, condition and metrics. A cache may be given but means nothing here.
    #[serde(flatten)]
    pub common: CommonEvaluatorSpec,
    /// The HTTP request.
    pub http: HttpEndpointSpec,
}
