//! Client certificates, which anybody can show to the gateway, and the headers in which gateways pass them on.
//!
//! Input: a line that says what follows.
//!
//! | first line | the rest |
//! | --- | --- |
//! | `connection`, `first`, `last`, `header`, `expression` | what stands where a rule of that kind looks for it |
//! | `appended` | what a client sent as `x-forwarded-client-cert`; the gateway appends the certificate of `ana` |
//! | `uri` | the URI in the certificate of `ana`, which gateways write into that header as it is |
//! | `der` | a certificate in binary form, and others behind `\n--\n`: shown in every place |
//! | `trust` | certificates in PEM, which a Secret holds |
//!
//! `@ana` stands for the certificate of `ana` in PEM, percent-encoded, and `#ana` for it in base64; so with the others.

#![no_main]

use std::{collections::BTreeMap, sync::LazyLock};

use base64::{Engine, prelude::BASE64_STANDARD};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use usher_compile::Compiler;
use usher_engine::{Plan, Request, RequestParts, Verdict, request::Peer};

/// Who is vouched for, who is not, and who vouches.
const CERTIFICATES: [(&str, &str); 7] = [
    ("ana", include_str!("x509/ana.pem")),
    ("bob", include_str!("x509/bob.pem")),
    ("cyd", include_str!("x509/cyd.pem")),
    ("eve", include_str!("x509/eve.pem")),
    ("server", include_str!("x509/server.pem")),
    ("inter", include_str!("x509/inter.pem")),
    ("ca", include_str!("x509/ca.pem")),
];

/// The only ones who can get in: `eve` has a certificate of somebody who only has the name of `ca`, and that of `server`
/// is for servers.
const KNOWN: [&str; 5] = ["ana", "bob", "cyd", "inter", "ca"];

fuzz_target!(|bytes: &[u8]| {
    WORLD.with(|world| {
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        let (what, rest) = bytes.split_at(end);
        let rest = rest.get(1..).unwrap_or_default();
        let text = with_certificates(&String::from_utf8_lossy(rest));
        match std::str::from_utf8(what).unwrap_or_default() {
            place @ ("connection" | "first" | "last" | "header" | "expression") => _ = world.who(place, &text),
            "appended" => {
                let ana = ANA.as_str();
                let header = format!("{text},By=x;Hash=1f;{ana}");
                assert!(matches!(world.who("last", &header).as_deref(), None | Some("ana")), "{header}");
            }
            "uri" => {
                let ana = ANA.as_str();
                let header = format!("Hash=1f;{ana};URI={text}");
                assert!(matches!(world.who("first", &header).as_deref(), None | Some("ana")), "{header}");
            }
            "der" => world.show_everywhere(rest),
            "trust" => world.trust(&text),
            _ => {}
        }
    });
});

static ANA: LazyLock<String> = LazyLock::new(|| with_certificates("Cert=\"@ana\";Subject=\"CN=ana\""));

/// What the text says, with certificates in place of their names.
fn with_certificates(text: &str) -> String {
    CERTIFICATES.iter().fold(text.to_owned(), |text, (name, pem)| {
        text.replace(&format!("@{name}"), &encoded(pem)).replace(&format!("#{name}"), &base64(pem))
    })
}

fn encoded(pem: &str) -> String {
    pem.replace('%', "%25").replace('+', "%2B").replace(' ', "%20").replace('\n', "%0A").replace('=', "%3D")
}

fn base64(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with('-')).collect()
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64_STANDARD.encode(der))
}

thread_local! {
    static WORLD: World = World::new();
}

struct World {
    runtime: Runtime,
    compiler: Compiler,
    plans: BTreeMap<String, Plan>,
}

impl World {
    fn new() -> Self {
        let compiler = usher_fuzz::compiler(false);
        let authority = CERTIFICATES.iter().find(|(name, _)| *name == "ca").expect("the authority").1;
        let lines: String = authority.lines().map(|line| format!("    {line}\n")).collect();
        let text = include_str!("x509.yaml").replace("    AUTHORITY\n", &lines);
        let plans = usher_fuzz::load(&compiler, &text).into_iter();
        let plans = plans.map(|compiled| (compiled.plan.name.to_string(), compiled.plan)).collect();
        let world = Self { runtime: usher_fuzz::runtime(), compiler, plans };
        // Nothing below would be reached otherwise.
        for (name, chain) in [("ana", "@ana"), ("bob", "@bob@inter"), ("cyd", "@cyd")] {
            assert_eq!(world.who("connection", &with_certificates(chain)).as_deref(), Some(name));
        }
        assert_eq!(world.who("first", &ANA).as_deref(), Some("ana"));
        assert_eq!(world.who("header", &with_certificates(":#ana:")).as_deref(), Some("ana"));
        for stranger in ["@eve", "@server", "@bob"] {
            assert_eq!(world.who("expression", &with_certificates(stranger)), None);
        }
        world
    }

    /// Who is let in with this text in this place.
    fn who(&self, place: &str, text: &str) -> Option<String> {
        let name = self.ask(place, text)?;
        assert!(KNOWN.contains(&name.as_str()), "`{name}` is let in with {text}");
        Some(name)
    }

    fn ask(&self, plan: &str, text: &str) -> Option<String> {
        let mut parts = RequestParts::default();
        match plan {
            "connection" | "made" => parts.source = Peer { certificate: text.to_owned(), ..Peer::default() },
            _ => _ = parts.headers.insert("x-cert".to_owned(), text.to_owned()),
        }
        match usher_fuzz::decide(&self.runtime, &self.plans[plan], &Request::new(parts)) {
            Verdict::Allow(allow) => {
                let who = &allow.additions().dynamic_metadata["who"]["CommonName"];
                Some(who.as_str().expect("a name").to_owned())
            }
            Verdict::Deny(_) => None,
            // Certificates are the caller's doing, whatever is wrong with them.
            Verdict::Undecidable(undecided) => panic!("{undecided:?}"),
        }
    }

    /// A certificate means the same wherever it stands.
    fn show_everywhere(&self, bytes: &[u8]) {
        let separator = b"\n--\n";
        let mut certificates = Vec::new();
        let mut rest = bytes;
        while let Some(at) = rest.windows(separator.len()).position(|window| window == separator) {
            certificates.push(&rest[..at]);
            rest = &rest[at + separator.len()..];
        }
        certificates.push(rest);
        let plain: String = certificates.iter().map(|der| pem(der)).collect();
        let who = self.who("connection", &plain);
        assert_eq!(self.who("connection", &encoded(&plain)), who);
        assert_eq!(self.who("expression", &plain), who);
        let header = format!("Hash=1f;Chain=\"{}\"", encoded(&plain));
        assert_eq!(self.who("first", &header), who);
        assert_eq!(self.who("last", &format!("Cert=x,{header}")), who);
        let alone = self.who("header", &format!(":{}:", BASE64_STANDARD.encode(certificates[0])));
        assert!(alone.is_none() || alone == who);
    }

    /// Others may be trusted; whom they vouch for has the name that his certificate says.
    fn trust(&self, text: &str) {
        let secret = usher_fuzz::secret("made", "tls.crt", text.as_bytes());
        let authorities = &self.compiler.resources.authorities;
        authorities.apply(&secret);
        for name in ["ana", "eve", "inter"] {
            let found = self.ask("made", &with_certificates(&format!("@{name}")));
            assert!(found.is_none_or(|found| found == name));
        }
        authorities.remove("fuzz", "made");
        assert_eq!(self.ask("made", &with_certificates("@ana")), None, "trusted after it was taken back");
    }
}
