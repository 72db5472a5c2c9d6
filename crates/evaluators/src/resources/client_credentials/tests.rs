use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use super::{
    super::http::{
        Options,
        test_server::{Reply, TestServer},
    },
    *,
};

/// A clock that stands still until it is moved.
#[derive(Clone)]
struct TestClock(Arc<Mutex<Instant>>);

impl TestClock {
    fn forward(&self, milliseconds: u64) {
        *self.0.lock().unwrap() += Duration::from_millis(milliseconds);
    }
}

struct World {
    server: TestServer,
    clock: TestClock,
    tokens: Tokens,
}

impl World {
    async fn new() -> Self {
        let server = TestServer::start().await;
        let clock = TestClock(Arc::new(Mutex::new(Instant::now())));
        let http = Client::new(Options { allow_loopback: true, max_body: 4096, ..Options::default() }).unwrap();
        let for_tokens = clock.clone();
        let tokens = Tokens::with_clock(http, Arc::new(move || *for_tokens.0.lock().unwrap()));
        Self { server, clock, tokens }
    }

    fn config(&self) -> ClientConfig {
        ClientConfig {
            token_url: format!("{}/token", self.server.url),
            client_id: "cli".to_owned(),
            client_secret: "pw".into(),
            scopes: Vec::new(),
            extra_params: BTreeMap::new(),
            timeout: Some(Duration::from_secs(30)),
        }
    }

    fn client(&self) -> Arc<TokenClient> {
        self.tokens.client(self.config())
    }

    fn reply(&self, replies: impl IntoIterator<Item = Reply>) {
        self.server.set_each("/token", replies);
    }

    /// Tokens t-1, t-2, … with that member `expires_in`.
    fn reply_tokens(&self, expires_in: &Value) {
        self.reply((1..=20).map(|number| token(&format!("t-{number}"), expires_in)));
    }

    fn count(&self) -> usize {
        self.server.count("/token")
    }

    fn last(&self) -> String {
        self.server.last_request("/token").unwrap()
    }
}

fn token(text: &str, expires_in: &Value) -> Reply {
    Reply::json(&json!({"access_token": text, "token_type": "Bearer", "expires_in": expires_in}))
}

fn refusal(status: u16, body: &Value) -> Reply {
    Reply::text(status, &body.to_string()).with_header("content-type", "application/json")
}

fn text(result: Result<Token, TokenError>) -> Result<String, String> {
    result.map(|token| token.reveal().to_owned()).map_err(|error| error.to_string())
}

fn body(request: &str) -> &str {
    request.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn tokens_are_kept_unless_a_new_one_is_asked_for() {
    let world = World::new().await;
    world.reply_tokens(&json!(300));
    let client = world.client();
    let mut got = Vec::new();
    for new in [false, false, true, true, false] {
        let result = if new { client.new_token().await } else { client.token().await };
        got.push(text(result).unwrap());
    }
    assert_eq!(got, ["t-1", "t-1", "t-2", "t-3", "t-3"]);
}

#[tokio::test]
async fn the_request_is_that_of_the_grant() {
    let world = World::new().await;
    world.reply_tokens(&json!(300));
    let params = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let cases = [
        (&[][..], params(&[]), "grant_type=client_credentials"),
        (&["read", "write"], params(&[]), "grant_type=client_credentials&scope=read+write"),
        (&[], params(&[("audience", "a b&c")]), "audience=a+b%26c&grant_type=client_credentials"),
        (&[], params(&[("scope", "own"), ("grant_type", "other")]), "grant_type=other&scope=own"),
    ];
    for (scopes, extra_params, expected) in cases {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let client = world.tokens.client(ClientConfig { scopes, extra_params, ..world.config() });
        client.token().await.unwrap();
        let request = world.last();
        assert!(request.starts_with("POST /token HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\ncontent-type: application/x-www-form-urlencoded\r\n"), "{request}");
        assert!(request.contains("\r\nauthorization: Basic Y2xpOnB3\r\n"), "{request}");
        assert_eq!(body(&request), expected);
    }
}

#[test]
fn identifier_and_secret_are_escaped_as_in_a_form() {
    let cases = [
        ("cli", "pw", "cli:pw"),
        ("a b", "c:d", "a+b:c%3Ad"),
        ("ä-_.~", "*!%+/=", "%C3%A4-_.~:%2A%21%25%2B%2F%3D"),
        ("", "", ":"),
    ];
    for (id, secret, expected) in cases {
        let config = ClientConfig {
            token_url: String::new(),
            client_id: id.to_owned(),
            client_secret: secret.into(),
            scopes: Vec::new(),
            extra_params: BTreeMap::new(),
            timeout: None,
        };
        let header = config.basic().unwrap();
        assert!(header.is_sensitive());
        assert_eq!(header.to_str().unwrap(), format!("Basic {}", STANDARD.encode(expected)));
    }
}

#[tokio::test]
async fn a_token_is_given_out_until_ten_seconds_before_it_expires() {
    // What `expires_in` is, how much later the token is asked for again, and whether it is the same.
    let cases = [
        (json!(300), 289_999, true),
        (json!(300), 290_000, false),
        (json!("300"), 289_999, true),
        (json!("300"), 290_000, false),
        (json!(300.9), 289_999, true),
        (json!(300.9), 290_000, false),
        (json!(10), 0, false),
        (json!(5), 0, false),
        (json!(-1), 0, false),
        (json!(0), 1 << 40, true),
        (json!(null), 1 << 40, true),
        (json!(""), 1 << 40, true),
        (json!(1_u64 << 62), 1 << 30, true),
    ];
    for (expires_in, later, same) in cases {
        let world = World::new().await;
        world.reply_tokens(&expires_in);
        let client = world.client();
        assert_eq!(text(client.token().await).unwrap(), "t-1");
        world.clock.forward(later);
        let expected = if same { "t-1" } else { "t-2" };
        assert_eq!(text(client.token().await).unwrap(), expected, "{expires_in} {later}");
    }
}

#[tokio::test]
async fn all_who_come_during_a_fetch_wait_for_it() {
    let world = World::new().await;
    world.reply_tokens(&json!(-1));
    world.server.set_open(false);
    let client = world.client();
    // Each one is begun before the server is looked at.
    let waiting = join_all((0..10).map(|_| client.token()));
    let opening = async {
        while world.count() == 0 {
            tokio::task::yield_now().await;
        }
        world.server.set_open(true);
    };
    let (results, ()) = join(waiting, opening).await;
    for result in results {
        assert_eq!(text(result).unwrap(), "t-1");
    }
    assert_eq!(world.count(), 1);
    // That one is over.
    assert_eq!(text(client.token().await).unwrap(), "t-2");
}

#[tokio::test]
async fn a_fetch_goes_on_when_the_one_who_began_it_gives_up() {
    let world = World::new().await;
    world.reply_tokens(&json!(300));
    world.server.set_open(false);
    let client = world.client();
    let mut first = Box::pin(client.token());
    assert!(futures_util::poll!(&mut first).is_pending());
    drop(first);
    let opening = async {
        while world.count() == 0 {
            tokio::task::yield_now().await;
        }
        world.server.set_open(true);
    };
    let (result, ()) = join(client.token(), opening).await;
    assert_eq!((text(result).unwrap().as_str(), world.count()), ("t-1", 1));
}

#[test]
fn a_fetch_whose_runtime_ended_is_begun_anew() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (long, short) = (runtime(), runtime());
    let world = long.block_on(World::new());
    world.reply_tokens(&json!(300));
    let client = world.client();
    short.block_on(async {
        assert!(futures_util::poll!(Box::pin(client.token())).is_pending());
    });
    drop(short);
    assert!(long.block_on(client.token()).is_err());
    assert_eq!(text(long.block_on(client.token())).unwrap(), "t-1");
}

#[tokio::test]
async fn a_failure_is_the_answer_for_a_second() {
    let world = World::new().await;
    world.reply([refusal(401, &json!({"error": "invalid_client"}))]);
    let client = world.client();
    for new in [false, true] {
        world.clock.forward(1_000);
        let before = world.count();
        for later in [0, 500, 499] {
            world.clock.forward(later);
            let result = if new { client.new_token().await } else { client.token().await };
            assert_eq!(text(result).unwrap_err(), "oauth2: \"invalid_client\"");
        }
        assert_eq!(world.count() - before, 2, "one for each style");
    }
    world.reply_tokens(&json!(300));
    assert!(client.token().await.is_err());
    world.clock.forward(1);
    assert_eq!(text(client.token().await).unwrap(), "t-1");
}

#[tokio::test]
async fn a_secret_is_sent_in_the_style_that_the_server_likes() {
    let world = World::new().await;
    let client = world.client();
    world.reply([refusal(401, &json!({"error": "invalid_client"})), token("t-1", &json!(-1))]);
    assert_eq!(text(client.token().await).unwrap(), "t-1");
    assert_eq!(world.count(), 2);
    // Remembered from now on, whatever happens.
    assert!(client.token().await.is_ok());
    assert_eq!(world.count(), 3);
    let request = world.last();
    assert!(!request.contains("authorization"), "{request}");
    assert_eq!(body(&request), "client_id=cli&client_secret=pw&grant_type=client_credentials");
    world.reply([refusal(500, &json!({}))]);
    assert!(client.token().await.is_err());
    assert_eq!(world.count(), 4);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_asked_once() {
    let world = World::new().await;
    let config = ClientConfig { token_url: "http://127.0.0.1:1/token".to_owned(), ..world.config() };
    let error = text(world.tokens.client(config).token().await).unwrap_err();
    assert!(error.starts_with("oauth2: cannot fetch token: POST http://127.0.0.1:1/token: "), "{error}");
    let config = ClientConfig { token_url: "http://169.254.169.254/token".to_owned(), ..world.config() };
    let error = text(world.tokens.client(config).token().await).unwrap_err();
    assert!(error.ends_with("the address 169.254.169.254 may not be reached: link-local"), "{error}");
}

#[tokio::test]
async fn answers_are_forms_or_json_and_errors_name_what_the_server_says() {
    let typed = |content_type: &str, body: &str| Reply::text(200, body).with_header("content-type", content_type);
    let ok = Ok("x".to_owned());
    let error = |text: &str| Err(text.to_owned());
    let cases = [
        (typed("application/json", r#"{"access_token":"x"}"#), ok.clone()),
        (Reply::text(200, r#"{"access_token":"x"}"#), ok.clone()),
        (Reply::text(201, r#"{"access_token":"x"}"#), ok.clone()),
        (typed("application/x-www-form-urlencoded", "access_token=x&expires_in=300"), ok.clone()),
        (typed("Text/Plain; charset=utf-8", "access_token=x"), ok),
        (typed("text/plain", r#"{"access_token":"x"}"#), error("oauth2: server response missing access_token")),
        (typed("application/json", "{}"), error("oauth2: server response missing access_token")),
        (typed("application/json", r#"{"access_token":""}"#), error("oauth2: server response missing access_token")),
        (typed("application/json", r#"{"access_token":5}"#), error("oauth2: server response missing access_token")),
        (
            typed("application/json", r#"{"access_token":"x","expires_in":"soon"}"#),
            error("oauth2: `expires_in` of the server response is not a number"),
        ),
        (
            typed("application/json", r#"{"access_token":"x","expires_in":[]}"#),
            error("oauth2: `expires_in` of the server response is not a number"),
        ),
        (typed("application/x-www-form-urlencoded", "error=bad&access_token=x"), error("oauth2: \"bad\"")),
        (
            refusal(400, &json!({"error": "a", "error_description": "b\n\"", "error_uri": "c"})),
            error(r#"oauth2: "a" "b\n\"" "c""#),
        ),
        (Reply::text(401, "secret in here"), error("oauth2: cannot fetch token: 401 Unauthorized")),
        (Reply::text(302, ""), error("oauth2: cannot fetch token: 302 Found")),
    ];
    for (number, (reply, expected)) in cases.into_iter().enumerate() {
        let world = World::new().await;
        world.reply([reply]);
        assert_eq!(text(world.client().token().await), expected, "{number}");
    }
    for reply in [
        typed("application/json", "[]"),
        typed("application/json", ""),
        typed("application/json", "\"hush\""),
        typed("", "access_token=x"),
    ] {
        let world = World::new().await;
        world.reply([reply]);
        let error = text(world.client().token().await).unwrap_err();
        assert!(error.starts_with("oauth2: cannot parse token response: "), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
    let world = World::new().await;
    world.reply([Reply::text(200, &format!("{{\"access_token\": \"x\", \"pad\": \"{}\"}}", "p".repeat(5000)))]);
    let error = text(world.client().token().await).unwrap_err();
    assert!(error.ends_with("the body has more than 4096 bytes"), "{error}");
}

#[tokio::test]
async fn a_rejected_token_is_forgotten_unless_it_is_young() {
    let world = World::new().await;
    world.reply_tokens(&json!(300));
    let client = world.client();
    let first = client.token().await.unwrap();
    assert!(!client.reject(&first));
    world.clock.forward(9_999);
    assert!(!client.reject(&first));
    assert_eq!(text(client.token().await).unwrap(), "t-1");
    world.clock.forward(1);
    assert!(client.reject(&first));
    assert_eq!(text(client.token().await).unwrap(), "t-2");
    // Somebody else noticed first: the new one stays.
    assert!(client.reject(&first));
    assert_eq!(text(client.token().await).unwrap(), "t-2");
    assert_eq!(world.count(), 2);
}

#[tokio::test]
async fn equal_configurations_share_a_client_as_long_as_it_is_used() {
    let world = World::new().await;
    world.reply_tokens(&json!(300));
    let (one, two) = (world.client(), world.client());
    assert!(Arc::ptr_eq(&one, &two));
    one.token().await.unwrap();
    assert_eq!(text(two.token().await).unwrap(), "t-1");
    let others = [
        ClientConfig { client_secret: "rotated".into(), ..world.config() },
        ClientConfig { client_id: "other".to_owned(), ..world.config() },
        ClientConfig { scopes: vec!["a".to_owned()], ..world.config() },
        ClientConfig { extra_params: BTreeMap::from([("a".to_owned(), "b".to_owned())]), ..world.config() },
        ClientConfig { token_url: format!("{}/token?x", world.server.url), ..world.config() },
    ];
    for (number, config) in others.into_iter().enumerate() {
        let client = world.tokens.client(config);
        assert_eq!(text(client.token().await).unwrap(), format!("t-{}", number + 2));
    }
    drop((one, two));
    assert_eq!(text(world.client().token().await).unwrap(), "t-7");
}

#[tokio::test]
async fn clients_that_have_gone_are_swept_out() {
    let world = World::new().await;
    for number in 0..1000 {
        drop(world.tokens.client(ClientConfig { client_id: number.to_string(), ..world.config() }));
    }
    assert!(world.tokens.clients.len() <= 128);
}

#[tokio::test]
async fn nothing_shows_a_secret() {
    let world = World::new().await;
    world.reply([token("hush-token", &json!(300))]);
    let client = world.tokens.client(ClientConfig {
        token_url: format!("{}/token?key=hush-query", world.server.url),
        client_secret: "hush-secret".into(),
        extra_params: BTreeMap::from([("password".to_owned(), "hush-param".to_owned())]),
        ..world.config()
    });
    let token = client.token().await.unwrap();
    let shown = format!("{client:?} {token:?} {:?}", world.tokens);
    assert!(!shown.contains("hush") && shown.contains("cli"), "{shown}");
}
