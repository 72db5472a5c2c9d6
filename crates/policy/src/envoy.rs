//! The library `envoy`: answers to check requests, put together call by call.
//!
//! ```text
//!  envoy.Allowed() ──► OkHttpResponse      .WithHeader  .WithoutHeader  .WithResponseHeader
//!                                          .WithQueryParam  .WithoutQueryParam
//!  envoy.Denied(code) ──► DeniedHttpResponse  .WithHeader  .WithBody
//!  either .Response() ──► CheckResponse    .WithMessage  .WithMetadata
//! ```

use std::sync::Arc;

use serde_json::{Map, Value};
use usher_expr::{
    EvaluationError,
    cel::{Argument, Call, Function, Library, Object, ObjectType},
};

/// The type of an answer that is complete.
pub(crate) const CHECK_RESPONSE: &str = "envoy.CheckResponse";

pub(crate) static LIBRARY: Library = Library {
    objects: &[
        ObjectType { name: "envoy.OkHttpResponse", fields: &[] },
        ObjectType { name: "envoy.DeniedHttpResponse", fields: &[] },
        ObjectType { name: CHECK_RESPONSE, fields: &[] },
        ObjectType { name: "envoy.HeaderValueOption", fields: &[] },
        ObjectType { name: "envoy.QueryParameter", fields: &[] },
    ],
    functions: &[
        function("envoy.Allowed", "() -> envoy.OkHttpResponse", allowed),
        function("envoy.Denied", "(int) -> envoy.DeniedHttpResponse", denied),
        function("envoy.Header", "(string, string) -> envoy.HeaderValueOption", pair),
        function("envoy.QueryParam", "(string, string) -> envoy.QueryParameter", pair),
        function(
            "envoy.Response",
            "(int) -> envoy.CheckResponse | (envoy.OkHttpResponse) -> envoy.CheckResponse | \
             (envoy.DeniedHttpResponse) -> envoy.CheckResponse",
            response,
        ),
        function(
            "Response",
            "envoy.OkHttpResponse.() -> envoy.CheckResponse | envoy.DeniedHttpResponse.() -> envoy.CheckResponse",
            response,
        ),
        function(
            "WithHeader",
            "envoy.OkHttpResponse.(envoy.HeaderValueOption) -> envoy.OkHttpResponse | \
             envoy.OkHttpResponse.(string, string) -> envoy.OkHttpResponse | \
             envoy.DeniedHttpResponse.(envoy.HeaderValueOption) -> envoy.DeniedHttpResponse | \
             envoy.DeniedHttpResponse.(string, string) -> envoy.DeniedHttpResponse",
            with_header,
        ),
        function("WithoutHeader", "envoy.OkHttpResponse.(string) -> envoy.OkHttpResponse", without_header),
        function(
            "WithResponseHeader",
            "envoy.OkHttpResponse.(envoy.HeaderValueOption) -> envoy.OkHttpResponse | \
             envoy.OkHttpResponse.(string, string) -> envoy.OkHttpResponse",
            with_response_header,
        ),
        function(
            "WithQueryParam",
            "envoy.OkHttpResponse.(envoy.QueryParameter) -> envoy.OkHttpResponse | \
             envoy.OkHttpResponse.(string, string) -> envoy.OkHttpResponse",
            with_query_parameter,
        ),
        function("WithoutQueryParam", "envoy.OkHttpResponse.(string) -> envoy.OkHttpResponse", without_query_parameter),
        function("WithBody", "envoy.DeniedHttpResponse.(string) -> envoy.DeniedHttpResponse", with_body),
        function(
            "KeepEmptyValue",
            "envoy.HeaderValueOption.() -> envoy.HeaderValueOption | \
             envoy.HeaderValueOption.(bool) -> envoy.HeaderValueOption",
            keep_empty_value,
        ),
        function("WithMessage", "envoy.CheckResponse.(string) -> envoy.CheckResponse", with_message),
        function("WithMetadata", "envoy.CheckResponse.(map(string, dyn)) -> envoy.CheckResponse", with_metadata),
    ],
};

const fn function(name: &'static str, signatures: &'static str, call: Call) -> Function {
    Function { name, signatures, call }
}

/// `OkHttpResponse`: how an allowed request and its response are changed. Names of headers are in lower case.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct OkHttpResponse {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) remove_headers: Vec<String>,
    pub(crate) response_headers: Vec<(String, String)>,
    pub(crate) query_parameters: Vec<(String, String)>,
    pub(crate) remove_query_parameters: Vec<String>,
}

/// `DeniedHttpResponse`: what the client gets instead.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct DeniedHttpResponse {
    /// The HTTP status, as the policy says it.
    pub(crate) status: i64,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// `CheckResponse`: an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CheckResponse {
    pub(crate) http: Http,
    pub(crate) message: String,
    /// Shared: the calls that follow copy the answer.
    pub(crate) metadata: Arc<Map<String, Value>>,
}

/// Which answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Http {
    Allowed(OkHttpResponse),
    Denied(DeniedHttpResponse),
}

/// A header or a query parameter, by name and value. Which one it is, the type checker knows.
#[derive(Debug, Clone)]
struct Pair(String, String);

impl Object for OkHttpResponse {
    fn size(&self) -> usize {
        pairs(&self.headers)
            + pairs(&self.response_headers)
            + pairs(&self.query_parameters)
            + names(&self.remove_headers)
            + names(&self.remove_query_parameters)
    }
}

impl Object for DeniedHttpResponse {
    fn size(&self) -> usize {
        pairs(&self.headers) + self.body.len()
    }
}

impl Object for CheckResponse {
    fn size(&self) -> usize {
        let http = match &self.http {
            Http::Allowed(allowed) => allowed.size(),
            Http::Denied(denied) => denied.size(),
        };
        http + self.message.len()
    }
}

impl Object for Pair {
    fn size(&self) -> usize {
        self.0.len() + self.1.len()
    }
}

/// What an entry of a list takes besides its text, in bytes.
const ENTRY: usize = 64;

fn pairs(list: &[(String, String)]) -> usize {
    list.iter().map(|(name, value)| name.len() + value.len() + ENTRY).sum()
}

fn names(list: &[String]) -> usize {
    list.iter().map(|name| name.len() + ENTRY).sum()
}

type Outcome = Result<Box<dyn Object>, EvaluationError>;

fn no_overload() -> EvaluationError {
    EvaluationError::new("no such overload")
}

/// The object that a member is called on, to be changed, and the arguments.
fn target<'a, 'v, T: Object + Clone>(
    arguments: &'a [Argument<'v>],
) -> Result<(T, &'a [Argument<'v>]), EvaluationError> {
    let [target, arguments @ ..] = arguments else { return Err(no_overload()) };
    Ok((target.object::<T>().cloned().ok_or_else(no_overload)?, arguments))
}

fn text(arguments: &[Argument<'_>]) -> Result<String, EvaluationError> {
    match arguments {
        [text] => Ok(text.text()?.to_owned()),
        _ => Err(no_overload()),
    }
}

/// A name and a value: two arguments, or one that is both.
fn pair_of(arguments: &[Argument<'_>]) -> Result<Pair, EvaluationError> {
    match arguments {
        [name, value] => Ok(Pair(name.text()?.to_owned(), value.text()?.to_owned())),
        [pair] => pair.object::<Pair>().cloned().ok_or_else(no_overload),
        _ => Err(no_overload()),
    }
}

/// A header, its name in lower case.
fn header_of(arguments: &[Argument<'_>]) -> Result<(String, String), EvaluationError> {
    pair_of(arguments).map(|Pair(name, value)| (name.to_ascii_lowercase(), value))
}

fn allowed(_: &[Argument<'_>]) -> Outcome {
    Ok(Box::new(OkHttpResponse::default()))
}

fn denied(arguments: &[Argument<'_>]) -> Outcome {
    let [code] = arguments else { return Err(no_overload()) };
    Ok(Box::new(DeniedHttpResponse { status: code.integer()?, ..DeniedHttpResponse::default() }))
}

fn pair(arguments: &[Argument<'_>]) -> Outcome {
    Ok(Box::new(pair_of(arguments)?))
}

/// From one of the two kinds, or from a code of gRPC, of which 0 alone allows.
fn response(arguments: &[Argument<'_>]) -> Outcome {
    let [http] = arguments else { return Err(no_overload()) };
    let http = if let Some(allowed) = http.object::<OkHttpResponse>() {
        Http::Allowed(allowed.clone())
    } else if let Some(denied) = http.object::<DeniedHttpResponse>() {
        Http::Denied(denied.clone())
    } else if http.integer()? == 0 {
        Http::Allowed(OkHttpResponse::default())
    } else {
        Http::Denied(DeniedHttpResponse { status: 403, ..DeniedHttpResponse::default() })
    };
    Ok(Box::new(CheckResponse { http, message: String::new(), metadata: Arc::default() }))
}

fn with_header(arguments: &[Argument<'_>]) -> Outcome {
    if let Ok((mut allowed, arguments)) = target::<OkHttpResponse>(arguments) {
        allowed.headers.push(header_of(arguments)?);
        return Ok(Box::new(allowed));
    }
    let (mut denied, arguments) = target::<DeniedHttpResponse>(arguments)?;
    denied.headers.push(header_of(arguments)?);
    Ok(Box::new(denied))
}

fn without_header(arguments: &[Argument<'_>]) -> Outcome {
    let (mut allowed, arguments) = target::<OkHttpResponse>(arguments)?;
    allowed.remove_headers.push(text(arguments)?.to_ascii_lowercase());
    Ok(Box::new(allowed))
}

fn with_response_header(arguments: &[Argument<'_>]) -> Outcome {
    let (mut allowed, arguments) = target::<OkHttpResponse>(arguments)?;
    allowed.response_headers.push(header_of(arguments)?);
    Ok(Box::new(allowed))
}

fn with_query_parameter(arguments: &[Argument<'_>]) -> Outcome {
    let (mut allowed, arguments) = target::<OkHttpResponse>(arguments)?;
    let Pair(name, value) = pair_of(arguments)?;
    allowed.query_parameters.push((name, value));
    Ok(Box::new(allowed))
}

fn without_query_parameter(arguments: &[Argument<'_>]) -> Outcome {
    let (mut allowed, arguments) = target::<OkHttpResponse>(arguments)?;
    allowed.remove_query_parameters.push(text(arguments)?);
    Ok(Box::new(allowed))
}

fn with_body(arguments: &[Argument<'_>]) -> Outcome {
    let (mut denied, arguments) = target::<DeniedHttpResponse>(arguments)?;
    denied.body = text(arguments)?;
    Ok(Box::new(denied))
}

/// Changes nothing: empty values are kept in any case.
fn keep_empty_value(arguments: &[Argument<'_>]) -> Outcome {
    let (header, keep) = target::<Pair>(arguments)?;
    keep.iter().try_for_each(|keep| keep.boolean().map(|_| ()))?;
    Ok(Box::new(header))
}

fn with_message(arguments: &[Argument<'_>]) -> Outcome {
    let (mut response, arguments) = target::<CheckResponse>(arguments)?;
    response.message = text(arguments)?;
    Ok(Box::new(response))
}

fn with_metadata(arguments: &[Argument<'_>]) -> Outcome {
    let (mut response, arguments) = target::<CheckResponse>(arguments)?;
    let [metadata] = arguments else { return Err(no_overload()) };
    let Value::Object(metadata) = metadata.json()? else { return Err(no_overload()) };
    response.metadata = Arc::new(metadata);
    Ok(Box::new(response))
}
