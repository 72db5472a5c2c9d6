//! The CustomResourceDefinition of AuthConfigs.

use serde_json::{Value, json};

use crate::KIND;
use crate::schema::Schema;

/// The schema of an AuthConfig as the Kubernetes API uses it ("structural": OpenAPI v3 without references).
pub fn schema() -> Value {
    json!({
        "description": "Which hosts are protected, and what must hold for requests to them.",
        "type": "object",
        "properties": {
            "apiVersion": {
                "description": "Version of the schema of this object.",
                "type": "string",
            },
            "kind": {
                "description": "Kind of this object.",
                "type": "string",
            },
            "metadata": {
                "type": "object",
            },
            "spec": described("What is asked for.", Schema::spec()),
            "status": described("What is reported about it.", Schema::status()),
        },
    })
}

fn described(description: &str, schema: &Schema) -> Value {
    let mut schema = schema.clone();
    schema.description = Some(description.to_owned());
    schema.to_json()
}

/// The CustomResourceDefinition of AuthConfigs, for `apiextensions.k8s.io/v1`.
pub fn crds() -> Value {
    let column = |name: &str, path: &str, kind: &str, priority: u8| {
        let mut column = json!({"jsonPath": format!(".status.summary.{path}"), "name": name, "type": kind});
        if let (Some(column), 1..) = (column.as_object_mut(), priority) {
            column.insert("priority".to_owned(), priority.into());
        }
        column
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "authconfigs.authorino.kuadrant.io",
        },
        "spec": {
            "group": "authorino.kuadrant.io",
            "names": {
                "kind": KIND,
                "listKind": "AuthConfigList",
                "plural": "authconfigs",
                "singular": "authconfig",
            },
            "scope": "Namespaced",
            "versions": [{
                "additionalPrinterColumns": [
                    column("Ready", "ready", "string", 0),
                    column("Hosts", "numHostsReady", "string", 0),
                    column("Authentication", "numIdentitySources", "integer", 2),
                    column("Metadata", "numMetadataSources", "integer", 2),
                    column("Authorization", "numAuthorizationPolicies", "integer", 2),
                    column("Response", "numResponseItems", "integer", 2),
                    column("Wristband", "festivalWristbandEnabled", "boolean", 2),
                ],
                "name": "v1beta3",
                "schema": {
                    "openAPIV3Schema": schema(),
                },
                "served": true,
                "storage": true,
                "subresources": {
                    "status": {},
                },
            }],
        },
    })
}

/// [`crds`] as YAML.
pub fn crds_yaml() -> String {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    // Writing JSON as YAML cannot fail; JSON would be YAML as well.
    serde_saphyr::to_string_with_options(&crds(), options).unwrap_or_else(|_| crds().to_string())
}
