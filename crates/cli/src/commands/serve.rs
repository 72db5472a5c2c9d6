//! `usher serve`: everything that listens, and the loop that keeps it up to date.

mod listen;
mod source;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use prometheus::{Registry, process_collector::ProcessCollector};
use tokio::{
    runtime::Handle,
    signal::unix::SignalKind,
    sync::{mpsc, watch},
};
use usher_compile::Workspace;

use self::{
    listen::{ListenOptions, Served},
    source::{ClusterOptions, Source, Started},
};
use super::options::ConfigOptions;
use crate::{
    Error,
    adapters::{Decider, Ready, TokenIssuers},
    exit::Exit,
    logs::LogOptions,
    redact::{RedactOptions, Redaction},
    runtime::{self, Intake},
    settings::Number,
    traces::{self, TracingOptions},
};

/// Serve authorization decisions.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A file or folder with AuthConfigs and Secrets; may be repeated. Without any, configuration comes from the
    /// Kubernetes cluster that the environment names.
    #[arg(long, value_name = "PATH")]
    config: Vec<PathBuf>,

    #[command(flatten)]
    options: ConfigOptions,

    #[command(flatten)]
    cluster: ClusterOptions,

    #[command(flatten)]
    listen: ListenOptions,

    /// The most seconds to wait for running checks and callbacks when the process is asked to end. Default: 20.
    #[arg(long, env = "SHUTDOWN_GRACE", default_value = "20", value_name = "SECONDS")]
    shutdown_grace: Number<u64>,

    #[command(flatten)]
    logs: LogOptions,

    #[command(flatten)]
    redact: RedactOptions,

    #[command(flatten)]
    tracing: TracingOptions,
}

/// Runs the command until the process is asked to end.
pub(crate) fn run(arguments: Arguments) -> Exit {
    arguments.logs.start();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(error = crate::chain(&error), "cannot start");
            return Exit::Invalid;
        }
    };
    let ended = runtime.block_on(serve(arguments));
    // What still runs in the background has nothing to finish.
    runtime.shutdown_background();
    match ended {
        Ok(()) => Exit::Ok,
        Err(error) => {
            tracing::error!(error = crate::chain(&*error), "ended by an error");
            Exit::Invalid
        }
    }
}

async fn serve(arguments: Arguments) -> Result<(), Error> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "build information");
    let (registry, server_registry) = (Registry::new(), Registry::new());
    for registry in [&registry, &server_registry] {
        registry.register(Box::new(ProcessCollector::for_self()))?;
    }
    let source = Source::new(&arguments.config, &arguments.options, &arguments.cluster, &registry)?;
    let compiler_options = source.compiler_options(&arguments.options, &arguments.cluster);
    let compiler = runtime::compiler(compiler_options, &server_registry)?;
    let resources = Arc::clone(&compiler.resources);
    let workspace = Workspace::new(compiler, arguments.options.allow_superseding_host_subsets, source.secrets());
    let decider = Arc::new(Decider::new(Redaction::new(&arguments.redact)));
    let ready = Arc::new(Ready::new(source.health()));

    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt())?;
    let issuers = Arc::new(TokenIssuers::default());
    let traces = arguments.tracing.start();
    let served = Served {
        decider: Arc::clone(&decider),
        issuers: Arc::clone(&issuers),
        ready: Arc::clone(&ready),
        registry,
        server_registry,
        tracing: traces.clone(),
    };
    let running = listen::listen(&arguments.listen, served).await?;

    let (sender, receiver) = mpsc::channel(16);
    let Started { mut watch, cluster, beside } = source.start(sender);
    let intake = Intake {
        workspace,
        resources,
        decider: Arc::clone(&decider),
        issuers,
        ready,
        cluster,
        waiting: watch::Sender::new(false),
        runtime: Handle::current(),
    };
    let mut take_in = tokio::task::spawn_blocking(move || intake.run(receiver));

    // Without its configuration loop the process would serve old rules for ever and look healthy: it ends instead.
    let ended: Result<(), Error> = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        watched = &mut watch => Err(match watched {
            Ok(Err(error)) => error.into(),
            Ok(Ok(())) => "the source of configuration ended".into(),
            Err(error) => error.into(),
        }),
        taken_in = &mut take_in => Err(match taken_in {
            Ok(()) => "taking in configuration ended".into(),
            Err(error) => error.into(),
        }),
    };
    tracing::info!("draining");
    watch.abort();
    let grace = Duration::from_secs(arguments.shutdown_grace.or_default("shutdown-grace", 20));
    let drained = running.into_iter().map(|server| server.shutdown(grace));
    let started = Instant::now();
    let drain_all = async {
        let cut: usize = futures_util::future::join_all(drained).await.into_iter().sum();
        let callbacks_dropped = decider.callbacks.flush(grace.saturating_sub(started.elapsed())).await;
        // All spans have ended by now.
        traces::flush(&traces, grace.saturating_sub(started.elapsed())).await;
        if let Some(beside) = beside {
            beside.end().await;
        }
        (cut, callbacks_dropped)
    };
    let (cut, callbacks_dropped) = tokio::select! {
        stopped = drain_all => stopped,
        _ = terminate.recv() => return ended,
        _ = interrupt.recv() => return ended,
    };
    tracing::info!(cut, callbacks_dropped, "stopped");
    ended
}
