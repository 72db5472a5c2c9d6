//! `usher-benches scale` runs from the beginning to the end, with numbers that mean nothing.

use std::{path::Path, process::Command};

use serde_json::Value;

#[test]
fn a_small_cluster_is_measured() {
    let benches = Path::new(env!("CARGO_BIN_EXE_usher-benches"));
    let usher = benches.with_file_name("usher");
    assert!(usher.is_file(), "`{}` is missing: build it with `cargo build -p usher-cli`", usher.display());
    let mut command = Command::new(benches);
    command.args(["scale", "--json", "--changes", "1", "--seconds", "1"]);
    command.args(["--auth-configs", "20", "--secrets", "40", "--other-secrets", "5"]).arg("--usher").arg(usher);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let measured: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (site, auth_configs, secrets) in [("small", 10, 100), ("large", 20, 40)] {
        let site = &measured[site];
        assert_eq!((&site["authConfigs"], &site["secrets"]), (&auth_configs.into(), &secrets.into()));
        let positive = |value: &Value| assert!(value.as_f64().is_some_and(|number| number > 0.0), "{site:#}");
        for name in ["ready", "listing", "listed", "cpuUntilReady"] {
            positive(&site[name]);
        }
        positive(&site["resident"]["ready"]);
        positive(&site["checks"]["withChanges"]["p99"]);
        let changes = site["changes"].as_array().unwrap();
        assert_eq!(changes.len(), 5);
        changes.iter().for_each(|change| positive(&change["effect"]["p50"]));
    }

    let refused = Command::new(benches).args(["scale", "--auth-configs", "100", "--secrets", "99"]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("--secrets"), "{said}");
}
