//! Changes of what is in the cluster, and the time until a check shows them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::bail;
use bytes::Bytes;
use usher_proto::envoy::service::auth::v3::CheckResponse;
use usher_proto::envoy::service::auth::v3::check_response::HttpResponse;

use super::objects::{AuthConfig, Key, NAMED_EVERY, Named, REVISION, Size};
use super::site::Site;

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// An AuthConfig is another one.
    AuthConfig,
    /// A Secret has another API key.
    Key,
    /// A Secret that an AuthConfig names has another content.
    Named,
    /// An AuthConfig is deleted.
    Deleted,
    /// It is created again.
    Created,
}

impl Kind {
    /// What is measured one by one, in this order.
    pub(super) const ALL: [Self; 5] = [Self::AuthConfig, Self::Key, Self::Named, Self::Deleted, Self::Created];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::AuthConfig => "AuthConfig changed",
            Self::Key => "API key rotated",
            Self::Named => "named Secret rotated",
            Self::Deleted => "AuthConfig deleted",
            Self::Created => "AuthConfig created",
        }
    }

    /// The AuthConfig that the change of this number is about. Those of different kinds are different ones, and never
    /// are they all neighbours.
    fn target(self, size: Size, turn: usize) -> usize {
        const STRIDE: usize = 7919;
        let group = turn.wrapping_mul(STRIDE).checked_rem(size.auth_configs / NAMED_EVERY).unwrap_or_default();
        group * NAMED_EVERY + self.place()
    }

    /// Which of [`NAMED_EVERY`] neighbours are changed in this way.
    fn place(self) -> usize {
        match self {
            Self::Named => 0,
            Self::Deleted | Self::Created => 1,
            Self::Key => 2,
            Self::AuthConfig => 3,
        }
    }
}

/// Whether the first API key of an AuthConfig is let in at all times.
pub(super) fn keeps_letting_in(number: usize) -> bool {
    let place = number % NAMED_EVERY;
    place != Kind::Deleted.place() && place != Kind::Key.place()
}

/// How long a change took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// Until the API server had answered.
    pub(super) written: Duration,
    /// Until a check showed it.
    pub(super) effect: Duration,
}

/// What was changed how often.
#[derive(Debug, Default)]
pub(super) struct Changes {
    revisions: HashMap<(Kind, usize), u32>,
    turns: HashMap<Kind, usize>,
}

/// What a check shows after a change, and not before.
struct Effect {
    frame: Bytes,
    sign: Sign,
    /// A check that was let in before, and is not any more.
    refused: Option<Bytes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// Let in.
    LetIn,
    /// Let in, by this revision.
    Revision(u32),
    /// No such host.
    NotFound,
}

/// How long a change may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// `google.rpc.Code`
const NOT_FOUND: i32 = 5;
const UNAUTHENTICATED: i32 = 16;

impl Changes {
    /// Makes a change, and asks until a check shows it.
    pub(super) async fn measure(&mut self, site: &mut Site, kind: Kind) -> anyhow::Result<Times> {
        let started = Instant::now();
        let effect = self.make(site, kind).await?;
        let written = started.elapsed();
        wait(site, &effect, kind, None).await?;
        let times = Times { written, effect: started.elapsed() };
        if let Some(frame) = &effect.refused {
            let code = code(&site.client.answer(frame).await?);
            if code != UNAUTHENTICATED {
                bail!("{}: what counted before still counts: code {code}", kind.word());
            }
        }
        Ok(times)
    }

    /// Makes many changes of these kinds in turn, without asking in between, and says how much CPU time of the server
    /// each of them took.
    pub(super) async fn cost(&mut self, site: &mut Site, kinds: &[Kind], number: usize) -> anyhow::Result<Duration> {
        let before = site.cpu()?;
        let mut last = None;
        for kind in kinds.iter().copied().cycle().take(number) {
            last = Some((self.make(site, kind).await?, kind));
            // Each is to be a change of its own.
            tokio::time::sleep(BETWEEN).await;
        }
        if let Some((effect, kind)) = &last {
            wait(site, effect, *kind, Some(BETWEEN)).await?;
        }
        let used = site.cpu()?.saturating_sub(before);
        Ok(used.checked_div(u32::try_from(number)?).unwrap_or_default())
    }

    async fn make(&mut self, site: &mut Site, kind: Kind) -> anyhow::Result<Effect> {
        let turn = self.turns.entry(kind).or_default();
        let number = kind.target(site.size, *turn);
        *turn += 1;
        let revision = self.revisions.entry((kind, number)).or_default();
        let before = *revision;
        *revision += 1;
        let revision = *revision;
        let key = Key::of(site.size, number);
        let (path, collection) = AuthConfig::paths(number);
        let effect = match kind {
            Kind::AuthConfig => {
                site.api.patch(&path, &AuthConfig { number, revision }.object()).await?;
                Effect { frame: key.check(), sign: Sign::Revision(revision), refused: None }
            }
            Kind::Key => {
                let key = Key { revision, ..key };
                site.api.patch(&key.path(), &key.object()).await?;
                let refused = Some(Key { revision: before, ..key }.check());
                Effect { frame: key.check(), sign: Sign::LetIn, refused }
            }
            Kind::Named => {
                let named = Named { number, revision };
                let refused = Some(Named { number, revision: before }.check()?);
                let frame = named.check()?;
                site.api.patch(&named.path(), &named.object()).await?;
                Effect { frame, sign: Sign::LetIn, refused }
            }
            Kind::Deleted => {
                site.api.delete(&path).await?;
                Effect { frame: key.check(), sign: Sign::NotFound, refused: None }
            }
            Kind::Created => {
                site.api.create(&collection, &AuthConfig { number, revision: 0 }.object()).await?;
                Effect { frame: key.check(), sign: Sign::Revision(0), refused: None }
            }
        };
        Ok(effect)
    }
}

/// Between changes whose cost is measured.
const BETWEEN: Duration = Duration::from_millis(2);

/// Asks until a check shows it, with or without pauses.
async fn wait(site: &Site, effect: &Effect, kind: Kind, pause: Option<Duration>) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let answer = site.client.answer(&effect.frame).await?;
        if effect.sign.is_in(&answer) {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            bail!("{}: no check shows it; the server said: `{}`", kind.word(), site.said());
        }
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
    }
}

impl Sign {
    fn is_in(self, answer: &CheckResponse) -> bool {
        match self {
            Self::LetIn => code(answer) == 0,
            Self::NotFound => code(answer) == NOT_FOUND,
            Self::Revision(revision) => revision_of(answer) == Some(revision),
        }
    }
}

/// An answer without a status is none that was meant.
fn code(answer: &CheckResponse) -> i32 {
    answer.status.as_ref().map_or(-1, |status| status.code)
}

fn revision_of(answer: &CheckResponse) -> Option<u32> {
    let Some(HttpResponse::OkResponse(answer)) = &answer.http_response else { return None };
    let headers = answer.headers.iter().filter_map(|option| option.header.as_ref());
    headers.filter(|header| header.key == REVISION).find_map(|header| header.value.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use usher_proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
    use usher_proto::envoy::service::auth::v3::OkHttpResponse;
    use usher_proto::google::rpc::Status;

    use super::super::objects::is_naming;
    use super::*;

    #[test]
    fn kinds_do_not_get_in_each_others_way() {
        for auth_configs in [10, 1000, 1005] {
            let size = Size { auth_configs, secrets: 2000, other_secrets: 0 };
            let mut taken: HashMap<usize, usize> = HashMap::new();
            for (position, kind) in Kind::ALL.into_iter().enumerate() {
                let targets: HashSet<usize> = (0..50).map(|turn| kind.target(size, turn)).collect();
                assert_eq!(targets.len(), if auth_configs == 10 { 1 } else { 50 });
                for target in targets {
                    assert!(target < auth_configs && is_naming(target) == (kind == Kind::Named));
                    let other = *taken.entry(target).or_insert(position);
                    assert!(other == position || kind == Kind::Created);
                }
            }
        }
    }

    #[test]
    fn signs_are_seen_in_answers_that_show_them_alone() {
        let ok = |headers: &[(&str, &str)]| {
            let option = |(key, value): &(&str, &str)| HeaderValueOption {
                header: Some(HeaderValue { key: (*key).to_owned(), value: (*value).to_owned(), ..Default::default() }),
                ..Default::default()
            };
            let headers = headers.iter().map(option).collect();
            CheckResponse {
                status: Some(Status::default()),
                http_response: Some(HttpResponse::OkResponse(OkHttpResponse { headers, ..Default::default() })),
                ..Default::default()
            }
        };
        let refused =
            |code| CheckResponse { status: Some(Status { code, ..Default::default() }), ..Default::default() };
        for (answer, seen) in [
            (ok(&[(REVISION, "3")]), [true, true, false]),
            (ok(&[(REVISION, "2"), ("x", "3")]), [true, false, false]),
            (ok(&[]), [true, false, false]),
            (refused(5), [false, false, true]),
            (refused(16), [false, false, false]),
            (CheckResponse::default(), [false, false, false]),
        ] {
            let signs = [Sign::LetIn, Sign::Revision(3), Sign::NotFound].map(|sign| sign.is_in(&answer));
            assert_eq!(signs, seen, "{answer:?}");
        }
    }
}
