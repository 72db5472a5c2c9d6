//! Requests to other servers, with values that callers choose.
//!
//! Input: a line with the name of a configuration of `http_endpoint.yaml`, then the value that is put into it.
//!
//! A server on this machine is asked. It is the only one that can be: a request that went to another address would fail
//! otherwise than a value that is refused.

#![no_main]

use std::{cell::RefCell, collections::BTreeMap, net::Ipv4Addr, rc::Rc};

use libfuzzer_sys::fuzz_target;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    task::LocalSet,
};
use usher_engine::{Plan, Request, RequestParts, Verdict, check};
use usher_fuzz::line;

/// Stands in the Secret that some configurations send along.
const SECRET: &str = "s3cr3t-7f3a9c";

fuzz_target!(init: WORLD.with(|_| {}), |text: &str| {
    let (name, value) = line(text);
    WORLD.with(|world| {
        if let Some(plan) = world.plans.get(name) {
            world.run(name, plan, value);
        }
    });
});

thread_local! {
    static WORLD: World = World::new();
}

struct World {
    runtime: Runtime,
    local: LocalSet,
    server: String,
    plans: BTreeMap<String, Plan>,
    seen: Rc<RefCell<Vec<Seen>>>,
}

/// A request as it came.
#[derive(Debug)]
struct Seen {
    head: Vec<u8>,
    body: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let (runtime, local) = (usher_fuzz::runtime(), LocalSet::new());
        let seen = Rc::new(RefCell::new(Vec::new()));
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a port");
        let server = listener.local_addr().expect("its number").to_string();
        local.spawn_local(serve(listener, Rc::clone(&seen)));
        let compiler = usher_fuzz::compiler(true);
        let text = include_str!("http_endpoint.yaml").replace("SERVER", &server).replace("SECRET", SECRET);
        let plans = usher_fuzz::load(&compiler, &text).into_iter();
        let plans = plans.map(|compiled| (compiled.plan.name.to_string(), compiled.plan)).collect();
        let world = Self { runtime, local, server, plans, seen };
        for (name, plan) in &world.plans {
            assert!(world.run(name, plan, "/a"), "{name} reaches the server");
        }
        world
    }

    /// Whether a request was sent.
    fn run(&self, name: &str, plan: &Plan, value: &str) -> bool {
        let headers = [("x-v".to_owned(), value.to_owned())].into();
        let request = Request::new(RequestParts { headers, ..RequestParts::default() });
        self.seen.borrow_mut().clear();
        let verdict = self.local.block_on(&self.runtime, check(plan, &request, None, None));
        let seen = self.seen.borrow();
        match verdict {
            Verdict::Allow(_) => {
                let [seen] = seen.as_slice() else { panic!("{name}: not one request: {seen:?}") };
                self.is_as_written(name, value, seen);
                true
            }
            // A value that cannot be sent.
            Verdict::Deny(denial) => {
                assert!(seen.is_empty(), "{name}: {seen:?}");
                assert_ne!(denial.reason, "address not allowed", "{name}");
                false
            }
            // The server always answers: another one was asked, or in a way that is none.
            Verdict::Undecidable(undecided) => panic!("{name}: {undecided:?} {seen:?}"),
        }
    }

    fn is_as_written(&self, name: &str, value: &str, seen: &Seen) {
        let head = String::from_utf8_lossy(&seen.head);
        let mut lines = head.strip_suffix("\r\n\r\n").expect("an end").split("\r\n");
        let target = lines.next().and_then(|line| line.strip_suffix(" HTTP/1.1")).expect("a request line");
        let (method, target) = target.split_once(' ').expect("a method");
        assert!(["GET", "POST"].contains(&method), "{name}: {head}");
        assert!(target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic()), "{name}: {target:?}");
        let mut names = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?} is no header"));
            assert!(!value.contains(|character: char| character.is_ascii_control() && character != '\t'), "{line:?}");
            match name {
                "host" => assert_eq!(value, self.server),
                "authorization" => assert_eq!(value, format!("Bearer {SECRET}")),
                "cookie" => assert_eq!(value, format!("sid={SECRET}")),
                "x-usher-nesting" => assert_eq!(value, "1"),
                "user-agent" | "accept" | "content-type" | "content-length" | "x-v" => {}
                _ => panic!("{head}: nobody wrote {name}"),
            }
            assert!(!names.contains(&name), "{name} comes twice: {head}");
            names.push(name);
        }
        assert!(names.contains(&"host"));
        match name {
            // One value is one value.
            "parameters" => {
                let pairs: Vec<_> = url::form_urlencoded::parse(&seen.body).into_owned().collect();
                assert_eq!(pairs, [("fixed".to_owned(), "1".to_owned()), ("v".to_owned(), value.to_owned())]);
            }
            "json" => {
                let body: serde_json::Value = serde_json::from_slice(&seen.body).expect("JSON");
                assert_eq!(body, serde_json::json!({"fixed": 1, "v": value}));
            }
            "body" => assert_eq!(seen.body, value.as_bytes()),
            // The secret stands in its place and nowhere else, and the caller cannot choose another.
            "secret-query" => {
                let query = target.split_once('?').map_or("", |(_, query)| query);
                let mut pairs = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "token");
                assert_eq!(pairs.next().expect("the secret").1, SECRET);
                assert!(pairs.next().is_none(), "{target}");
            }
            _ => {}
        }
        assert!(seen.body.is_empty() || method == "POST");
    }
}

async fn serve(listener: TcpListener, seen: Rc<RefCell<Vec<Seen>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::task::spawn_local(answer(stream, Rc::clone(&seen)));
    }
}

/// Answers requests one after another, as long as they can be read.
async fn answer(mut stream: TcpStream, seen: Rc<RefCell<Vec<Seen>>>) -> std::io::Result<()> {
    let mut received = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = received.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
        };
        let head: Vec<u8> = received.drain(..end).collect();
        let length = String::from_utf8_lossy(&head)
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
            .unwrap_or(0);
        while received.len() < length {
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
        }
        let body = received.drain(..length).collect();
        seen.borrow_mut().push(Seen { head, body });
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}").await?;
    }
}
