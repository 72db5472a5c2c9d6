//! Validating webhooks: those of the ValidatingWebhookConfigurations that the server keeps.
//!
//! Rules, `objectSelector`, `namespaceSelector`, `failurePolicy`, and `timeoutSeconds` count; `matchConditions` do not.
//! A webhook is reached by its `url`, or by the address that was given for its `service`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request as HttpRequest, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use url::Url;

use crate::{failure::Failure, kind::Kind, prepare, selector::Selector, state::State, write::Options};

/// The largest answer of a webhook, in bytes.
const MAX_ANSWER: usize = 3 << 20;

/// What a webhook is asked about.
pub(crate) struct Request<'a> {
    pub(crate) operation: Operation,
    pub(crate) kind: &'a Kind,
    pub(crate) object: Option<&'a Value>,
    pub(crate) old: Option<&'a Value>,
    pub(crate) options: Options,
}

/// What is about to happen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// Asks all webhooks that want to be asked. Gives their warnings.
///
/// # Errors
///
/// What the first of them refuses with; 500 if it cannot be asked, and its failure policy is `Fail`.
pub(crate) async fn ask(state: &State, request: &Request<'_>) -> Result<Vec<String>, Failure> {
    let mut warnings = Vec::new();
    for webhook in interested(state, request) {
        let name = webhook["name"].as_str().unwrap_or_default();
        let limit = Duration::from_secs(webhook["timeoutSeconds"].as_u64().unwrap_or(10));
        let review = review(request);
        let called = tokio::time::timeout(limit, call(state, &webhook, &review)).await;
        let answer = called.unwrap_or_else(|_| Err("context deadline exceeded".to_owned())).and_then(|answer| {
            let response = &answer["response"];
            if response["uid"] == review["request"]["uid"] && response["allowed"].is_boolean() {
                Ok(response.clone())
            } else {
                Err("expected a response with the uid of the request".to_owned())
            }
        });
        let response = match answer {
            Ok(response) => response,
            Err(_) if webhook["failurePolicy"] == "Ignore" => continue,
            Err(error) => {
                let message = format!(
                    "Internal error occurred: failed calling webhook \"{name}\": failed to call webhook: {error}"
                );
                return Err(Failure::of_code(500, message));
            }
        };
        let said = response["warnings"].as_array().into_iter().flatten();
        warnings.extend(said.filter_map(Value::as_str).map(str::to_owned));
        if response["allowed"] != true {
            return Err(refusal(name, &response["status"]));
        }
    }
    Ok(warnings)
}

fn refusal(name: &str, status: &Value) -> Failure {
    let code =
        status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code));
    let message = match (status["message"].as_str(), status["reason"].as_str()) {
        (Some(message), _) if !message.is_empty() => {
            format!("admission webhook \"{name}\" denied the request: {message}")
        }
        (_, Some(reason)) if !reason.is_empty() => format!("admission webhook \"{name}\" denied the request: {reason}"),
        _ => format!("admission webhook \"{name}\" denied the request without explanation"),
    };
    Failure::of_code(code.unwrap_or(403), message)
}

/// The webhooks that this is for, by the names of their configurations.
fn interested(state: &State, request: &Request<'_>) -> Vec<Value> {
    if request.kind.group == "admissionregistration.k8s.io" {
        return Vec::new();
    }
    let namespace = request.object.or(request.old).and_then(|object| object["metadata"]["namespace"].as_str());
    let store = state.store();
    let find = |group: &str, plural: &str| store.kind(&(group.to_owned(), "v1".to_owned(), plural.to_owned()));
    let mut namespace_labels = BTreeMap::new();
    if let Some(namespace) = namespace {
        let stored = find("", "namespaces").and_then(|kind| store.get(&kind, &(String::new(), namespace.to_owned())));
        namespace_labels = stored.map(|stored| stored.labels.clone()).unwrap_or_default();
        namespace_labels.insert("kubernetes.io/metadata.name".to_owned(), namespace.to_owned());
    }
    let Some(kind) = find("admissionregistration.k8s.io", "validatingwebhookconfigurations") else { return Vec::new() };
    let configurations = store.objects(&kind);
    drop(store);
    let webhooks = configurations
        .iter()
        .flat_map(|stored| stored.value(&kind)["webhooks"].as_array().cloned().unwrap_or_default());
    webhooks
        .filter(|webhook| {
            let objects = [request.object, request.old];
            webhook["rules"].as_array().into_iter().flatten().any(|rule| wants(rule, request))
                && (namespace.is_none()
                    || Selector::from_object(&webhook["namespaceSelector"]).matches(&namespace_labels))
                && objects
                    .into_iter()
                    .flatten()
                    .any(|object| Selector::from_object(&webhook["objectSelector"]).matches(&labels(object)))
        })
        .collect()
}

fn wants(rule: &Value, request: &Request<'_>) -> bool {
    let has = |field: &str, value: &str| {
        rule[field].as_array().into_iter().flatten().any(|found| *found == *"*" || *found == *value || *found == *"*/*")
    };
    let scope = rule["scope"].as_str().unwrap_or("*");
    has("operations", request.operation.name())
        && has("apiGroups", &request.kind.group)
        && has("apiVersions", &request.kind.version)
        && has("resources", &request.kind.plural)
        && (scope == "*" || (scope == "Namespaced") == request.kind.namespaced)
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn review(request: &Request<'_>) -> Value {
    let Kind { group, version, plural, kind, .. } = request.kind;
    let subject = request.object.or(request.old).unwrap_or(&Value::Null);
    let of_kind = json!({"group": group, "version": version, "kind": kind});
    let resource = json!({"group": group, "version": version, "resource": plural});
    let mut question = json!({
        "uid": prepare::random_uid(),
        "kind": of_kind,
        "resource": resource,
        "requestKind": of_kind,
        "requestResource": resource,
        "name": subject["metadata"]["name"],
        "operation": request.operation.name(),
        "userInfo": {"username": "test", "groups": ["system:authenticated"]},
        "object": request.object,
        "oldObject": request.old,
        "dryRun": request.options.dry_run,
        "options": null,
    });
    if let Some(namespace) = subject["metadata"]["namespace"].as_str() {
        question["namespace"] = json!(namespace);
    }
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": question})
}

async fn call(state: &State, webhook: &Value, review: &Value) -> Result<Value, String> {
    let client = &webhook["clientConfig"];
    let (url, address) = match client["url"].as_str() {
        Some(url) => (Url::parse(url).map_err(|error| format!("invalid url: {error}"))?, None),
        None => service(state, &client["service"])?,
    };
    let port = url.port_or_known_default().unwrap_or(443);
    let host = url.host_str().unwrap_or_default().to_owned();
    let to = address.unwrap_or_else(|| format!("{host}:{port}"));
    let failed = |error: &dyn std::fmt::Display| format!("Post \"{url}\": {error}");
    let stream = TcpStream::connect(&to).await.map_err(|error| failed(&error))?;
    if url.scheme() != "https" {
        return Err(failed(&"the scheme must be https"));
    }
    let bundle = STANDARD.decode(client["caBundle"].as_str().unwrap_or_default()).map_err(|error| failed(&error))?;
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|error| failed(&error))?;
    let stream = connector(&bundle)?.connect(name, stream).await.map_err(|error| failed(&error))?;
    post(stream, &url, review).await.map_err(|error| failed(&error))
}

/// The URL of a service, and where it can be reached.
fn service(state: &State, service: &Value) -> Result<(Url, Option<String>), String> {
    let text = |field: &str| service[field].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    let port = service["port"].as_u64().unwrap_or(443);
    let path = text("path");
    let url = format!("https://{name}.{namespace}.svc:{port}{path}");
    let url = Url::parse(&url).map_err(|error| format!("invalid service: {error}"))?;
    let address = state.settings().services.get(&(namespace.to_owned(), name.to_owned())).cloned();
    match address {
        Some(address) => Ok((url, Some(address))),
        None => Err(format!("Post \"{url}\": service \"{name}\" not found")),
    }
}

fn connector(bundle: &[u8]) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle) {
        let certificate = certificate.map_err(|error| format!("unable to load root certificates: {error}"))?;
        roots.add(certificate).map_err(|error| format!("unable to load root certificates: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn post<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    url: &Url,
    review: &Value,
) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let request = HttpRequest::post(path)
        .header(header::HOST, HeaderValue::from_str(url.authority())?)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .body(Full::new(Bytes::from(serde_json::to_vec(review)?)))?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await?.to_bytes();
    connection.abort();
    if !status.is_success() {
        return Err(format!("unexpected status {status}").into());
    }
    Ok(serde_json::from_slice(&body)?)
}
