//! A cluster and a server in it, and what the start of the server cost.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tempfile::TempDir;

use super::api::{Api, View};
use super::change;
use super::cluster::{self, LEADER, LEASE, LEASES};
use super::objects::{Key, Size};
use crate::cpu;
use crate::load::{Client, Extent, Pace};
use crate::memory::Memory;
use crate::scenario::Questions;
use crate::server::Server;

/// A cluster, and a server that is ready.
pub(super) struct Site {
    pub(super) size: Size,
    pub(super) api: Api,
    pub(super) client: Client,
    pub(super) start: Start,
    // In the order in which they are to end.
    server: Server,
    _cluster: Server,
    _folder: TempDir,
}

/// What a start cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    /// From the start of the process until it says that it is ready.
    pub(super) ready: Duration,
    /// How long a client takes to read what the server has to read, without looking at it.
    pub(super) listing: Duration,
    /// How many bytes that are.
    pub(super) listed: usize,
    /// CPU time of the server until it was ready.
    pub(super) cpu: Duration,
    /// When it was ready.
    pub(super) memory: Memory,
}

/// How long a server may take to get ready.
const START: Duration = Duration::from_secs(300);

/// How often a server is asked whether it is ready.
const ASK_AGAIN: Duration = Duration::from_millis(2);

/// How often everything is listed; the median counts.
const LISTINGS: usize = 3;

impl Site {
    /// Fills a cluster, and starts a server.
    pub(super) async fn start(own: &Path, usher: &Path, size: Size, pace: Pace) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let kubeconfig = folder.path().join("kubeconfig");
        let cluster = Server::start_own(own, cluster::Arguments::command_line(size, &kubeconfig))?;
        let mut listings = Vec::new();
        let mut listed = 0;
        for _ in 0..LISTINGS {
            let started = Instant::now();
            listed = list_all(cluster.address).await?;
            listings.push(started.elapsed());
        }
        listings.sort();
        let listing = listings.get(LISTINGS / 2).copied().unwrap_or_default();

        let started = Instant::now();
        let (mut server, health) = Server::start_usher_in_cluster(usher, &kubeconfig)?;
        let process = server.process.context("the process is not known")?;
        while !is_ready(health).await {
            server.ended()?;
            if started.elapsed() > START {
                bail!("the server does not get ready; it said: `{}`", server.said());
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        let ready = started.elapsed();
        let start = Start { ready, listing, listed, cpu: cpu::of_process(process)?, memory: Memory::of(process)? };

        let mut api = Api::connect(cluster.address).await?;
        check_leader(&mut api).await?;
        let client = Client::connect(server.address, pace).await?;
        let mut site = Self { size, api, client, start, server, _cluster: cluster, _folder: folder };
        site.check().await?;
        Ok(site)
    }

    /// Asks with the first key of all AuthConfigs that are asked later; all must be let in.
    async fn check(&mut self) -> anyhow::Result<()> {
        let questions = self.questions(self.size.auth_configs);
        let checks = u64::try_from(questions.frames.len())?;
        let asked = self.client.ask(&questions, Extent { first: 0, time: START, checks }).await;
        self.server.ended()?;
        asked.with_context(|| format!("the server is ready and does not serve; it said: `{}`", self.server.said()))?;
        Ok(())
    }

    /// Checks with API keys of the first so many AuthConfigs, all of which are let in, whatever was changed.
    pub(super) fn questions(&self, auth_configs: usize) -> Questions {
        let numbers = (0..auth_configs.min(self.size.auth_configs)).filter(|number| change::keeps_letting_in(*number));
        Questions::repeated(numbers.map(|number| Key::of(self.size, number).check()))
    }

    /// CPU time of the server so far.
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        cpu::of_process(self.process()?)
    }

    /// Memory of the server now.
    pub(super) fn memory(&self) -> anyhow::Result<Memory> {
        Memory::of(self.process()?)
    }

    /// Where checks are asked.
    pub(super) fn server_address(&self) -> SocketAddr {
        self.server.address
    }

    /// What the server said about errors so far.
    pub(super) fn said(&self) -> String {
        self.server.said()
    }

    fn process(&self) -> anyhow::Result<u32> {
        self.server.process.context("the process is not known")
    }
}

/// Reads the three lists that a server reads, at the same time as a server does.
async fn list_all(address: SocketAddr) -> anyhow::Result<usize> {
    let list = async |path: &str, view| Api::connect(address).await?.list(path, view).await;
    let labelled = "/api/v1/secrets?labelSelector=authorino.kuadrant.io%2Fmanaged-by%3Dauthorino";
    let lists = tokio::try_join!(
        list("/apis/authorino.kuadrant.io/v1beta3/authconfigs", View::Full),
        list(labelled, View::Full),
        list("/api/v1/secrets", View::Metadata),
    )?;
    Ok(lists.0 + lists.1 + lists.2)
}

async fn is_ready(health: SocketAddr) -> bool {
    let asked = async { Api::connect(health).await?.is_well("/readyz").await };
    asked.await.unwrap_or(false)
}

/// A server that led would write thousands of statuses while it is measured.
async fn check_leader(api: &mut Api) -> anyhow::Result<()> {
    let leases = api.get(LEASES).await?;
    let text = |path: &str| leases.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (name, holder) = (text("/items/0/metadata/name"), text("/items/0/spec/holderIdentity"));
    if name != LEASE || holder != LEADER || leases.pointer("/items/1").is_some() {
        bail!("the server may lead: there is not only the Lease `{LEASE}`, or it is held by `{holder}`");
    }
    Ok(())
}
