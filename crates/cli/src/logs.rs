//! Logging: one JSON object a line for machines, one readable line for people. Always to standard error.

use std::{fmt, io::IsTerminal as _};

use clap::Args;
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// What is logged, and how.
#[derive(Debug, Args)]
pub(crate) struct LogOptions {
    /// What is logged: debug, info, warn or error.
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    log_level: String,

    /// How log lines look: production (JSON) or development.
    #[arg(long, env = "LOG_MODE", default_value = "production", ignore_case = true)]
    log_mode: LogMode,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogMode {
    /// JSON with the members `level`, `ts`, `logger`, `msg`, then the fields.
    Production,
    /// Readable lines.
    Development,
}

impl LogOptions {
    /// Starts logging. The levels dpanic, panic and fatal mean error, an unknown one means info.
    pub(crate) fn start(&self) {
        let level = match self.log_level.to_ascii_lowercase().as_str() {
            "debug" => Level::DEBUG,
            "warn" => Level::WARN,
            "error" | "dpanic" | "panic" | "fatal" => Level::ERROR,
            _ => Level::INFO,
        };
        // Libraries speak only when something is wrong, unless the usual variable asks for more. The Kubernetes client takes
        // every answer that is no success for an error of its own; whoever asked says what came of it.
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
            EnvFilter::new(format!("warn,kube_client::client::builder=off,usher={level},{}", crates_at(level)))
        });
        // A line that cannot be written is lost. To say so in the same place would fail too, and end what is being done.
        let builder =
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
        // A second call (in tests) changes nothing.
        let _ = match self.log_mode {
            LogMode::Production => builder.event_format(Json).try_init(),
            LogMode::Development => builder.with_ansi(std::io::stderr().is_terminal()).compact().try_init(),
        };
    }
}

fn crates_at(level: Level) -> String {
    ["engine", "evaluators", "compile", "source", "kubernetes", "server", "telemetry", "expr", "api"]
        .map(|name| format!("usher_{name}={level}"))
        .join(",")
}

/// One JSON object a line.
struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut line = Map::new();
        line.insert("level".to_owned(), metadata.level().as_str().to_ascii_lowercase().into());
        line.insert("ts".to_owned(), chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true).into());
        line.insert("logger".to_owned(), metadata.target().replace("::", ".").into());
        line.insert("msg".to_owned(), Value::from(""));
        event.record(&mut Members(&mut line));
        writeln!(writer, "{}", Value::Object(line))
    }
}

struct Members<'a>(&'a mut Map<String, Value>);

impl Members<'_> {
    fn set(&mut self, field: &Field, value: Value) {
        let name = if field.name() == "message" { "msg" } else { field.name() };
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Members<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}").into());
    }
}
