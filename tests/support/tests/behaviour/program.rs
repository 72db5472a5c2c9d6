//! The program `kubernetes-api-double`.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::client::{AUTHCONFIGS, DEFINITION, ask_url, auth_config};

/// Ends the program with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn it_serves_until_its_input_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    std::fs::write(file("crd.yaml"), DEFINITION).unwrap();
    std::fs::write(file("objects.yaml"), format!("---\n{}\n---\n", auth_config("one", "a.test"))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubernetes-api-double"));
    command.arg("--kubeconfig").arg(file("kubeconfig")).arg("--crd").arg(file("crd.yaml"));
    command.arg("--objects").arg(file("objects.yaml")).args(["--token", "t", "--until-stdin-closes"]);
    let mut running = Running(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim_end().strip_prefix("ready ").expect("the line");

    let config: Value = serde_json::from_slice(&std::fs::read(file("kubeconfig")).unwrap()).unwrap();
    assert_eq!(config["clusters"][0]["cluster"]["server"], url);
    assert_eq!(config["users"][0]["user"]["token"], "t");
    ask_url(url, "GET", format!("{AUTHCONFIGS}/one")).expect(401).await;
    let ask = |method, path: String| ask_url(url, method, path).header("authorization", "Bearer t");
    ask("GET", format!("{AUTHCONFIGS}/one")).expect(200).await;
    ask("PATCH", format!("{AUTHCONFIGS}/one")).merge(&json!({"spec": {"hosts": null}})).expect(422).await;

    drop(running.0.stdin.take());
    assert!(running.0.wait().unwrap().success());
}
