use clap::{Parser, ValueEnum};

use super::{score::Found, *};
use crate::commands::doctor::causes;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

fn parse(arguments: &str) -> Arguments {
    match Command::try_parse_from(["test".to_owned()].into_iter().chain(words(arguments))) {
        Ok(command) => command.arguments,
        Err(error) => panic!("{arguments}: {error}"),
    }
}

/// The words of a command line; what stands between single quotation marks is one.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in line.split('\'').enumerate() {
        match number % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

fn diagnose(arguments: &Arguments) -> Vec<Found> {
    score::found(&Seen::of(arguments))
}

/// The titles of what fits, most likely first.
fn titles(arguments: &str) -> Vec<&'static str> {
    diagnose(&parse(arguments)).into_iter().map(|found| found.cause.title).collect()
}

/// What is printed.
fn told(arguments: &Arguments) -> String {
    answer(arguments).unwrap().0
}

/// What people see, and what it is.
#[test]
fn the_most_likely_cause_comes_first() {
    let mut named = std::collections::BTreeSet::new();
    let http1 = "The gateway speaks HTTP/1.1 to Usher";
    for (seen, expected) in [
        ("--status 403 --checks 0 --details ext_authz_error --gateway kgateway", http1),
        ("--status 503 --checks 0 --after 3ms --gateway kgateway", http1),
        ("--status 403 --checks 0", http1),
        ("--log 'a client does not speak HTTP/2; …'", http1),
        ("--checks 0 --gateway agentgateway", "The gateway does not reach Usher"),
        ("--status 403 --checks 0 --gateway envoy-gateway", "The gateway does not reach Usher"),
        ("--status 403 --checks 0 --gateway agentgateway", "The gateway does not reach Usher"),
        ("--status 500 --checks 0 --gateway kgateway", "What a policy refers to is missing or not permitted"),
        ("--status 403 --after 200ms --gateway kgateway", "The gateway waits for 200 ms only"),
        ("--status 503 --after 0.204s", "The gateway waits for 200 ms only"),
        ("--status 403 --after 10s --gateway envoy-gateway", "Usher does not answer within 10 seconds"),
        ("--status 403 --after 10s --gateway istio", "No connection to Usher within 10 seconds"),
        ("--status 403 --after 10s --gateway istio --checks 0", "No connection to Usher within 10 seconds"),
        ("--status 403 --after 10s --gateway istio --checks 1", "Usher does not answer in time"),
        ("--status 403 --after 10s --gateway envoy-gateway --checks 1", "Usher does not answer within 10 seconds"),
        ("--status 503 --after 11s --gateway agentgateway", "No connection to Usher within 10 seconds"),
        (
            "--status 503 --after 11s --gateway agentgateway --body 'Authorization service unavailable'",
            "No connection to Usher within 10 seconds",
        ),
        ("--status 403 --after 600s", "The gateway waits for ten minutes, or without end"),
        ("--observed hangs --gateway istio", "The gateway waits for ten minutes, or without end"),
        ("--observed hangs --checks 0 --gateway kgateway", "The gateway waits for the end of a body"),
        ("--observed hangs --checks 1 --status none --gateway envoy", "A header breaks the answer"),
        ("--observed only-first --status 403", "Only the first requests are late"),
        ("--observed sometimes --status 403 --details ext_authz_error", "Some requests fail while pods are replaced"),
        ("--log 'a client speaks TLS to a port without it'", "One side speaks TLS and the other does not"),
        ("--status 404 --reason 'Service not found'", "No AuthConfig has the host"),
        ("--status 404 --checks 1 --details ext_authz_denied", "No AuthConfig has the host"),
        ("--status 404 --checks 0 --details route_not_found", "The gateway has no route"),
        ("--status 404 --reason '' --checks 1 --details via_upstream", "The upstream answers"),
        ("--status 401 --reason 'credential not found'", "There is no credential where the rule looks for it"),
        ("--status 401 --reason 'the API Key provided is invalid'", "The credential is not accepted"),
        ("--status 401 --observed preflight", "Requests of browsers ask first, without a credential"),
        ("--status 401 --observed header-missing --gateway kgateway", "A list of headers is too short"),
        ("--status 403 --reason Unauthorized", "A rule denies the request"),
        ("--status 503 --reason 'userinfo request failed (4711)'", "It cannot be decided"),
        ("--status 503 --reason 'configuration is invalid (1)'", "The AuthConfig does not compile"),
        ("--status 503 --reason 'configuration is being loaded'", "The configuration is still being loaded"),
        ("--status 503 --reason 'requests nested too deep (1)'", "Requests of rules lead back to rules"),
        ("--log 'is a short name that several AuthConfigs claim'", "A short name belongs to several Services"),
        ("--status 400 --reason 'Invalid request'", "The check cannot be read"),
        ("--status 413", "The body is longer than the gateway collects"),
        ("--observed sometimes --status 503 --after 2ms", "The gateway may not ask so often at a time"),
        ("--observed uneven", "One replica gets all checks"),
        ("--observed changes-lost", "What Usher adds does not arrive"),
        ("--observed metadata-missing --gateway kgateway", "Metadata of the gateway does not arrive"),
        ("--observed passes --observed other-path", "The path is written in another way"),
        ("--observed body-missing", "The body does not arrive, or not all of it"),
        ("--status 200 --observed grpc-client", "A client of gRPC sees status 200"),
        ("--checks 2", "Two policies ask about the same request"),
        ("--observed passes --checks 0 --gateway kgateway", "The route is not protected"),
        (
            "--observed passes --checks 0 --observed sometimes --gateway agentgateway",
            "The gateway answers from its cache",
        ),
        ("--observed passes --details ext_authz_error", "The gateway lets requests pass when a check fails"),
        ("--observed passes --checks 1 --reason ''", "The AuthConfig lets the request pass"),
        ("--observed passes --log 'host already taken'", "Another AuthConfig decides"),
        ("--observed identity-missing --gateway istio-waypoint", "A waypoint does not say who calls"),
        (
            "--status 401 --reason 'client certificate is missing'",
            "The gateway does not pass the client's certificate on",
        ),
        ("--status 401 --reason 'several XFCC elements found'", "A header names several callers"),
        ("--status 403 --body 'RBAC: access denied'", "Another policy of the mesh denies"),
        (
            "--status 403 --checks 0 --details rbac_access_denied_matched_policy[deny-due-to-bad-CUSTOM-action] --gateway istio",
            "The provider is not known to the mesh",
        ),
        ("--status 503 --details filter_removed_required_request_headers", "A header breaks the request on its way"),
        ("--status 500 --details ext_authz_invalid --gateway envoy", "The gateway refuses what Usher changes"),
        (
            "--status 403 --gateway agentgateway --body 'external authorization failed'",
            "The gateway does not reach Usher",
        ),
        (
            "--status 403 --gateway agentgateway --body 'external authorization failed' --checks 0",
            "The gateway does not reach Usher",
        ),
        (
            "--status 403 --gateway agentgateway --body 'external authorization failed' --after 1s",
            "Usher does not answer in time",
        ),
        (
            "--status 503 --gateway agentgateway --checks 0 --body 'Authorization service unavailable'",
            "The gateway does not reach Usher",
        ),
        ("--status 503 --body 'Authorization service unavailable'", "The gateway does not reach Usher"),
        (
            "--status 503 --gateway agentgateway --checks 1 --body 'Authorization service unavailable'",
            "It cannot be decided",
        ),
        (
            "--status 503 --gateway agentgateway --after 1s --body 'Authorization service unavailable'",
            "Usher does not answer in time",
        ),
        ("--status 503 --after 1s --gateway kgateway", "Usher does not answer in time"),
        ("--status 503 --after 1s --gateway istio", "Usher does not answer in time"),
        ("--status 503 --after 1s --gateway istio --details ext_authz_error", "Usher does not answer in time"),
        ("--status 503 --after 1s --log 'the deadline of the check passed'", "Usher does not answer in time"),
        ("--log 'the deadline has passed'", "Usher does not answer in time"),
        ("--status 503 --reason '' --checks 1", "It cannot be decided"),
        ("--status 403 --checks 1 --details ext_authz_error --gateway agentgateway", "It cannot be decided"),
        (
            "--status 403 --checks 1 --body 'external authorization failed' --gateway agentgateway",
            "It cannot be decided",
        ),
        ("--status 431 --details http1.headers_too_large", "The gateway refuses the request before it asks"),
        ("--status 401 --gateway istio-waypoint", "A waypoint does not say who calls"),
        ("--status 401 --gateway waypoint", "A waypoint does not say who calls"),
        ("--gateway istio-waypoint --reason 'the trust domain is not accepted'", "A waypoint does not say who calls"),
        ("--reason 'no SPIFFE identity found in XFCC header'", "A waypoint does not say who calls"),
        ("--observed hangs --gateway agentgateway", "The gateway waits for ten minutes, or without end"),
        ("--status 403 --checks 0 --reason Unauthorized --gateway agentgateway", "The gateway has kept a denial"),
        ("--status 302 --reason 'credential not found'", "There is no credential where the rule looks for it"),
        ("--status 429 --reason 'the API Key provided is invalid'", "The credential is not accepted"),
        ("--status 404 --log '{\"response\":\"PERMISSION_DENIED\"}'", "A rule denies the request"),
        (
            "--log '{\"response\":\"UNAVAILABLE\",\"reason\":\"requests nested too deep (1)\"}'",
            "Requests of rules lead back to rules",
        ),
        ("--log '\"reason\":\"requests nested too deep\"'", "Requests of rules lead back to rules"),
        (
            "--log '{\"response\":\"UNAVAILABLE\",\"reason\":\"configuration is invalid (1)\",\"detail\":\"`a` is a short name that several AuthConfigs claim\"}'",
            "A short name belongs to several Services",
        ),
        ("--log 'is a short name'", "A short name belongs to several Services"),
        ("--log 'waiting for a Secret: its hosts answer 503'", "The configuration is still being loaded"),
        ("--log 'cannot be fetched'", "Only the first requests are late"),
        ("--log draining", "Some requests fail while pods are replaced"),
        ("--log 'speaks TLS'", "One side speaks TLS and the other does not"),
        ("--log 'route already taken' --status 404", "No AuthConfig has the host"),
        ("--status 400 --details path_normalization_failed", "The gateway refuses the request before it asks"),
        ("--status 400 --details http1.unexpected_underscore", "The gateway refuses the request before it asks"),
        ("--status 500 --body 'invalid route configuration'", "What a policy refers to is missing or not permitted"),
        ("--status 503 --gateway envoy-gateway", "The gateway does not reach Usher"),
    ] {
        let found = titles(seen);
        assert_eq!(found.first(), Some(&expected), "{seen}: {found:?}");
        named.insert(expected);
    }
    // A quotation mark in it is none of a command line here.
    let arguments = Command::try_parse_from(["test", "--log", "host is nobody's"]).unwrap().arguments;
    assert_eq!(diagnose(&arguments)[0].cause.title, "A short name belongs to several Services");
    for cause in causes::all() {
        assert!(named.contains(cause.title), "nothing leads to `{}`", cause.title);
    }
}

#[test]
fn what_contradicts_is_left_out() {
    for (seen, excluded) in [
        ("--status 403 --checks 1", "The gateway speaks HTTP/1.1 to Usher"),
        ("--status 403 --checks 0 --gateway envoy-gateway", "The gateway speaks HTTP/1.1 to Usher"),
        ("--status 403 --checks 0 --reason Unauthorized", "The gateway does not reach Usher"),
        ("--status 403 --after 1ms", "The gateway waits for 200 ms only"),
        ("--status 403 --after 10s --checks 1", "No connection to Usher within 10 seconds"),
        ("--status 403 --after 10s --gateway agentgateway", "Usher does not answer within 10 seconds"),
        ("--status 403 --body 'RBAC: access denied'", "The gateway does not reach Usher"),
        ("--status 404 --reason ''", "No AuthConfig has the host"),
        ("--observed passes", "The gateway speaks HTTP/1.1 to Usher"),
        ("--status 403", "The route is not protected"),
        ("--status 302", "There is no credential where the rule looks for it"),
        ("--status 200 --reason Unauthorized", "A rule denies the request"),
        ("--status 403 --body 'denied by a rule'", "The gateway does not reach Usher"),
        ("--status 403 --after 200ms", "Usher does not answer in time"),
        ("--status 400 --details path_normalization_failed", "The check cannot be read"),
        ("--status 503 --observed sometimes --gateway agentgateway", "The gateway may not ask so often at a time"),
    ] {
        assert!(!titles(seen).contains(&excluded), "{seen}");
    }
    assert!(titles("--status 204").is_empty());
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (wrong, expected) in [
        ("", "Usage"),
        ("--gateway kgateway", "required"),
        ("--status 1000", "no status such as `403`"),
        ("--after soon", "no time such as `200ms`"),
        ("--after 5", "no time such as"),
        ("--after 5h", "no time such as"),
        ("--after 9999999min", "no time such as"),
        ("--checks many", "`many` is no number such as `0` or `1`"),
        ("--checks=-1", "no number such as"),
        ("--after=-1s", "no time such as"),
        ("--after 1e99s", "no time such as"),
        ("--after NaNs", "no time such as"),
        ("--host a.test", "--config"),
        ("--config a --status 403", "--host"),
        ("--gateway nginx --status 403", "possible values"),
    ] {
        let parsed = Command::try_parse_from(["test".to_owned()].into_iter().chain(words(wrong)));
        let error = parsed.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{wrong}: {error}");
    }
    for (time, expected) in [("0.2s", 200), ("200ms", 200), ("5m", 300_000), ("1min", 60_000), ("1 sec", 1000)] {
        assert_eq!(super::time(time).unwrap(), Duration::from_millis(expected), "{time}");
    }
    let long = "a.".repeat(20_000);
    let error = Command::try_parse_from(["test", "--config", "a", "--host", &long]).unwrap_err().to_string();
    assert!(error.contains("hosts have at most 255 bytes"), "{}", error.len());
    assert!(Command::try_parse_from(["test", "--config", "a", "--host", &long[..255]]).is_ok());
    let error = Command::try_parse_from(["test", "--config", "a", "--host", "a\nb"]).unwrap_err().to_string();
    assert!(error.contains("no control characters"), "{error}");
}

#[test]
fn a_diagnosis_says_why_how_to_make_sure_and_what_to_change() {
    let text = told(&parse("--status 403 --checks 0 --details ext_authz_error --gateway kgateway"));
    for expected in [
        "1. The gateway speaks HTTP/1.1 to Usher\n   fits: gateway kgateway, status 403, 0 checks, details ext_authz_error\n",
        "   make sure:\n   - Usher's log has `a client does not speak HTTP/2`",
        "   change:\n   - `appProtocol: kubernetes.io/h2c` at the port of the Service.",
        "2. The gateway does not reach Usher\n",
        "also possible:\n   Usher does not answer in time\n",
        "\n\nto tell them apart, say `x-ext-auth-reason` (`--reason`), how long it took (`--after`)\n",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    // What is for other gateways is left out, and so are links.
    assert!(!text.contains("http2_protocol_options") && !text.contains("]("), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
    let text = told(&parse("--status 404 --reason 'Service not found'"));
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("see Status (docs/status.md).") && text.contains("Istio, Istio waypoint: `hostAliases"),
        "{text}"
    );
}

#[test]
fn a_line_of_the_log_is_not_dropped_without_a_word() {
    let told = |seen: &str| told(&parse(seen));
    for (seen, expected) in [
        (
            "--log 'something odd' --status 503",
            "\n\nnothing is known about `something odd` in the log: it was left out\n",
        ),
        ("--log odd", "nothing is known about `odd` in the log"),
        // Too short to say anything.
        ("--log 'a c' --status 503", "nothing is known about `a c` in the log"),
        (
            "--log 'a client does not speak HTTP/2' --checks 1 --status 403",
            "`a client does not speak HTTP/2` in the log speaks for \"The gateway speaks HTTP/1.1 to Usher\", which something else contradicts",
        ),
    ] {
        assert!(told(seen).ends_with(expected) || told(seen).contains(expected), "{seen}: {}", told(seen));
    }
    assert!(!told("--log 'requests nested too deep'").contains("in the log:"));
}

#[test]
fn what_was_seen_is_shown_on_one_line_and_not_too_long() {
    let log = format!("PERMISSION_DENIED \u{1b}[31m\n{}", "x".repeat(10_000));
    let arguments = Command::try_parse_from(["test", "--log", &log, "--body", "a\n\u{7}b"]).unwrap().arguments;
    let text = told(&arguments);
    let fits = text.lines().find(|line| line.trim_start().starts_with("fits: ")).unwrap();
    assert!(fits.contains("PERMISSION_DENIED \\u{1b}[31m\\nxxx") && fits.contains("xx…"), "{fits}");
    assert!(fits.chars().count() < 150, "{fits}");
    assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()), "{text:?}");
}

#[test]
fn everything_that_can_be_observed_leads_somewhere() {
    for observed in Observed::value_variants() {
        let name = observed.name();
        let fits = format!("fits: {name}\n");
        let text = told(&parse(&format!("--observed {name}")));
        assert!(text.contains(&fits), "{name}: {text}");
        let (_, exit) = answer(&parse(&format!("--observed {name}"))).unwrap();
        assert_eq!(exit, Exit::Ok, "{name}");
    }
}

#[test]
fn every_gateway_can_be_named() {
    for gateway in Gateway::value_variants() {
        let name = gateway.to_possible_value().unwrap().get_name().to_owned();
        let found = diagnose(&parse(&format!("--status 503 --checks 0 --gateway {name}")));
        assert!(!found.is_empty(), "{name}");
        for Found { cause, .. } in found {
            assert!(
                cause.signs.gateways.is_empty() || cause.signs.gateways.contains(gateway),
                "{name}: {}",
                cause.title
            );
        }
    }
}

#[test]
fn a_gateway_alone_is_nothing_that_was_seen() {
    let seen = |more: &str| {
        let arguments = parse(&format!("--config a --host a.test --gateway kgateway {more}"));
        !Seen::of(&arguments).is_nothing()
    };
    assert!(!seen(""));
    for more in [
        "--status 403",
        "--after 1s",
        "--checks 0",
        "--details a",
        "--body ''",
        "--reason ''",
        "--log a",
        "--observed hangs",
    ] {
        assert!(seen(more), "{more}");
    }
}
