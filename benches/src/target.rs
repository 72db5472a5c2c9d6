//! Who is measured, with what.

use std::sync::Arc;

use anyhow::Context as _;

use crate::empty::Kind;
use crate::expected::Expected;
use crate::load::Client;
use crate::options::{Executable, Peer};
use crate::run::Plan;
use crate::scenario::{Name, Questions, Scenario};
use crate::server::Server;

/// A server, and what it is asked.
pub(crate) enum Target<'a> {
    /// A server that does nothing, asked about a check of usual size, or a large one.
    Empty { kind: Kind, large: bool },
    /// An executable of Usher.
    Usher(&'a Executable, Arc<Scenario>),
    /// A server that runs already.
    Peer(&'a Peer, Arc<Scenario>),
}

impl Target<'_> {
    /// What is asked, and who.
    pub(crate) fn name(&self) -> (String, String) {
        match self {
            Self::Empty { kind, large } => {
                let asked = if *large { "(empty, large check)" } else { "(empty)" };
                (asked.to_owned(), kind.word().to_owned())
            }
            Self::Usher(Executable { name, .. }, scenario) | Self::Peer(Peer { name, .. }, scenario) => {
                (scenario.name.word(), name.clone())
            }
        }
    }

    pub(crate) fn questions(&self) -> Questions {
        match self {
            Self::Empty { large: false, .. } => Questions::anonymous(),
            Self::Empty { large: true, .. } => Questions::large(),
            Self::Usher(_, scenario) | Self::Peer(_, scenario) => scenario.questions.clone(),
        }
    }

    /// The name of the scenario; none for empty servers.
    pub(crate) fn scenario(&self) -> Option<Name> {
        match self {
            Self::Empty { .. } => None,
            Self::Usher(_, scenario) | Self::Peer(_, scenario) => Some(scenario.name),
        }
    }

    /// Asks something twice, and looks at all of the answers.
    pub(crate) async fn verify(&self, client: &Client) -> anyhow::Result<()> {
        let (Self::Usher(_, scenario) | Self::Peer(_, scenario)) = self else { return Ok(()) };
        let Scenario { expected, questions, .. } = &**scenario;
        if matches!(expected, Expected::Code) {
            return Ok(());
        }
        let frame = questions.frames.first().context("there are no questions")?;
        expected.verify([client.answer(frame).await?, client.answer(frame).await?])
    }

    pub(crate) fn start(&self, plan: &Plan) -> anyhow::Result<Server> {
        match self {
            Self::Empty { kind, .. } => Server::start_empty(&plan.own, *kind),
            Self::Usher(usher, scenario) => Server::start_usher(&usher.file, &scenario.configuration),
            Self::Peer(peer, _) => Ok(Server::peer(peer)),
        }
    }
}
