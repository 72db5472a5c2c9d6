//! `CheckRequest` to the canonical request, in one pass over its bytes.
//!
//! Gateways differ: headers come as a map or as a list of raw bytes, addresses may be pipes or internal listeners, and a filter
//! for plain TCP sends no request at all.
//!
//! What a message says twice is merged as protocol buffers have it: the last text or number counts, messages and maps
//! are put together.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::{Map, Value as Json, json};
use usher_engine::request::{Address, Collector, Metadata, Peer, Port, Time};
use usher_engine::{Request, RequestParts};
use usher_proto::envoy::config::core::v3::{HeaderMap, Metadata as WireMetadata};
use usher_proto::value::struct_to_json;

use super::wire::{Fields, Malformed, Value};
use crate::headers;

/// The request that a check is about, from the bytes of a `CheckRequest`; none if it is not about an HTTP request.
///
/// # Errors
///
/// [`Malformed`] if the bytes are no such message.
pub(crate) fn request(message: &[u8]) -> Result<Option<Request>, Malformed> {
    let mut check = Check::default();
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        if number == 1 {
            check.attributes(value)?;
        }
    }
    Ok(check.finish())
}

/// Room for the headers of nearly all requests.
const USUAL_HEADER_BYTES: usize = 8 << 10;

/// Gateways let a few hundred headers pass at most.
const MOST_HEADERS: usize = 1 << 16;

/// What was read so far.
#[derive(Default)]
struct Check {
    parts: RequestParts,
    headers: Option<Collector>,
    header_count: usize,
    header_map: Option<HeaderMap>,
    metadata: Option<WireMetadata>,
    route_metadata: Option<WireMetadata>,
    is_about_http: bool,
}

impl Check {
    /// `envoy.service.auth.v3.AttributeContext`.
    fn attributes(&mut self, message: Value<'_>) -> Result<(), Malformed> {
        let mut fields = message.message()?;
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => peer(&mut self.parts.source, value)?,
                2 => peer(&mut self.parts.destination, value)?,
                4 => self.request(value)?,
                10 => entry(&mut self.parts.context_extensions, value)?,
                11 => merge(self.metadata.get_or_insert_default(), value)?,
                12 => tls_session(self.parts.tls_session.get_or_insert_default(), value)?,
                13 => merge(self.route_metadata.get_or_insert_default(), value)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// `AttributeContext.Request`.
    fn request(&mut self, message: Value<'_>) -> Result<(), Malformed> {
        let mut fields = message.message()?;
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => time(self.parts.time.get_or_insert_default(), value)?,
                2 => self.http(value)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// `AttributeContext.HttpRequest`.
    fn http(&mut self, message: Value<'_>) -> Result<(), Malformed> {
        self.is_about_http = true;
        let length = message.bytes()?.len();
        let mut fields = message.message()?;
        let parts = &mut self.parts;
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => value.text()?.clone_into(&mut parts.id),
                2 => value.text()?.clone_into(&mut parts.method),
                3 => {
                    let (name, text) = pair(value)?;
                    // Most of the message is headers, unless there is a body.
                    let headers = self.headers.get_or_insert_with(|| Collector::new(length.min(USUAL_HEADER_BYTES)));
                    self.header_count += 1;
                    if self.header_count > MOST_HEADERS {
                        return Err(Malformed("there are too many headers"));
                    }
                    headers.add(name, text);
                }
                4 => value.text()?.clone_into(&mut parts.path),
                5 => value.text()?.clone_into(&mut parts.host),
                6 => value.text()?.clone_into(&mut parts.scheme),
                7 => value.text()?.clone_into(&mut parts.query),
                8 => value.text()?.clone_into(&mut parts.fragment),
                9 => parts.size = value.number()?.cast_signed(),
                10 => value.text()?.clone_into(&mut parts.protocol),
                11 => value.text()?.clone_into(&mut parts.body),
                12 => value.bytes()?.clone_into(&mut parts.raw_body),
                13 => merge(self.header_map.get_or_insert_default(), value)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn finish(self) -> Option<Request> {
        let mut parts = self.parts;
        if !self.is_about_http {
            return None;
        }
        parts.headers = self.headers.map(Collector::finish).unwrap_or_default();
        if let Some(list) = self.header_map {
            if parts.headers.is_empty() {
                parts.headers = joined(&list).into_iter().collect();
            }
            parts.header_map = Some(list_to_json(list));
        }
        parts.metadata = self.metadata.map(metadata);
        parts.route_metadata = self.route_metadata.map(metadata);
        match parts.headers.get("x-request-id") {
            Some(id) if !id.is_empty() => id.clone_into(&mut parts.id),
            _ if !parts.id.is_empty() => {}
            _ => parts.id = made_up_id(),
        }
        Some(Request::new(parts))
    }
}

/// A message that is seldom there, by means of the library.
fn merge(into: &mut impl Message, message: Value<'_>) -> Result<(), Malformed> {
    into.merge(message.bytes()?).map_err(|_| Malformed("a nested message is malformed"))
}

/// An entry of a map of texts.
fn pair<'m>(message: Value<'m>) -> Result<(&'m str, &'m str), Malformed> {
    let (mut key, mut text) = ("", "");
    let mut fields = message.message()?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => key = value.text()?,
            2 => text = value.text()?,
            _ => {}
        }
    }
    Ok((key, text))
}

fn entry(map: &mut BTreeMap<String, String>, message: Value<'_>) -> Result<(), Malformed> {
    let (key, text) = pair(message)?;
    map.insert(key.to_owned(), text.to_owned());
    Ok(())
}

/// `google.protobuf.Timestamp`.
fn time(time: &mut Time, message: Value<'_>) -> Result<(), Malformed> {
    let mut fields = message.message()?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => time.seconds = value.number()?.cast_signed(),
            2 => time.nanos = value.short_number()?.cast_signed(),
            _ => {}
        }
    }
    Ok(())
}

/// `AttributeContext.TLSSession`.
fn tls_session(sni: &mut String, message: Value<'_>) -> Result<(), Malformed> {
    let mut fields = message.message()?;
    while let Some((number, value)) = fields.next()? {
        if number == 1 {
            value.text()?.clone_into(sni);
        }
    }
    Ok(())
}

/// `AttributeContext.Peer`.
fn peer(peer: &mut Peer, message: Value<'_>) -> Result<(), Malformed> {
    let mut fields = message.message()?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => address(&mut peer.address, value)?,
            2 => value.text()?.clone_into(&mut peer.service),
            3 => entry(&mut peer.labels, value)?,
            4 => value.text()?.clone_into(&mut peer.principal),
            5 => value.text()?.clone_into(&mut peer.certificate),
            _ => {}
        }
    }
    Ok(())
}

/// `envoy.config.core.v3.Address`: one of three, the last one that is named.
fn address(address: &mut Option<Address>, message: Value<'_>) -> Result<(), Malformed> {
    let mut fields = message.message()?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => socket_address(address, value)?,
            2 => pipe(address, value)?,
            3 => internal_address(address, value)?,
            _ => {}
        }
    }
    Ok(())
}

fn socket_address(slot: &mut Option<Address>, message: Value<'_>) -> Result<(), Malformed> {
    if !matches!(slot, Some(Address::Socket { .. })) {
        *slot = Some(Address::Socket { protocol: 0, address: String::new(), port: Port::Number(0) });
    }
    let Some(Address::Socket { protocol, address, port }) = slot else { return Ok(()) };
    let mut fields = message.message()?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => *protocol = value.short_number()?.cast_signed(),
            2 => value.text()?.clone_into(address),
            3 => *port = Port::Number(value.short_number()?),
            4 => *port = Port::Named(value.text()?.to_owned()),
            // `resolver_name` and `ipv4_compat`, which mean nothing here, but have a type.
            5 => drop(value.text()?),
            6 => drop(value.number()?),
            _ => {}
        }
    }
    Ok(())
}

fn pipe(slot: &mut Option<Address>, message: Value<'_>) -> Result<(), Malformed> {
    if !matches!(slot, Some(Address::Pipe { .. })) {
        *slot = Some(Address::Pipe { path: String::new(), mode: 0 });
    }
    let Some(Address::Pipe { path, mode }) = slot else { return Ok(()) };
    let mut fields = message.message()?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => value.text()?.clone_into(path),
            2 => *mode = value.short_number()?,
            _ => {}
        }
    }
    Ok(())
}

fn internal_address(slot: &mut Option<Address>, message: Value<'_>) -> Result<(), Malformed> {
    if !matches!(slot, Some(Address::Internal { .. })) {
        *slot = Some(Address::Internal { server_listener_name: String::new(), endpoint_id: String::new() });
    }
    let Some(Address::Internal { server_listener_name, endpoint_id }) = slot else { return Ok(()) };
    let mut fields = message.message()?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => value.text()?.clone_into(server_listener_name),
            2 => value.text()?.clone_into(endpoint_id),
            _ => {}
        }
    }
    Ok(())
}

/// An identifier for a request that has none, in the form of a version 4 UUID (RFC 9562 §5.4): unpredictable to others, but
/// not meant to be a secret.
pub(crate) fn made_up_id() -> String {
    static HASHERS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let [high, low] = HASHERS.each_ref().map(|hasher| hasher.hash_one(number));
    let high = high & !0xf000 | 0x4000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

/// Headers by lower-case name; repeated ones joined with a comma, as gateways do that send a map.
fn joined(list: &HeaderMap) -> BTreeMap<String, String> {
    let mut joined: BTreeMap<String, String> = BTreeMap::new();
    for header in &list.headers {
        let value = match header.raw_value.is_empty() {
            true => header.value.clone(),
            false => headers::text(&header.raw_value),
        };
        joined
            .entry(header.key.to_ascii_lowercase())
            .and_modify(|present| {
                present.push(',');
                present.push_str(&value);
            })
            .or_insert(value);
    }
    joined
}

/// The list as protobuf's own JSON mapping writes it: empty members left out, bytes in base64.
fn list_to_json(list: HeaderMap) -> Json {
    let headers = list.headers.into_iter().map(|header| {
        let raw_value = STANDARD.encode(&header.raw_value);
        let members = [("key", header.key), ("value", header.value), ("raw_value", raw_value)];
        let members = members.into_iter().filter(|(_, text)| !text.is_empty());
        Json::Object(members.map(|(name, text)| (name.to_owned(), text.into())).collect())
    });
    json!({ "headers": headers.collect::<Vec<_>>() })
}

fn metadata(metadata: WireMetadata) -> Metadata {
    let untyped = metadata.filter_metadata.into_iter();
    let typed = metadata.typed_filter_metadata.into_iter();
    Metadata {
        filter_metadata: untyped.map(|(name, value)| (name, struct_to_json(value).into())).collect(),
        typed_filter_metadata: typed
            .map(|(name, any)| {
                let members = [("type_url", any.type_url), ("value", STANDARD.encode(any.value))];
                let object: Map<_, _> =
                    members.map(|(name, text)| (name.to_owned(), text.into())).into_iter().collect();
                (name, object.into())
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests;
