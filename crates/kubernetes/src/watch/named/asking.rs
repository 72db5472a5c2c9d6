//! Asks for the Secrets that are followed, one by one, until each is answered.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};
use usher_api::{Secret, SecretName};

use super::{Answer, Followed, Outcome, Wanted, read_secret};
use crate::{
    Cluster,
    backoff::{Backoff, jittered},
    exchange::{Failure, MAX_OBJECT, in_time, request},
    resources::{SECRETS, is_name},
};

/// How many Secrets are asked for at a time.
const CONCURRENCY: usize = 16;

/// Asks for what is wanted.
pub(in super::super) struct Asking {
    pub(in super::super) cluster: Arc<Cluster>,
    pub(in super::super) followed: Arc<Followed>,
    /// Secrets of other namespaces are not there.
    pub(in super::super) namespace: Option<String>,
    pub(in super::super) limit: Duration,
    pub(in super::super) backoff: Backoff,
    pub(in super::super) answers: mpsc::Sender<Answer>,
}

impl Asking {
    /// Runs until nobody listens any more.
    pub(in super::super) async fn run(self, mut wanted: mpsc::UnboundedReceiver<Wanted>) {
        let slots = Semaphore::new(CONCURRENCY);
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(wanted) = wanted.recv() => under_way.push(self.ask_until_answered(wanted, &slots)),
                Some(()) = under_way.next() => {}
                () = self.answers.closed() => return,
            }
        }
    }

    async fn ask_until_answered(&self, wanted: Wanted, slots: &Semaphore) {
        if let Some(restored) = self.followed.take_restored(&wanted) {
            self.tell(&wanted, restored).await;
        }
        let mut failures = 0;
        loop {
            // It is never closed.
            let Ok(slot) = slots.acquire().await else { return };
            let result = self.ask(&wanted.name).await;
            // While the API is away, who waits keeps others from asking as well.
            let slot = matches!(&result, Err(failure) if failure.is_of_the_api()).then_some(slot);
            let Some(Outcome { news, later }) = self.followed.answered(&wanted, result) else { return };
            if let Some(secret) = news {
                self.tell(&wanted, secret).await;
            }
            if let Some(at_least) = later {
                failures += 1;
                let pause = jittered(self.backoff.pause(failures)).max(at_least);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.followed.answers_again.notified() => {}
                }
                drop(slot);
            } else if self.followed.finished(&wanted) {
                return;
            } else {
                failures = 0;
            }
        }
    }

    async fn ask(&self, name: &SecretName) -> Result<Option<Arc<Secret>>, Failure> {
        let SecretName { namespace, name } = name;
        let elsewhere = self.namespace.as_deref().is_some_and(|watched| *watched != **namespace);
        if elsewhere || !is_name(namespace) || !is_name(name) {
            return Ok(None);
        }
        let request = request(Method::GET, SECRETS.object(namespace, name)?, None::<(&str, Value)>)?;
        match in_time(self.limit, self.cluster.ask(request, SECRETS.kind, MAX_OBJECT)).await {
            Ok(secret) => Ok(read_secret(secret).map(Arc::new)),
            Err(failure) if failure.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(failure) => Err(SECRETS.explained("get", Some(namespace), failure)),
        }
    }

    async fn tell(&self, Wanted { name, number }: &Wanted, secret: Option<Arc<Secret>>) {
        // An error says that nobody listens any more.
        let _ = self.answers.send(Answer { name: name.clone(), number: *number, secret }).await;
    }
}
