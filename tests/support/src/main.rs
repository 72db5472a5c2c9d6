//! `kubernetes-api-double`: an API server of Kubernetes for tests, as a process.
//!
//! When it can be called, it prints one line: `ready URL`. It runs until it gets SIGTERM or SIGINT.
//! Under `/double/` it has an interface that scripts reviews, sets faults, and shows the requests so far:
//!
//! ```text
//!  GET    /double/calls                      the requests so far
//!  DELETE /double/calls                      forget them
//!  PUT    /double/reviews                    {"tokenReviews": [{"match": {…}, "status": {…}}],
//!                                             "subjectAccessReviews": [{"match": {…}, "code": 500}]}
//!  GET    /double/reviews                    the reviews that were asked for
//!  PUT    /double/faults                     [{"code": 429, "verb": "list", "resource": "secrets", "times": 3},
//!                                             {"delayMilliseconds": 50}, {"hang": true}]
//!  DELETE /double/faults                     none any more
//!  POST   /double/compact                    forget the history: earlier versions are too old
//!  POST   /double/drop-watches               end all watches
//!  POST   /double/bookmarks                  send bookmarks
//!  POST   /double/away?milliseconds=500      be away for this time
//!  PUT    /double/token                      {"token": "…"} that requests must have, or null
//! ```
#![allow(clippy::indexing_slicing)]

use std::{
    error::Error,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use usher_test_support::{ApiServer, read_yaml};

/// An API server of Kubernetes for tests.
#[derive(Debug, Parser)]
#[command(name = "kubernetes-api-double")]
struct Options {
    /// Write a configuration for clients to this file.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// CustomResourceDefinitions, by whose schemas objects are pruned, completed, and checked. May be repeated.
    #[arg(long, value_name = "FILE")]
    crd: Vec<PathBuf>,
    /// ValidatingWebhookConfigurations. May be repeated; they can also be created while the server runs.
    #[arg(long, value_name = "FILE")]
    webhook_config: Vec<PathBuf>,
    /// Objects to begin with. May be repeated.
    #[arg(long, value_name = "FILE")]
    objects: Vec<PathBuf>,
    /// Where webhooks of a service are reached. May be repeated.
    #[arg(long, value_name = "NAMESPACE/NAME=HOST:PORT", value_parser = service)]
    service: Vec<Service>,
    /// Refuse requests without this bearer token.
    #[arg(long)]
    token: Option<String>,
    /// Listen on this port of the loopback interface; 0 for any.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Remember this many events of each kind.
    #[arg(long, value_name = "EVENTS", default_value_t = 100_000)]
    history: usize,
    /// Also end when the standard input is closed: with the process that started this one.
    #[arg(long)]
    until_stdin_closes: bool,
}

#[derive(Clone, Debug)]
struct Service {
    namespace: String,
    name: String,
    address: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let mut builder = ApiServer::builder().port(options.port).history(options.history);
    if let Some(token) = &options.token {
        builder = builder.token(token);
    }
    for path in &options.crd {
        builder = builder.definitions(&read(path)?);
    }
    let server = builder.try_start()?;
    for path in options.webhook_config.iter().chain(&options.objects) {
        for object in read_yaml(&read(path)?).map_err(|error| format!("`{}`: {error}", path.display()))? {
            let applied = server.try_apply(object);
            applied.map_err(|status| format!("`{}`: {}", path.display(), status["message"]))?;
        }
    }
    for service in &options.service {
        server.serve_service(&service.namespace, &service.name, &service.address);
    }
    if let Some(path) = &options.kubeconfig {
        std::fs::write(path, server.kubeconfig()).map_err(|error| format!("`{}`: {error}", path.display()))?;
    }
    println!("ready {}", server.url());
    io::stdout().flush()?;
    wait(options.until_stdin_closes)?;
    Ok(())
}

/// Waits until the program is to end.
fn wait(for_stdin: bool) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (closed, mut stdin) = tokio::sync::oneshot::channel();
        if for_stdin {
            std::thread::spawn(move || {
                let _ = io::stdin().read_to_end(&mut Vec::new());
                let _ = closed.send(());
            });
        }
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            Ok(()) = &mut stdin, if for_stdin => {}
        }
        Ok(())
    })
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("`{}`: {error}", path.display()))
}

fn service(text: &str) -> Result<Service, String> {
    let parts = text.split_once('=').and_then(|(service, address)| Some((service.split_once('/')?, address)));
    let ((namespace, name), address) = parts.ok_or("expected NAMESPACE/NAME=HOST:PORT")?;
    Ok(Service { namespace: namespace.to_owned(), name: name.to_owned(), address: address.to_owned() })
}
