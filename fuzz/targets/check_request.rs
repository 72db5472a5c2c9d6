//! Checks as gateways send them: through the gRPC service, the conversion of attributes and a plan, to the answer.
//!
//! Input: a `CheckRequest` in protobuf; or text that begins with `> `, from which one is made:
//!
//! ```text
//! > GET /pets?x=1 locked.test
//! cookie: sid=1
//! x-raw= a header in the list of raw ones
//! route@ a context extension
//!
//! body
//! ```

#![no_main]

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use libfuzzer_sys::fuzz_target;
use prost::Message;
use tokio::runtime::Runtime;
use tonic::{
    Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};
use usher_compile::{Compiler, Places};
use usher_engine::{PlanIndex, Request, Verdict, check, index::Place};
use usher_evaluators::Resources;
use usher_proto::envoy::{
    config::core::v3::{HeaderMap, HeaderValue},
    service::auth::v3::{
        AttributeContext, CheckRequest, CheckResponse, attribute_context, check_response::HttpResponse,
    },
};
use usher_server::{Call, Decide, Listener, ListenerSettings, Metrics, Readiness, ReadinessCheck, Running, ext_authz};

/// The only key that opens `locked.test`.
const KEY: &str = "k-7f3a9c";

fuzz_target!(init: WORLD.with(|_| {}), |bytes: &[u8]| {
    let message = match bytes.strip_prefix(b"> ") {
        Some(text) => from_text(&String::from_utf8_lossy(text)).encode_to_vec(),
        None => bytes.to_vec(),
    };
    let is_check = CheckRequest::decode(message.as_slice()).is_ok();
    let has_key = message.windows(KEY.len()).any(|window| window == KEY.as_bytes());
    let answer = WORLD.with(|world| world.send(message));
    match answer {
        Ok(answer) => {
            let status = answer.status.expect("a status");
            assert!(is_check || status.code != 0, "let in although nobody can read it");
            let from_locked = match &answer.http_response {
                Some(HttpResponse::OkResponse(ok)) => {
                    assert_eq!(status.code, 0);
                    ok.headers.iter().filter_map(|option| option.header.as_ref()).any(|header| header.key == "x-locked")
                }
                _ => {
                    assert_ne!(status.code, 0);
                    false
                }
            };
            assert!(has_key || !from_locked, "let in without the key");
        }
        Err(status) => panic!("everything is answered, but not this: {status}"),
    }
});

thread_local! {
    static WORLD: World = World::new();
}

struct World {
    runtime: Runtime,
    channel: Channel,
    _server: Running,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (channel, server) = runtime.block_on(async {
            let compiler = Compiler { allow_route_lookup: true, ..usher_fuzz::compiler(false) };
            let index = PlanIndex::default();
            for compiled in usher_fuzz::load(&compiler, include_str!("check_request.yaml")) {
                let plan = Arc::new(compiled.plan);
                let Places { hosts, routes, .. } = compiled.places;
                let places = hosts.into_iter().map(Place::Host).chain(routes.into_iter().map(Place::Route));
                index.publish(places.map(|place| (place, Some(Arc::clone(&plan)))));
            }
            let decide = Arc::new(Plans { index, _resources: compiler.resources });
            let settings = ListenerSettings::new((Ipv4Addr::LOCALHOST, 0).into());
            let listener = Listener::bind(settings).await.expect("a port");
            let endpoint = Endpoint::from_shared(format!("http://{}", listener.address())).expect("a URL");
            let metrics = Metrics::register(&prometheus::Registry::new()).expect("an empty registry takes all metrics");
            let server = ext_authz::serve(listener, decide, Arc::new(Ready), metrics, ext_authz::Settings::default());
            (endpoint.connect().await.expect("a connection"), server)
        });
        let world = Self { runtime, channel, _server: server };
        // Nothing below would be reached if the key did not open, or the route did not lead there.
        for good in ["GET / locked.test\n", "GET / x.test\nroute@ HTTPRoute/fuzz/locked/pay\n"] {
            let good = from_text(&format!("{good}x-key: {KEY}\n")).encode_to_vec();
            assert!(
                matches!(world.send(good), Ok(answer) if answer.status.as_ref().is_some_and(|status| status.code == 0))
            );
        }
        world
    }

    fn send(&self, message: Vec<u8>) -> Result<CheckResponse, Status> {
        let mut client = Grpc::new(self.channel.clone());
        let path = http::uri::PathAndQuery::from_static("/envoy.service.auth.v3.Authorization/Check");
        self.runtime.block_on(async {
            client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
            client.unary(tonic::Request::new(message), path, Raw).await.map(tonic::Response::into_inner)
        })
    }
}

struct Plans {
    index: PlanIndex,
    _resources: Arc<Resources>,
}

impl Decide for Plans {
    async fn decide(&self, request: Arc<Request>, call: Call<'_>) -> Verdict {
        match self.index.find(&request) {
            Some(plan) => check(&plan, &request, call.deadline, None).await,
            None => Verdict::not_found(),
        }
    }
}

struct Ready;

impl Readiness for Ready {
    fn checks(&self) -> Vec<ReadinessCheck> {
        Vec::new()
    }
}

/// Sends bytes as they are: also such as are no message.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = CheckResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        prost::bytes::BufMut::put_slice(buffer, &message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = CheckResponse;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<CheckResponse>, Status> {
        Ok(Some(CheckResponse::decode(buffer).expect("an answer can be read")))
    }
}

fn from_text(text: &str) -> CheckRequest {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let (target, lines) = usher_fuzz::line(head);
    let mut words = target.splitn(3, ' ').map(str::to_owned);
    let mut word = || words.next().unwrap_or_default();
    let mut http = attribute_context::HttpRequest {
        method: word(),
        path: word(),
        host: word(),
        body: body.to_owned(),
        size: i64::try_from(body.len()).unwrap_or(-1),
        ..Default::default()
    };
    let mut list = Vec::new();
    let mut context_extensions = BTreeMap::new();
    for line in lines.lines() {
        if let Some((name, value)) = line.split_once(": ") {
            http.headers.insert(name.to_owned(), value.to_owned());
        } else if let Some((key, value)) = line.split_once("= ") {
            let raw_value = value.as_bytes().to_vec().into();
            list.push(HeaderValue { key: key.to_owned(), raw_value, ..HeaderValue::default() });
        } else if let Some((name, value)) = line.split_once("@ ") {
            context_extensions.insert(name.to_owned(), value.to_owned());
        }
    }
    http.header_map = (!list.is_empty()).then_some(HeaderMap { headers: list });
    CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(attribute_context::Request { http: Some(http), time: None }),
            context_extensions,
            ..AttributeContext::default()
        }),
    }
}
