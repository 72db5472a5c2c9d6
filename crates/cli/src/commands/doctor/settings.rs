//! What to write into the configuration of a gateway, so that it sends along what AuthConfigs read.

mod remarks;

use serde_json::{Map, Value, json};
use usher_compile::needs::{Attribute, Body, Headers, Needs, Which};
use usher_engine::route;

pub(super) use self::remarks::title;
use self::remarks::{header_field, most_headers, remark};
use super::{gateway::Gateway, printable, yaml};

/// The longest body that is sent along, unless somebody chooses another: what most gateways show in their guides.
const MAX_BODY: u32 = 8192;

/// The namespace of claims of tokens that the gateway has verified.
const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";

/// What to write, and what cannot be written.
#[derive(Debug, PartialEq)]
pub(super) struct Settings {
    /// Fields of objects, each with a title.
    pub(super) objects: Vec<(String, Value)>,
    /// What else is to be known, one line each.
    pub(super) notes: Vec<String>,
}

impl Settings {
    /// The settings of a gateway for what is read.
    pub(super) fn of(gateway: Gateway, needs: &Needs) -> Self {
        let wanted = Wanted::of(needs);
        let mut settings = Self { objects: Vec::new(), notes: wanted.notes(gateway) };
        match gateway {
            Gateway::Kgateway => settings.kgateway(&wanted),
            Gateway::Istio | Gateway::IstioWaypoint => settings.istio(&wanted),
            Gateway::EnvoyGateway => settings.envoy_gateway(&wanted),
            Gateway::Agentgateway => settings.agentgateway(&wanted),
            Gateway::Envoy => settings.envoy(&wanted),
            Gateway::GatewayApi => settings.gateway_api(&wanted),
        }
        settings
    }

    /// As YAML, the notes as comments.
    pub(super) fn text(&self) -> String {
        let mut documents: Vec<String> = self
            .objects
            .iter()
            .map(|(title, value)| format!("# {}\n{}", printable(title), yaml::block(value, 0)))
            .collect();
        if documents.is_empty() {
            documents.push("# nothing to set\n".to_owned());
        }
        let mut text = documents.join("---\n");
        for note in &self.notes {
            text.push_str(&format!("# {}\n", printable(note)));
        }
        text
    }

    fn add(&mut self, title: impl Into<String>, at: &[&str], fields: Map<String, Value>) {
        if fields.is_empty() {
            return;
        }
        let value = at.iter().rev().fold(Value::Object(fields), |inner, name| json!({ *name: inner }));
        self.objects.push((title.into(), value));
    }

    fn kgateway(&mut self, wanted: &Wanted<'_>) {
        const AT: [&str; 2] = ["spec", "extAuth"];
        let fields = [
            ("headersToForward", wanted.list_of(Gateway::Kgateway)),
            ("withRequestBody", wanted.body(["maxRequestBytes", "allowPartialMessage", "packAsBytes"])),
        ];
        self.add("GatewayExtension", &AT, given(fields));
        for (title, extensions) in wanted.extensions("TrafficPolicy") {
            self.add(title, &AT, given([("contextExtensions", Some(extensions))]));
        }
    }

    fn istio(&mut self, wanted: &Wanted<'_>) {
        let body = wanted.body(["maxRequestBytes", "allowPartialMessage", "packAsBytes"]);
        if let Some(body) = body {
            let provider = json!([{"name": "usher", "envoyExtAuthzGrpc": {"includeRequestBodyInCheck": body}}]);
            self.add("mesh config", &[], given([("extensionProviders", Some(provider))]));
        }
    }

    fn envoy_gateway(&mut self, wanted: &Wanted<'_>) {
        const AT: [&str; 2] = ["spec", "extAuth"];
        let body = wanted.body.is_read().then(|| json!({"maxRequestBytes": MAX_BODY}));
        let has_routes = !wanted.routes.is_empty() || wanted.has_route_metadata(route::ENVOY_GATEWAY);
        let extensions = wanted.named_extensions();
        let extensions: Vec<_> =
            extensions.iter().map(|name| json!({"name": name, "type": "Value", "value": "VALUE"})).collect();
        let fields = [
            ("headersToExtAuth", wanted.list_of(Gateway::EnvoyGateway)),
            ("bodyToExtAuth", body),
            ("includeRouteMetadata", has_routes.then_some(Value::Bool(true))),
            ("contextExtensions", (!extensions.is_empty()).then(|| Value::from(extensions))),
        ];
        self.add("SecurityPolicy", &AT, given(fields));
    }

    fn agentgateway(&mut self, wanted: &Wanted<'_>) {
        const AT: [&str; 3] = ["spec", "traffic", "extAuth"];
        // Claims of tokens are sent without a setting, but only if there is none for anything else.
        let is_needed = wanted.metadata.iter().any(|name| *name != JWT_AUTHN);
        let expression = |name| if name == JWT_AUTHN { "{\"jwt_payload\": jwt}" } else { "EXPRESSION" };
        let metadata: Map<_, _> =
            wanted.metadata.iter().map(|name| ((*name).to_owned(), Value::from(expression(*name)))).collect();
        let metadata = is_needed.then_some(Value::Object(metadata));
        let body = wanted.body.is_read().then(|| json!({"maxSize": MAX_BODY}));
        // `extAuth` of a route takes the place of that of the Gateway as a whole: each has to say everything.
        let fields = |extensions: Option<Value>| {
            let grpc = given([("requestMetadata", metadata.clone()), ("contextExtensions", extensions)]);
            let grpc = (!grpc.is_empty()).then_some(Value::Object(grpc));
            given([("forwardBody", body.clone()), ("grpc", grpc)])
        };
        let named = wanted.extensions_of_any();
        self.add("AgentgatewayPolicy", &AT, fields((!named.is_empty()).then_some(Value::Object(named))));
        if !wanted.routes.is_empty() {
            for (title, extensions) in wanted.extensions("AgentgatewayPolicy") {
                self.add(title, &AT, fields(Some(extensions)));
            }
            self.notes.push(
                "AgentgatewayPolicy: extAuth of a route takes the place of that of its Gateway, so each says all of it"
                    .to_owned(),
            );
        }
    }

    fn envoy(&mut self, wanted: &Wanted<'_>) {
        let patterns = wanted.headers.as_ref().map(|headers| {
            let patterns: Vec<_> = headers.iter().map(|name| json!({"exact": name})).collect();
            json!({"patterns": patterns})
        });
        let yes = |is_read: bool| is_read.then_some(Value::Bool(true));
        let names = |names: &[&str]| (!names.is_empty()).then(|| json!(names));
        let fields = [
            ("allowed_headers", patterns),
            ("with_request_body", wanted.body(["max_request_bytes", "allow_partial_message", "pack_as_bytes"])),
            ("include_peer_certificate", yes(wanted.has(&Attribute::SourceCertificate))),
            ("include_tls_session", yes(wanted.has(&Attribute::TlsSession))),
            ("encode_raw_headers", yes(wanted.has(&Attribute::RawHeaders))),
            ("metadata_context_namespaces", names(&wanted.metadata)),
            ("typed_metadata_context_namespaces", names(&wanted.typed_metadata)),
            ("route_metadata_context_namespaces", names(&wanted.route_metadata)),
            ("route_typed_metadata_context_namespaces", names(&wanted.typed_route_metadata)),
        ];
        self.add("typed_config of the filter envoy.filters.http.ext_authz", &[], given(fields));
        for (title, extensions) in wanted.extensions("route, typed_per_filter_config") {
            let settings = json!({
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
                "check_settings": {"context_extensions": extensions},
            });
            self.add(title, &[], given([("envoy.filters.http.ext_authz", Some(settings))]));
        }
    }

    fn gateway_api(&mut self, wanted: &Wanted<'_>) {
        let headers = wanted.list_of(Gateway::GatewayApi).map(|headers| json!({"allowedHeaders": headers}));
        let body = wanted.body.is_read().then(|| json!({"maxSize": MAX_BODY}));
        let fields = given([("grpc", headers), ("forwardBody", body)]);
        self.add("HTTPRoute, filter of type ExternalAuth", &["externalAuth"], fields);
    }
}

fn given<const N: usize>(fields: [(&str, Option<Value>); N]) -> Map<String, Value> {
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// What is read, sorted by what gateways have settings for.
struct Wanted<'n> {
    needs: &'n Needs,
    /// None: all.
    headers: Option<Vec<&'n str>>,
    body: BodyForms,
    routes: Vec<&'n str>,
    metadata: Vec<&'n str>,
    typed_metadata: Vec<&'n str>,
    route_metadata: Vec<&'n str>,
    typed_route_metadata: Vec<&'n str>,
}

/// In which forms the body is read.
#[derive(Clone, Copy)]
struct BodyForms {
    text: bool,
    bytes: bool,
    size: bool,
}

impl BodyForms {
    fn is_read(self) -> bool {
        self.text || self.bytes || self.size
    }
}

impl<'n> Wanted<'n> {
    fn of(needs: &'n Needs) -> Self {
        let names = |name: fn(&'n Attribute) -> Option<&'n Which>| {
            let names = needs.iter().filter_map(move |(attribute, _)| name(attribute));
            let names = names.filter_map(|which| match which {
                Which::Named(name) => Some(name.as_str()),
                Which::All => None,
            });
            names.collect::<Vec<_>>()
        };
        Self {
            needs,
            headers: match needs.headers() {
                Headers::All(_) => None,
                Headers::Named(names) => Some(names),
            },
            body: BodyForms {
                text: needs.has(&Attribute::Body(Body::Text)),
                bytes: needs.has(&Attribute::Body(Body::Bytes)),
                size: needs.has(&Attribute::Body(Body::Size)),
            },
            routes: needs
                .iter()
                .filter_map(|(attribute, _)| match attribute {
                    Attribute::Route(name) => Some(name.as_str()),
                    _ => None,
                })
                .collect(),
            metadata: names(|attribute| match attribute {
                Attribute::FilterMetadata(which) => Some(which),
                _ => None,
            }),
            typed_metadata: names(|attribute| match attribute {
                Attribute::TypedFilterMetadata(which) => Some(which),
                _ => None,
            }),
            route_metadata: names(|attribute| match attribute {
                Attribute::RouteMetadata(which) => Some(which),
                _ => None,
            }),
            typed_route_metadata: names(|attribute| match attribute {
                Attribute::TypedRouteMetadata(which) => Some(which),
                _ => None,
            }),
        }
    }

    fn has(&self, attribute: &Attribute) -> bool {
        self.needs.has(attribute)
    }

    fn has_route_metadata(&self, name: &str) -> bool {
        self.route_metadata.contains(&name) || self.has(&Attribute::RouteMetadata(Which::All))
    }

    /// The list of headers, unless the gateway has to send all: any may be read, or its list may not be that long.
    fn list_of(&self, gateway: Gateway) -> Option<Value> {
        let headers = self.headers.as_ref()?;
        most_headers(gateway).is_none_or(|most| headers.len() <= most).then(|| json!(headers))
    }

    /// The settings of bodies, whose three fields have the same meaning wherever there is Envoy.
    fn body(&self, [size, partial, bytes]: [&str; 3]) -> Option<Value> {
        let is_bytes = self.body.bytes && !self.body.text;
        self.body.is_read().then(|| json!({size: MAX_BODY, partial: false, bytes: is_bytes}))
    }

    /// What a route must say that the AuthConfig reads, besides its own name.
    fn named_extensions(&self) -> Vec<&'n str> {
        let names = self.needs.iter().filter_map(|(attribute, _)| match attribute {
            Attribute::ContextExtension(Which::Named(name)) => Some(name.as_str()),
            _ => None,
        });
        names.collect()
    }

    /// Context extensions of whichever route it is.
    fn extensions_of_any(&self) -> Map<String, Value> {
        self.named_extensions().into_iter().map(|name| (name.to_owned(), Value::from("VALUE"))).collect()
    }

    /// Context extensions, for each route that is looked up by its name, or else for whichever route it is.
    fn extensions(&self, object: &str) -> Vec<(String, Value)> {
        let named = self.extensions_of_any();
        let with_route = |route: &&str| {
            let mut extensions = named.clone();
            extensions.insert(route::CONTEXT_EXTENSION.to_owned(), Value::from(*route));
            (format!("{object}, for {route}"), Value::Object(extensions))
        };
        match (self.routes.is_empty(), named.is_empty()) {
            (false, _) => self.routes.iter().map(with_route).collect(),
            (true, false) => vec![(object.to_owned(), Value::Object(named))],
            (true, true) => Vec::new(),
        }
    }

    // --- What cannot be set, or not there ----------------------------------------------------------------------------

    fn notes(&self, gateway: Gateway) -> Vec<String> {
        let mut notes = Vec::new();
        match (self.needs.headers(), header_field(gateway)) {
            (_, None) => notes.push(format!("headers: {gateway} sends all of them")),
            (Headers::All(readings), Some(field)) => {
                let why = readings.first().map(|reading| format!(": {} {}", reading.field, reading.how));
                notes.push(format!("{field}: leave it out, so that all headers are sent{}", why.unwrap_or_default()));
            }
            (Headers::Named(names), Some(field)) => {
                if let Some(most) = most_headers(gateway).filter(|most| names.len() > *most) {
                    let number = names.len();
                    notes.push(format!(
                        "{field}: leave it out, so that all headers are sent: {number} are read, and the list may have {most}"
                    ));
                }
            }
        }
        notes.extend(self.about_body(gateway));
        if !self.routes.is_empty() {
            notes.push("routes: a server without `--allow-route-lookup` refuses AuthConfigs that have them".to_owned());
        }
        for (attribute, readings) in self.needs.iter() {
            if let Some(remark) = remark(gateway, attribute) {
                let field = readings.iter().map(|reading| reading.field.as_str()).find(|field| !field.is_empty());
                let field = field.map(|field| format!(" ({field})")).unwrap_or_default();
                notes.push(format!("{}{field}: {remark}", title(attribute)));
            }
        }
        notes
    }

    fn about_body(&self, gateway: Gateway) -> Vec<String> {
        let mut notes = Vec::new();
        let BodyForms { text, bytes, .. } = self.body;
        if text && bytes {
            notes.push("body: it is read both as text and as bytes, but a gateway sends only one of them".to_owned());
        }
        if bytes
            && !text
            && !matches!(gateway, Gateway::Kgateway | Gateway::Istio | Gateway::IstioWaypoint | Gateway::Envoy)
        {
            notes.push(format!("body: {gateway} sends it as text only; `request.raw_body` is empty"));
        }
        if self.body.is_read() {
            notes.push(match gateway {
                Gateway::Agentgateway => {
                    format!(
                        "body: of one longer than {MAX_BODY} bytes Usher gets the beginning, and `request.size` is -1"
                    )
                }
                Gateway::GatewayApi => format!("body: one longer than {MAX_BODY} bytes is answered with 413 or 403"),
                _ => format!("body: one longer than {MAX_BODY} bytes is answered with 413, without a check"),
            });
        }
        notes
    }
}

#[cfg(test)]
mod tests;
