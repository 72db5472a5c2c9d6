//! One trace from the gateway to whoever is asked.

use super::{Gateway, HOST, KEY, TALKER};
use crate::support::{collector::Collector, envoy::Setup, upstream::Upstream, usher::Usher};

/// What Envoy calls its own call of the check.
const CHECK: &str = "envoy.service.auth.v3.Authorization.Check";

#[test]
fn our_spans_are_below_the_gateways_call_of_the_check() {
    let (collector, asked) = (Collector::start(), Upstream::start());
    let config = TALKER.replacen(
        "  authorization:\n",
        &format!(
            "  metadata:\n    echo: {{http: {{url: \"http://127.0.0.1:{}/\"}}}}\n  authorization:\n",
            asked.port()
        ),
        1,
    );
    let config = config.replacen(
        "        x-user: ",
        "        x-asked-in: {plain: {selector: auth.metadata.echo.headers.traceparent}}\n        x-user: ",
        1,
    );
    let endpoint = format!("http://127.0.0.1:{}", collector.port());
    let usher = Usher::start_with(&config, &["--tracing-service-endpoint", &endpoint, "--tracing-service-insecure"]);
    let setup = Setup { collector: Some(collector.port()), ..Setup::default() };
    let Some(gateway) = Gateway::start_with(usher, &setup) else { return };

    // The client's own trace goes on in the gateway, whose call of the check is one hop further.
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let traceparent = format!("00-{trace}-b7ad6b7169203331-01");
    let response = gateway.envoy.get(HOST, "/hello", &[KEY, ("traceparent", &traceparent)]);
    assert_eq!(response.status, 200, "{}", response.text());

    let egress = collector.wait_for("envoy", |name| name.contains(CHECK));
    let server = collector.wait_for("usher", |name| name == "envoy.service.auth.v3.Authorization/Check");
    let check = collector.wait_for("usher", |name| name == "Check");
    assert_eq!((&*egress.trace, &*server.trace, &*check.trace), (trace, trace, trace));
    assert_eq!((&server.parent, &check.parent), (&egress.id, &server.id));
    assert_eq!(response.json()["headers"]["x-asked-in"], format!("00-{trace}-{}-01", check.id));
}
