//! A process that is a cluster: the API server of the tests, with objects in it. It has a process of its own so that
//! what it uses is not counted as anybody else's.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use usher_test_support::ApiServer;

use super::objects::Size;

/// What is in it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// AuthConfigs.
    #[arg(long)]
    auth_configs: usize,

    /// Secrets with API keys.
    #[arg(long)]
    secrets: usize,

    /// Other Secrets.
    #[arg(long)]
    other_secrets: usize,

    /// Where to write a configuration for clients.
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
}

impl Arguments {
    /// The command line of the process.
    pub(super) fn command_line(size: Size, kubeconfig: &std::path::Path) -> [String; 6] {
        let Size { auth_configs, secrets, other_secrets } = size;
        [
            "cluster".to_owned(),
            format!("--auth-configs={auth_configs}"),
            format!("--secrets={secrets}"),
            format!("--other-secrets={other_secrets}"),
            "--kubeconfig".to_owned(),
            kubeconfig.display().to_string(),
        ]
    }
}

/// The schema of AuthConfigs, as it is installed.
const DEFINITION: &str = include_str!("../../../deploy/crds/authconfigs.yaml");

/// Who leads: nobody that runs. The server that is measured is to write no statuses.
pub(super) const LEADER: &str = "another-replica";

/// The collection of the Leases of the namespace that the configuration for clients names.
pub(super) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

/// The name of the Lease of servers without a label selector.
pub(super) const LEASE: &str = "e3b0c442.authorino.kuadrant.io";

/// Serves until the standard input is closed. Prints the address on a line of its own when everything is there.
pub(crate) fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    let server = filled(Size {
        auth_configs: arguments.auth_configs,
        secrets: arguments.secrets,
        other_secrets: arguments.other_secrets,
    });
    std::fs::write(&arguments.kubeconfig, server.kubeconfig())?;
    let url = server.url();
    let mut out = std::io::stdout();
    writeln!(out, "{}", url.strip_prefix("http://").unwrap_or(&url))?;
    out.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// A cluster with so many objects, and a Lease that somebody else holds for longer than anything is measured.
fn filled(size: Size) -> ApiServer {
    let server = ApiServer::builder().definitions(DEFINITION).start();
    server.load([json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": LEASE, "namespace": "default"},
        "spec": {
            "holderIdentity": LEADER,
            "leaseDurationSeconds": 24 * 3600,
            "acquireTime": "2026-01-02T03:04:05.000000Z",
            "renewTime": "2026-01-02T03:04:05.000000Z",
            "leaseTransitions": 0,
        },
    })]);
    for part in size.objects() {
        server.load(part);
    }
    server
}

#[cfg(test)]
mod tests {
    use super::super::api::{Api, View};
    use super::*;

    #[tokio::test]
    async fn everything_is_there_and_in_order() {
        let server = filled(Size { auth_configs: 20, secrets: 1100, other_secrets: 3 });
        assert_eq!(server.objects("authconfigs").len(), 20);
        assert_eq!(server.objects("secrets").len(), 2 + 1100 + 3);
        let hosts = server.objects("authconfigs").iter().filter(|it| it["spec"]["hosts"][0].is_string()).count();
        assert_eq!(hosts, 20, "nothing is dropped by the schema");

        let address = server.url().strip_prefix("http://").unwrap().parse().unwrap();
        let mut api = Api::connect(address).await.unwrap();
        let full = api.list("/api/v1/secrets?labelSelector=owner!%3Dhelm", View::Full).await.unwrap();
        let metadata = api.list("/api/v1/secrets?labelSelector=owner!%3Dhelm", View::Metadata).await.unwrap();
        assert!(full > 1102 * 600 && metadata < full, "all pages: {full}, {metadata}");
        assert_eq!(server.count("list", "secrets"), 6);
        assert!(api.list("/api/v1/nothing", View::Full).await.is_err());
    }
}
