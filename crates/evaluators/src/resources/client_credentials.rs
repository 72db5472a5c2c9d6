//! Tokens of the OAuth 2.0 client credentials grant (RFC 6749 §4.4), shared by all rules that ask for the same.
//!
//! ```text
//!  rules ──► Arc<TokenClient> ◄── weak ── Tokens      one TokenClient per configuration, secret included
//!                  │
//!                  ├─ token      given out until ten seconds before it expires
//!                  ├─ fetch      one at a time: whoever comes while it is under way waits for it
//!                  └─ failure    remembered for a second, so that checks do not queue up at a dead token server
//! ```
//!
//! The client shows its secret by basic authentication first, and, if the server answers with an error, as form fields.
//! Which of the two worked is remembered. `expires_in` of 0, or none, means that a token does not expire.
//!
//! A fetch goes on when the check that began it has given up: the next check needs the token as well.

mod answer;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, future::Shared};
use http::{
    HeaderMap, HeaderValue, Method,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use tokio::sync::oneshot;
use url::form_urlencoded;

use super::{
    http::{Client, FetchErrorKind, Request},
    in_use::InUse,
};
use crate::{SecretText, basic_authorization};

/// A token is not given out any more when it expires so soon: on its way it could.
const EARLY: Duration = Duration::from_secs(10);

/// How long a failure is the answer to everybody.
const FAILURE_TIME: Duration = Duration::from_secs(1);

/// A token that is refused so soon after it was made is not what is wrong: another one would be refused as well.
const YOUNG: Duration = Duration::from_secs(10);

/// The longest life of a token that counts: a year. Any longer is as good as for ever.
const LONGEST_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What a client asks for, and as whom. Rules with equal ones share their token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClientConfig {
    /// The URL of the token endpoint.
    pub token_url: String,
    /// The client identifier (RFC 6749 §2.2).
    pub client_id: String,
    /// The client secret (RFC 6749 §2.3.1).
    pub client_secret: SecretText,
    /// The scopes that are asked for.
    pub scopes: Vec<String>,
    /// Further parameters. One named `grant_type` replaces the usual one.
    pub extra_params: BTreeMap<String, String>,
    /// The time limit of each request to the token endpoint; that of the client if not given.
    pub timeout: Option<Duration>,
}

/// All clients in use.
pub struct Tokens {
    http: Client,
    clock: Clock,
    clients: InUse<ClientConfig, TokenClient>,
}

/// Says what time it is.
pub(crate) type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

impl Tokens {
    /// No clients yet; tokens are asked for with `http`.
    #[must_use]
    pub fn new(http: Client) -> Self {
        Self::with_clock(http, Arc::new(Instant::now))
    }

    pub(crate) fn with_clock(http: Client, clock: Clock) -> Self {
        Self { http, clock, clients: InUse::default() }
    }

    /// The client with that configuration. Nothing is fetched before a token is asked for. When the last who holds the
    /// client drops it, its token is forgotten.
    #[must_use]
    pub fn client(&self, config: ClientConfig) -> Arc<TokenClient> {
        self.clients.get(config.clone(), || TokenClient {
            config,
            http: self.http.clone(),
            clock: Arc::clone(&self.clock),
            state: Mutex::default(),
        })
    }
}

/// Gets tokens for one client.
pub struct TokenClient {
    config: ClientConfig,
    http: Client,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    failure: Option<(Instant, TokenError)>,
    underway: Option<Underway>,
    style: Option<Style>,
}

type Underway = Shared<oneshot::Receiver<Result<Token, TokenError>>>;

/// How the client shows its secret (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// By HTTP basic authentication.
    Basic,
    /// As fields of the form.
    Form,
}

/// An access token.
#[derive(Clone, Debug)]
pub struct Token {
    text: SecretText,
    obtained: Instant,
    /// When it is not given out any more.
    stale: Option<Instant>,
}

impl Token {
    /// The token as it is sent.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.text.reveal()
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.stale.is_none_or(|stale| now < stale)
    }
}

/// Why there is no token. Displayed for logs, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct TokenError {
    detail: Arc<str>,
    /// Whether the server said so: then it may like the other style better.
    answered: bool,
}

impl TokenError {
    fn answered(detail: impl Into<Arc<str>>) -> Self {
        Self { detail: detail.into(), answered: true }
    }

    fn broken_off() -> Self {
        Self { detail: "oauth2: the token request broke off".into(), answered: false }
    }
}

impl TokenClient {
    /// The token, or a new one if it has expired.
    ///
    /// # Errors
    /// When the token endpoint gives none, or did not less than a second ago.
    pub async fn token(self: &Arc<Self>) -> Result<Token, TokenError> {
        let underway = {
            let mut state = self.lock();
            let now = (self.clock)();
            if let Some(token) = state.token.as_ref().filter(|token| token.is_fresh(now)) {
                return Ok(token.clone());
            }
            state.no_recent_failure(now)?;
            state.underway.get_or_insert_with(|| self.begin()).clone()
        };
        underway.await.unwrap_or_else(|_| {
            // The runtime of the fetch has ended; this one has not.
            self.lock().underway = None;
            Err(TokenError::broken_off())
        })
    }

    /// A new token, for whoever asks and for all who come later.
    ///
    /// # Errors
    /// As [`token`](Self::token).
    pub async fn new_token(&self) -> Result<Token, TokenError> {
        self.lock().no_recent_failure((self.clock)())?;
        let result = self.fetch().await;
        self.lock().keep(&result, (self.clock)());
        result
    }

    /// Forgets a token that a server did not accept. Says whether another one can be had: not if it is so young that
    /// it cannot be what is wrong.
    pub fn reject(&self, token: &Token) -> bool {
        let mut state = self.lock();
        let is_current = state.token.as_ref().is_some_and(|current| current.text == token.text);
        if !is_current {
            return true;
        }
        if (self.clock)().saturating_duration_since(token.obtained) < YOUNG {
            return false;
        }
        state.token = None;
        true
    }

    /// Fetches in the background.
    fn begin(self: &Arc<Self>) -> Underway {
        let (sender, receiver) = oneshot::channel();
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let fetched = AssertUnwindSafe(this.fetch()).catch_unwind().await;
            let result = fetched.unwrap_or_else(|_| Err(TokenError::broken_off()));
            let mut state = this.lock();
            state.keep(&result, (this.clock)());
            state.underway = None;
            drop(state);
            // Nobody may be waiting any more.
            let _ = sender.send(result);
        });
        receiver.shared()
    }

    async fn fetch(&self) -> Result<Token, TokenError> {
        let known = self.lock().style;
        let mut style = known.unwrap_or(Style::Basic);
        let mut result = self.request(style).await;
        if known.is_none() && result.as_ref().is_err_and(|error| error.answered) {
            style = Style::Form;
            result = self.request(style).await;
        }
        match &result {
            Ok(_) => self.lock().style = Some(style),
            Err(error) => tracing::debug!(client = ?self.config, %error, "no token"),
        }
        result
    }

    async fn request(&self, style: Style) -> Result<Token, TokenError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        if style == Style::Basic {
            headers.insert(AUTHORIZATION, self.config.basic()?);
        }
        let request = Request {
            method: Method::POST,
            url: self.config.token_url.clone(),
            headers,
            body: self.config.form(style).into(),
            timeout: self.config.timeout,
        };
        let response = self.http.fetch(request).await.map_err(|error| TokenError {
            answered: error.kind() == FetchErrorKind::TooLarge,
            detail: format!("oauth2: cannot fetch token: {error}").into(),
        })?;
        let now = (self.clock)();
        let answer = answer::read(&response).map_err(TokenError::answered)?;
        let stale = answer.expires_in.map(|life| match u64::try_from(life) {
            Ok(seconds) => now + Duration::from_secs(seconds).min(LONGEST_LIFE).saturating_sub(EARLY),
            Err(_) => now,
        });
        Ok(Token { text: answer.access_token, obtained: now, stale })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn no_recent_failure(&self, now: Instant) -> Result<(), TokenError> {
        match &self.failure {
            Some((at, error)) if now.saturating_duration_since(*at) < FAILURE_TIME => Err(error.clone()),
            _ => Ok(()),
        }
    }

    fn keep(&mut self, result: &Result<Token, TokenError>, now: Instant) {
        match result {
            Ok(token) => {
                self.token = Some(token.clone());
                self.failure = None;
            }
            Err(error) => self.failure = Some((now, error.clone())),
        }
    }
}

impl ClientConfig {
    /// The header of basic authentication. Identifier and secret are encoded as in a form (RFC 6749 §2.3.1).
    fn basic(&self) -> Result<HeaderValue, TokenError> {
        let (id, secret) = (query_escape(&self.client_id), query_escape(self.client_secret.reveal()));
        basic_authorization::header(&id, &secret).map_err(|_| TokenError::broken_off())
    }

    fn form(&self, style: Style) -> String {
        let scope = self.scopes.join(" ");
        let mut fields = BTreeMap::from([("grant_type", "client_credentials")]);
        if !self.scopes.is_empty() {
            fields.insert("scope", &scope);
        }
        for (name, value) in &self.extra_params {
            fields.insert(name, value);
        }
        if style == Style::Form {
            fields.insert("client_id", &self.client_id);
            fields.insert("client_secret", self.client_secret.reveal());
        }
        form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
    }
}

/// Percent-encodes all but unreserved characters (RFC 3986 §2.3), and spaces as `+`. Unlike the serializer of forms it
/// leaves `~` alone, for the sake of servers that do not decode.
fn query_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            b' ' => escaped.push('+'),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Without what may be secret.
impl fmt::Debug for ClientConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = url::Url::parse(&self.token_url).map(|url| super::http::shown(&url)).unwrap_or_default();
        formatter
            .debug_struct("ClientConfig")
            .field("token_url", &url)
            .field("client_id", &self.client_id)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TokenClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TokenClient").field("config", &self.config).finish_non_exhaustive()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tokens").field("clients", &self.clients.len()).finish_non_exhaustive()
    }
}
