//! The commands, one file each.

pub(crate) mod check;
pub(crate) mod compiled;
pub(crate) mod crds;
pub(crate) mod doctor;
pub(crate) mod options;
pub(crate) mod output;
pub(crate) mod serve;
pub(crate) mod validate;
pub(crate) mod webhooks;

use clap::{Parser, Subcommand};

use crate::exit::Exit;

/// Usher decides for Envoy-based gateways whether a request may pass.
#[derive(Debug, Parser)]
#[command(name = "usher", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Command {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Serve authorization decisions.
    #[command(alias = "server")]
    Serve(Box<serve::Arguments>),
    /// Check configuration files and report everything that is wrong with them.
    Validate(validate::Arguments),
    /// Refuse AuthConfigs that would not compile: a validating admission webhook.
    Webhooks(Box<webhooks::Arguments>),
    /// Decide about one request, without a gateway.
    Check(Box<check::Arguments>),
    /// Find out what goes wrong between a gateway and Usher, and what a gateway must be told.
    Doctor(doctor::Arguments),
    /// Print the CustomResourceDefinition of AuthConfig.
    Crds,
    /// Print the version.
    Version,
}

/// Runs a command.
pub(crate) fn run(command: Command) -> Exit {
    match command.command {
        Subcommands::Serve(arguments) => serve::run(*arguments),
        Subcommands::Validate(arguments) => validate::run(&arguments),
        Subcommands::Webhooks(arguments) => webhooks::run(&arguments),
        Subcommands::Check(arguments) => check::run(*arguments),
        Subcommands::Doctor(arguments) => doctor::run(&arguments),
        Subcommands::Crds => crds::run(),
        Subcommands::Version => output::print(concat!("Usher v", env!("CARGO_PKG_VERSION"), "\n"), Exit::Ok),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// The arguments that deployments give, those of Authorino's operator first: they are appended to `usher server`.
    #[test]
    fn arguments_of_deployments_are_understood() {
        let cases: &[&[&str]] = &[
            &["--watch-namespace=ns1"],
            &[],
            &["--allow-superseding-host-subsets"],
            &[
                "--allow-superseding-host-subsets",
                "--tracing-service-endpoint=rpc://collector:4317",
                "--tracing-service-tag=a=b",
                "--tracing-service-insecure",
            ],
            &[
                "--log-level=debug",
                "--tls-cert=/etc/ssl/certs/tls.crt",
                "--tls-cert-key=/etc/ssl/private/tls.key",
                "--tls-min-version=1.3",
                "--deep-metrics-enabled",
                "--metrics-addr=:8181",
                "--enable-leader-election",
            ],
            &[
                "--watch-namespace=ns",
                "--auth-config-label-selector=a=b,c!=d,e in (x,y),!f",
                "--secret-label-selector=authorino.kuadrant.io/managed-by=authorino",
                "--allow-superseding-host-subsets",
                "--log-level=info",
                "--log-mode=production",
                "--timeout=300",
                "--ext-auth-grpc-port=50051",
                "--ext-auth-http-port=0",
                "--tls-cert=/etc/ssl/certs/tls.crt",
                "--tls-cert-key=/etc/ssl/private/tls.key",
                "--tls-min-version=1.2",
                "--tls-max-version=1.3",
                "--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_AES_128_GCM_SHA256",
                "--oidc-http-port=8083",
                "--oidc-tls-cert=/etc/ssl/certs/oidc.crt",
                "--oidc-tls-cert-key=/etc/ssl/private/oidc.key",
                "--oidc-tls-min-version=1.2",
                "--oidc-tls-max-version=1.3",
                "--oidc-tls-cipher-suites=TLS_AES_128_GCM_SHA256",
                "--evaluator-cache-size=1",
                "--tracing-service-endpoint=http://collector:4318",
                "--tracing-service-tag=a=b",
                "--tracing-service-tag=c=d",
                "--tracing-service-insecure",
                "--deep-metrics-enabled",
                "--metrics-addr=:8080",
                "--health-probe-addr=:8081",
                "--enable-leader-election",
                "--max-http-request-body-size=16384",
            ],
            &[
                "--deep-metrics-enabled=true",
                "--enable-leader-election=false",
                "--kube-client-qps",
                "50.5",
                "--kube-client-burst",
                "100",
                "--webhook-service-port=9443",
                "--pprof-bind-address=:8084",
                "--log-redact-add-field=a,b",
                "--log-redact-remove-field=token",
                "--log-redact-add-header=x-a",
                "--log-redact-remove-header=cookie",
                "--snapshot-dir=/snapshot",
            ],
        ];
        for arguments in cases {
            let command = Command::try_parse_from(["usher", "server"].iter().chain(*arguments));
            let Command { command: Subcommands::Serve(_) } = command.unwrap_or_else(|error| panic!("{error}")) else {
                panic!("{arguments:?}");
            };
        }
        for arguments in [&["server", "--kubeconfig=x"][..], &["server", "--secret-label-selector=a in"], &["validate"]]
        {
            assert!(Command::try_parse_from(["usher"].iter().chain(arguments)).is_err(), "{arguments:?}");
        }
    }

    /// The variables that deployments set, for older versions of Authorino's operator too.
    #[test]
    fn flags_have_the_variables_that_deployments_set() {
        let command = Command::command();
        let serve = command.find_subcommand("serve").unwrap();
        for variable in [
            "WATCH_NAMESPACE",
            "AUTH_CONFIG_LABEL_SELECTOR",
            "SECRET_LABEL_SELECTOR",
            "TIMEOUT",
            "EXT_AUTH_GRPC_PORT",
            "EXT_AUTH_HTTP_PORT",
            "TLS_CERT",
            "TLS_CERT_KEY",
            "TLS_MIN_VERSION",
            "TLS_MAX_VERSION",
            "TLS_CIPHER_SUITES",
            "OIDC_HTTP_PORT",
            "OIDC_TLS_CERT",
            "OIDC_TLS_CERT_KEY",
            "OIDC_TLS_MIN_VERSION",
            "OIDC_TLS_MAX_VERSION",
            "OIDC_TLS_CIPHER_SUITES",
            "EVALUATOR_CACHE_SIZE",
            "DEEP_METRICS_ENABLED",
            "MAX_HTTP_REQUEST_BODY_SIZE",
            "KUBE_CLIENT_QPS",
            "KUBE_CLIENT_BURST",
            "LOG_LEVEL",
            "LOG_MODE",
        ] {
            let flag = variable.to_ascii_lowercase().replace('_', "-");
            let argument = serve.get_arguments().find(|argument| argument.get_long() == Some(flag.as_str())).unwrap();
            assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(variable));
        }
    }
}
