//! Traces: where spans go, as flags say.

use std::time::Duration;

use clap::Args;
use usher_server::Tracing;
use usher_telemetry::{Endpoint, Settings};

use crate::settings::boolean;

/// Where spans go, and what describes this process there.
#[derive(Debug, Args)]
pub(crate) struct TracingOptions {
    /// Where spans of checks are sent: `rpc://HOST:PORT` for OTLP over gRPC, `http://HOST:PORT/PATH` for OTLP over HTTP.
    /// Empty: nowhere.
    #[arg(long, default_value = "", value_name = "URL", hide_default_value = true)]
    tracing_service_endpoint: Hidden,

    /// Send spans without TLS.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          action = clap::ArgAction::Set, value_parser = boolean, value_name = "BOOLEAN")]
    tracing_service_insecure: bool,

    /// What is said about this process together with its spans; may be repeated.
    #[arg(long, alias = "tracing-service-tags", value_name = "NAME=VALUE")]
    tracing_service_tag: Vec<String>,
}

/// A text that may hold a password.
#[derive(Clone)]
struct Hidden(String);

impl From<&str> for Hidden {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("(secret)")
    }
}

/// The least and the most time at the end for what was not sent yet. There may be nobody who takes it.
const LAST_CALL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

impl TracingOptions {
    /// Starts to record, if it is asked for. What is wrong with that is told, and nothing is recorded: checks go on.
    /// To be called within a runtime.
    pub(crate) fn start(&self) -> Tracing {
        let Hidden(endpoint) = &self.tracing_service_endpoint;
        if endpoint.is_empty() {
            return Tracing::default();
        }
        self.try_start(endpoint).unwrap_or_else(|error| {
            tracing::error!(error = crate::chain(&*error), "unable to set trace provider");
            Tracing::default()
        })
    }

    fn try_start(&self, endpoint: &str) -> Result<Tracing, Box<dyn std::error::Error>> {
        let settings = Settings {
            endpoint: Endpoint::parse(endpoint)?,
            insecure: self.tracing_service_insecure,
            tags: &self.tracing_service_tag,
            version: env!("CARGO_PKG_VERSION"),
        };
        let tracing = Tracing::start(&settings)?;
        tracing::info!(endpoint = %settings.endpoint, tls = !settings.insecure, "sending traces");
        Ok(tracing)
    }
}

/// Sends what was not sent yet, in the time that is left: a second at least, and a few at most.
pub(crate) async fn flush(tracing: &Tracing, left: Duration) {
    tracing.shutdown(left.clamp(LAST_CALL.0, LAST_CALL.1)).await;
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        options: TracingOptions,
    }

    fn parse(arguments: &[&str]) -> TracingOptions {
        Command::try_parse_from(["usher"].iter().chain(arguments)).unwrap().options
    }

    #[test]
    fn flags_have_both_spellings() {
        let options =
            parse(&["--tracing-service-insecure", "--tracing-service-tag=a=b,c", "--tracing-service-tags", "d"]);
        assert!(options.tracing_service_insecure);
        assert_eq!(options.tracing_service_tag, ["a=b,c", "d"]);
        assert!(!parse(&["--tracing-service-insecure=false"]).tracing_service_insecure);
        let endpoint = parse(&["--tracing-service-endpoint", "rpc://:hush@collector:4317"]);
        assert!(!format!("{endpoint:?}").contains("hush"), "{endpoint:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_used_turns_traces_off() {
        for endpoint in ["", "https://collector:4318", "collector:4317", "not a url", "rpc://"] {
            let tracing = parse(&["--tracing-service-endpoint", endpoint]).start();
            assert_eq!(format!("{tracing:?}"), "Tracing(off)", "{endpoint}");
        }
        for endpoint in ["rpc://collector:4317", "http://collector:4318/x"] {
            let tracing = parse(&["--tracing-service-endpoint", endpoint]).start();
            assert_eq!(format!("{tracing:?}"), "Tracing(on)", "{endpoint}");
            flush(&tracing, Duration::from_secs(60)).await;
        }
    }
}
