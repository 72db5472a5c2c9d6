//! Changes of files at a fixed rate, while checks are asked: made on a thread of its own, and looked for in answers.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use usher_proto::envoy::service::auth::v3::check_response::HttpResponse;

use crate::load::Client;
use crate::scenario::changing::{self, REVISION};

/// Changes each second.
pub(crate) const PER_SECOND: u32 = 10;

/// How often somebody looks at an answer for what changed.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long the last change may take to show.
const PATIENCE: Duration = Duration::from_secs(10);

/// Does something while files in this folder change, and makes sure that the server takes the changes in: that answers to this
/// question show at least a quarter of them meanwhile, and the last one soon.
pub(crate) async fn meanwhile<T>(
    folder: &Path,
    client: &Client,
    question: &Bytes,
    something: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let changer = Changer::start(folder.to_owned());
    let mut seen = BTreeSet::new();
    let look = async {
        loop {
            seen.insert(revision(client, question).await?);
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let done = tokio::select! {
        done = something => done?,
        looked = look => match looked {
            Err::<Infallible, anyhow::Error>(error) => return Err(error),
        },
    };
    let last = changing::revision(changer.stop()?);
    let stopped = Instant::now();
    while revision(client, question).await? != last {
        ensure!(stopped.elapsed() < PATIENCE, "the last change does not show");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let (shown, made) = (seen.len(), usize::try_from(last)?);
    ensure!(shown > made / 4, "of {made} changes, answers showed {shown}");
    Ok(done)
}

/// Which revision of its AuthConfig an answer comes from.
async fn revision(client: &Client, question: &Bytes) -> anyhow::Result<u32> {
    let answer = client.answer(question).await?;
    let Some(HttpResponse::OkResponse(ok)) = answer.http_response else { anyhow::bail!("the answer is no permission") };
    let mut headers = ok.headers.into_iter().filter_map(|option| option.header);
    let header = headers.find(|header| header.key == REVISION).with_context(|| format!("there is no `{REVISION}`"))?;
    let value = if header.raw_value.is_empty() { header.value.into_bytes() } else { header.raw_value.to_vec() };
    str::from_utf8(&value)?.parse().with_context(|| format!("`{REVISION}` is no number"))
}

/// Changes files until it is stopped or dropped.
struct Changer {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<anyhow::Result<u32>>,
}

impl Changer {
    fn start(folder: PathBuf) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            let mut made = 0;
            loop {
                let due = Duration::from_secs(1) * (made + 1) / PER_SECOND;
                match stopped.recv_timeout(due.saturating_sub(start.elapsed())) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(made),
                }
                made += 1;
                make(&folder, made)?;
            }
        });
        Self { stop, thread }
    }

    /// How many changes it made.
    fn stop(self) -> anyhow::Result<u32> {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the changes stopped")))
    }
}

/// Puts a new file in the place of the old one, so that nobody reads half of it.
fn make(folder: &Path, number: u32) -> anyhow::Result<()> {
    let changing::File { name, document } = changing::change(number);
    let outside = folder.parent().context("the folder has no parent")?.join("next");
    fs::write(&outside, document.to_string())?;
    Ok(fs::rename(outside, folder.join(name))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_whole_files() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config");
        fs::create_dir(&config).unwrap();
        let changer = Changer::start(config.clone());
        let asked = config.join("asked.yaml");
        let deadline = Instant::now() + Duration::from_secs(20);
        while !asked.exists() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        let made = changer.stop().unwrap();
        assert!(made >= 2);
        let document: serde_json::Value = serde_json::from_slice(&fs::read(&asked).unwrap()).unwrap();
        assert_eq!(document["kind"], "AuthConfig");
        assert!(config.join("other-0.yaml").exists() && !folder.path().join("next").exists());
    }
}
