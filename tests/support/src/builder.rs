//! How a server is started.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::{
    api_server::ApiServer,
    server::Server,
    state::{Settings, State},
};

/// What a server is started with. Made by [`ApiServer::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    definitions: Vec<Value>,
    token: Option<String>,
    history: usize,
    bookmark_interval: Duration,
    strict_namespaces: bool,
    port: u16,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            definitions: Vec::new(),
            token: None,
            history: 100_000,
            bookmark_interval: Duration::from_secs(60),
            strict_namespaces: false,
            port: 0,
        }
    }

    /// CustomResourceDefinitions in YAML. Their objects are pruned, completed, and checked by their schemas.
    ///
    /// # Panics
    ///
    /// If this is no YAML.
    pub fn definitions(mut self, yaml: &str) -> Self {
        self.definitions.extend(read_yaml(yaml).expect("definitions in YAML"));
        self
    }

    /// Refuses requests without this bearer token (401). By default, tokens are not looked at.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// How many events of each kind are remembered (100,000 by default). A watch that begins before them is too old.
    pub fn history(mut self, events: usize) -> Self {
        self.history = events;
        self
    }

    /// How often watches that want bookmarks get one (every minute by default).
    pub fn bookmark_interval(mut self, interval: Duration) -> Self {
        self.bookmark_interval = interval;
        self
    }

    /// Refuses new objects in namespaces that do not exist (404), as a real server does. By default, all are let in.
    pub fn strict_namespaces(mut self) -> Self {
        self.strict_namespaces = true;
        self
    }

    /// The port to listen on; by default, one that is free.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts the server. It can be called at once.
    ///
    /// # Panics
    ///
    /// If the port is taken, or a definition is refused.
    pub fn start(self) -> ApiServer {
        self.try_start().expect("a server on a loopback port")
    }

    /// Starts the server.
    ///
    /// # Errors
    ///
    /// If the port is taken.
    ///
    /// # Panics
    ///
    /// If a definition is refused.
    pub fn try_start(self) -> std::io::Result<ApiServer> {
        let settings = Settings {
            token: self.token,
            bookmark_interval: self.bookmark_interval,
            refuse_expired_watches: false,
            strict_namespaces: self.strict_namespaces,
            services: BTreeMap::new(),
        };
        let state = State::new(self.history, settings);
        let server = Server::start(Arc::clone(&state), self.port)?;
        let server = ApiServer { state, server };
        for name in ["default", "kube-system"] {
            server.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
        }
        for definition in self.definitions {
            server.apply(definition);
        }
        Ok(server)
    }
}

/// The documents of a YAML text, without empty ones.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn read_yaml(yaml: &str) -> Result<Vec<Value>, String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).map_err(|error| error.to_string())?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}
