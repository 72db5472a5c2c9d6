//! The handle of a server.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    builder::{Builder, read_yaml},
    calls::Call,
    failure::Failure,
    faults::Fault,
    kind::Kind,
    prepare::{Part, now},
    reviews::{ReviewAnswer, ReviewKind, ReviewScript},
    server::Server,
    state::State,
    store::ObjectKey,
    write::{self, Options},
};

/// A running API server. It ends when this is dropped.
///
/// It runs on a thread of its own, so that its methods can be called from anywhere: they return when the thing is done.
/// What they write, they write directly, past faults, tokens, and webhooks, but not past schemas.
pub struct ApiServer {
    pub(crate) state: Arc<State>,
    pub(crate) server: Server,
}

impl ApiServer {
    /// Starts a server without schemas and tokens.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// A server to be started in another way.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Where it is: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// A configuration for clients, in YAML, with the token if there is one.
    pub fn kubeconfig(&self) -> String {
        let token = self.state.settings().token.clone().unwrap_or_else(|| "test".to_owned());
        // JSON is YAML.
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "double", "cluster": {"server": self.url()}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "double", "context": {"cluster": "double", "user": "test", "namespace": "default"}}],
            "current-context": "double",
        });
        serde_json::to_string_pretty(&config).unwrap()
    }

    /// Writes [`kubeconfig`](Self::kubeconfig) into this directory, and gives the path of the file.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn write_kubeconfig(&self, directory: &Path) -> PathBuf {
        let path = directory.join("kubeconfig");
        std::fs::write(&path, self.kubeconfig()).expect("a kubeconfig that can be written");
        path
    }

    /// Creates an object, or replaces the one that is there. Gives it as it is kept.
    /// The namespace is `default` if it names none. A status of an object with a `/status` is ignored.
    ///
    /// # Panics
    ///
    /// If the API server would refuse it.
    pub fn apply(&self, object: Value) -> Value {
        self.try_apply(object).unwrap_or_else(|status| panic!("{}", status["message"]))
    }

    /// As [`apply`](Self::apply).
    ///
    /// # Errors
    ///
    /// The `Status` with which the API server would refuse the object.
    pub fn try_apply(&self, object: Value) -> Result<Value, Value> {
        self.write(object, Part::Main).map_err(|failure| failure.to_value())
    }

    /// Applies each document of a YAML text.
    ///
    /// # Panics
    ///
    /// If this is no YAML, or the API server would refuse an object.
    pub fn apply_yaml(&self, yaml: &str) -> Vec<Value> {
        read_yaml(yaml).expect("objects in YAML").into_iter().map(|object| self.apply(object)).collect()
    }

    /// Replaces the status of an object that is there, with that of this one.
    ///
    /// # Panics
    ///
    /// If the API server would refuse it.
    pub fn apply_status(&self, object: Value) -> Value {
        self.write(object, Part::Status).unwrap_or_else(|failure| panic!("{}", failure.to_value()["message"]))
    }

    /// Writes many objects at once, in place of those that are there. Their status is ignored.
    ///
    /// # Panics
    ///
    /// If the API server would refuse one of them.
    pub fn load(&self, objects: impl IntoIterator<Item = Value>) {
        let objects = objects.into_iter().map(|object| (self.kind_of(&object).unwrap(), object)).collect();
        write::load(&self.state, objects).unwrap_or_else(|failure| panic!("{}", failure.to_value()["message"]));
    }

    /// An object, by the plural of its kind (`secrets`). The namespace of kinds without one is empty.
    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let kind = self.kind(plural);
        let found = self.state.store().get(&kind, &key(&kind, namespace, name))?;
        Some(found.value(&kind))
    }

    /// All objects of a kind, in the order of namespace and name.
    pub fn objects(&self, plural: &str) -> Vec<Value> {
        let kind = self.kind(plural);
        let objects = self.state.store().objects(&kind);
        objects.iter().map(|object| object.value(&kind)).collect()
    }

    /// Deletes an object at once, whatever its finalizers. Says whether there was one.
    pub fn delete(&self, plural: &str, namespace: &str, name: &str) -> bool {
        let kind = self.kind(plural);
        let removed = self.state.store().remove(&kind, &key(&kind, namespace, name)).is_some();
        self.state.tell(|signal| signal.writes += 1);
        removed
    }

    /// The resource version of the last write.
    pub fn resource_version(&self) -> u64 {
        self.state.store().version()
    }

    /// The time as the server writes it into objects.
    pub fn now() -> String {
        now()
    }

    /// All requests so far, in the order in which they came.
    pub fn calls(&self) -> Vec<Call> {
        self.state.journal().calls().cloned().collect()
    }

    /// How many requests there were with this verb (`list`, `patch`) for this resource (`secrets`, `authconfigs/status`).
    pub fn count(&self, verb: &str, resource: &str) -> usize {
        self.state.journal().calls().filter(|call| call.verb == verb && call.resource == resource).count()
    }

    /// Forgets the requests so far.
    pub fn forget_calls(&self) {
        self.state.journal().forget();
    }

    /// How many watches of a resource are open now.
    pub fn open_watches(&self, plural: &str) -> usize {
        self.state.journal().open_watches.iter().filter(|resource| *resource == plural).count()
    }

    /// Waits until `look` finds something, which it is asked after each request, write, and end of a watch.
    /// This blocks the thread: in tasks, use [`eventually`](Self::eventually).
    ///
    /// # Panics
    ///
    /// If it finds nothing for as long as `deadline`.
    pub fn wait_for<T>(&self, deadline: Duration, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let found = self.state.wait(deadline, || look(self));
        found.unwrap_or_else(|| panic!("not within {deadline:?}; the last calls: {:#?}", self.last_calls()))
    }

    /// As [`wait_for`](Self::wait_for), for tasks: others go on meanwhile. Needs a runtime of Tokio with time.
    ///
    /// # Panics
    ///
    /// If it finds nothing for as long as `deadline`.
    pub async fn eventually<T>(&self, deadline: Duration, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let found = self.state.wait_in_task(deadline, || look(self)).await;
        found.unwrap_or_else(|| panic!("not within {deadline:?}; the last calls: {:#?}", self.last_calls()))
    }

    /// Goes away: closes all connections, with all watches, and refuses new ones.
    pub fn pause(&self) {
        self.server.control.pause();
    }

    /// Comes back, at the same port.
    pub fn resume(&self) {
        self.server.control.resume();
    }

    /// Ends all watches, in good order.
    pub fn drop_watches(&self) {
        self.state.tell(|signal| signal.cuts += 1);
    }

    /// Forgets the history: watches and lists that build on an earlier version are too old (410). Open watches go on.
    pub fn compact(&self) {
        self.state.store().compact();
        self.state.poke();
    }

    /// Sends a bookmark to all watches that want them.
    pub fn send_bookmarks(&self) {
        self.state.tell(|signal| signal.bookmarks += 1);
    }

    /// Sets whether watches that are too old are answered with HTTP 410; by default, an event says so.
    pub fn refuse_expired_watches(&self, refuse: bool) {
        self.state.settings().refuse_expired_watches = refuse;
    }

    /// Adds a fault. The first one that is about a request decides.
    pub fn fail(&self, fault: Fault) {
        self.state.faults().add(fault);
        self.state.tell(|signal| signal.faults += 1);
    }

    /// Takes all faults away. Requests that hang are answered.
    pub fn clear_faults(&self) {
        self.state.faults().clear();
        self.state.tell(|signal| signal.faults += 1);
    }

    /// Sets the bearer token that requests must have; without one, all are let in.
    pub fn set_token(&self, token: Option<&str>) {
        self.state.settings().token = token.map(str::to_owned);
    }

    /// Answers TokenReviews whose `spec` has these members. The last one that fits decides; without any, nobody is
    /// authenticated.
    pub fn script_token_review(&self, matches: Value, answer: ReviewAnswer) {
        self.state.reviews().script(ReviewKind::Token, ReviewScript { matches, answer });
    }

    /// Answers SubjectAccessReviews whose `spec` has these members. The last one that fits decides; without any, nothing
    /// is allowed.
    pub fn script_access_review(&self, matches: Value, answer: ReviewAnswer) {
        self.state.reviews().script(ReviewKind::SubjectAccess, ReviewScript { matches, answer });
    }

    /// The reviews that were asked for, as they were sent.
    pub fn reviews(&self) -> Vec<Value> {
        self.state.reviews().asked.clone()
    }

    /// Has webhooks ask at this address (`HOST:PORT`) for a service. Webhooks themselves are objects: apply a
    /// ValidatingWebhookConfiguration.
    pub fn serve_service(&self, namespace: &str, name: &str, address: &str) {
        let service = (namespace.to_owned(), name.to_owned());
        self.state.settings().services.insert(service, address.to_owned());
    }

    fn write(&self, object: Value, part: Part) -> Result<Value, Failure> {
        let kind = self.kind_of(&object)?;
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        let namespace = Some(text("namespace")).filter(|namespace| !namespace.is_empty()).unwrap_or("default");
        let key = key(&kind, namespace, text("name"));
        let there = self.state.store().get(&kind, &key).is_some();
        let namespace = kind.namespaced.then_some(namespace);
        let options = Options::default();
        let written = if there || part == Part::Status {
            block_on(write::update(&self.state, &kind, &key, part, options, |_| Ok(object.clone())))
        } else {
            block_on(write::create(&self.state, &kind, namespace, object.clone(), options))
        };
        written.map(|written| written.object)
    }

    fn kind(&self, plural: &str) -> Arc<Kind> {
        let store = self.state.store();
        let found = store.kinds().find(|kind| kind.plural == plural).cloned();
        drop(store);
        found.unwrap_or_else(|| panic!("no kind with the plural `{plural}`"))
    }

    fn kind_of(&self, object: &Value) -> Result<Arc<Kind>, Failure> {
        let store = self.state.store();
        let found =
            store.kinds().find(|kind| object["apiVersion"] == kind.api_version() && object["kind"] == kind.kind);
        found.cloned().ok_or_else(|| {
            let (kind, version) = (&object["kind"], &object["apiVersion"]);
            Failure::bad_request(format!("no matches for kind {kind} in version {version}"))
        })
    }

    fn last_calls(&self) -> Vec<String> {
        let journal = self.state.journal();
        let mut calls: Vec<String> = journal.calls().map(|call| format!("{} {}", call.verb, call.path)).collect();
        calls.split_off(calls.len().saturating_sub(20))
    }
}

fn key(kind: &Kind, namespace: &str, name: &str) -> ObjectKey {
    (if kind.namespaced { namespace.to_owned() } else { String::new() }, name.to_owned())
}

/// Writes that ask no webhooks never wait.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
    }
}
