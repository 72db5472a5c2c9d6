//! From parts of the authorization document to what a gateway sends.

use super::{Attribute, Body, Which};

/// What a gateway must send for the part of the document that these names lead to, and for all below it.
pub(super) fn of(names: &[String]) -> Vec<Attribute> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match names.as_slice() {
        [] => [request(), peer(true), peer(false), metadata(&[], false), context(&[])].concat(),
        ["request", rest @ ..] => match rest {
            [] => request(),
            ["headers", rest @ ..] => headers(rest),
            ["referer", ..] => header("referer"),
            ["user_agent", ..] => header("user-agent"),
            ["grpc", ..] => header("content-type"),
            ["context_extensions", rest @ ..] => vec![Attribute::ContextExtension(which(rest))],
            [name, ..] => of_http(name),
        },
        ["source", rest @ ..] => in_peer(rest, true),
        ["destination", rest @ ..] => in_peer(rest, false),
        ["metadata", rest @ ..] => metadata(rest, false),
        // What AuthorizationPolicies see has the same names.
        ["context", rest @ ..] | ["object", "attributes", rest @ ..] => context(rest),
        ["object"] => context(&[]),
        // What was found out on the way was found out from the rest.
        _ => Vec::new(),
    }
}

/// The attributes as they were received.
fn context(names: &[&str]) -> Vec<Attribute> {
    match names {
        [] => [
            context(&["source"]),
            context(&["destination"]),
            context(&["request"]),
            context(&["context_extensions"]),
            context(&["metadata_context"]),
            context(&["tls_session"]),
            context(&["route_metadata_context"]),
        ]
        .concat(),
        ["source", rest @ ..] => in_peer(rest, true),
        ["destination", rest @ ..] => in_peer(rest, false),
        ["request"] | ["request", "http"] => {
            let names = ["headers", "body", "raw_body", "size", "id", "header_map"];
            names.iter().flat_map(|name| context(&["request", "http", name])).collect()
        }
        ["request", "http", "headers", rest @ ..] => headers(rest),
        ["request", "http", "header_map", ..] => vec![Attribute::Header(Which::All), Attribute::RawHeaders],
        ["request", "http", name, ..] => of_http(name),
        ["context_extensions", rest @ ..] => vec![Attribute::ContextExtension(which(rest))],
        ["metadata_context", rest @ ..] => metadata(rest, false),
        ["tls_session", ..] => vec![Attribute::TlsSession],
        ["route_metadata_context", rest @ ..] => metadata(rest, true),
        _ => Vec::new(),
    }
}

fn request() -> Vec<Attribute> {
    let body = [Body::Text, Body::Bytes, Body::Size].map(Attribute::Body);
    let all = [Attribute::Header(Which::All), Attribute::ContextExtension(Which::All)];
    all.into_iter().chain(body).collect()
}

/// A member that both forms of the request have.
fn of_http(name: &str) -> Vec<Attribute> {
    match name {
        "id" => header("x-request-id"),
        "body" => vec![Attribute::Body(Body::Text)],
        "raw_body" => vec![Attribute::Body(Body::Bytes)],
        "size" => vec![Attribute::Body(Body::Size)],
        // Sent always, or made of what is.
        _ => Vec::new(),
    }
}

fn headers(names: &[&str]) -> Vec<Attribute> {
    match names {
        [] => vec![Attribute::Header(Which::All)],
        [name, ..] => header(name),
    }
}

/// No request has a header whose name is not a token (RFC 9110 §5.1), but for those that HTTP/2 begins with a colon.
fn header(name: &str) -> Vec<Attribute> {
    let is_token = |name: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !name.is_empty() && name.bytes().all(is_part)
    };
    if is_token(name.strip_prefix(':').unwrap_or(name)) { vec![Attribute::header(name)] } else { Vec::new() }
}

fn peer(is_source: bool) -> Vec<Attribute> {
    match is_source {
        true => vec![Attribute::SourcePrincipal, Attribute::SourceCertificate, Attribute::SourceDetails],
        false => vec![Attribute::DestinationPrincipal, Attribute::DestinationDetails],
    }
}

fn in_peer(names: &[&str], is_source: bool) -> Vec<Attribute> {
    match (names, is_source) {
        ([], _) => peer(is_source),
        (["principal", ..], true) => vec![Attribute::SourcePrincipal],
        (["certificate", ..], true) => vec![Attribute::SourceCertificate],
        (["service" | "labels", ..], true) => vec![Attribute::SourceDetails],
        (["principal", ..], false) => vec![Attribute::DestinationPrincipal],
        (["certificate" | "service" | "labels", ..], false) => vec![Attribute::DestinationDetails],
        // `address` and `port`
        _ => Vec::new(),
    }
}

fn metadata(names: &[&str], is_of_route: bool) -> Vec<Attribute> {
    match (names, is_of_route) {
        ([], _) => {
            [metadata(&["filter_metadata"], is_of_route), metadata(&["typed_filter_metadata"], is_of_route)].concat()
        }
        (["filter_metadata", rest @ ..], false) => vec![Attribute::FilterMetadata(which(rest))],
        (["filter_metadata", rest @ ..], true) => vec![Attribute::RouteMetadata(which(rest))],
        (["typed_filter_metadata", rest @ ..], false) => vec![Attribute::TypedFilterMetadata(which(rest))],
        (["typed_filter_metadata", rest @ ..], true) => vec![Attribute::TypedRouteMetadata(which(rest))],
        _ => Vec::new(),
    }
}

fn which(names: &[&str]) -> Which {
    names.first().map_or(Which::All, |name| Which::Named((*name).to_owned()))
}
