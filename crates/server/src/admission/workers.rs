//! The threads that review, and the queue before them.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The answer to a body, or why it cannot be understood.
pub(super) type Reviewed = Result<String, String>;

/// Makes the answer to a body.
pub(super) type Work = Arc<dyn Fn(&[u8]) -> Reviewed + Send + Sync>;

/// A body, and the room that it takes.
#[derive(Debug, Default)]
pub(super) struct Received {
    bytes: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
}

impl Received {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends to the body. False if there is no room.
    #[must_use]
    pub(super) fn push(&mut self, data: &[u8], room: &Arc<Semaphore>) -> bool {
        let permit = u32::try_from(data.len()).ok().and_then(|len| Arc::clone(room).try_acquire_many_owned(len).ok());
        let Some(permit) = permit else { return false };
        match &mut self.room {
            Some(taken) => taken.merge(permit),
            None => self.room = Some(permit),
        }
        self.bytes.extend_from_slice(data);
        true
    }
}

/// Threads that work until this is dropped.
pub(super) struct Workers {
    queue: SyncSender<Job>,
}

struct Job {
    received: Received,
    answer: oneshot::Sender<Reviewed>,
}

impl Workers {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// When the system has no more threads.
    pub(super) fn start(threads: usize, max_waiting: usize, work: Work) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(max_waiting.max(1));
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..threads.max(1) {
            let (jobs, work) = (Arc::clone(&jobs), Arc::clone(&work));
            std::thread::Builder::new().name("review".to_owned()).spawn(move || work_off(&jobs, &work))?;
        }
        Ok(Self { queue })
    }

    /// Puts a body into the queue. None if that is full. The answer comes to the receiver; whoever drops that wants none
    /// any more.
    pub(super) fn submit(&self, received: Received) -> Option<oneshot::Receiver<Reviewed>> {
        let (answer, reviewed) = oneshot::channel();
        self.queue.try_send(Job { received, answer }).ok().map(|()| reviewed)
    }
}

fn work_off(jobs: &Mutex<Receiver<Job>>, work: &Work) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { received, answer }) = job else { return };
        // Nobody waits any more: the API server has given up, or the time was over.
        if answer.is_closed() {
            continue;
        }
        match catch_unwind(AssertUnwindSafe(|| work(&received.bytes))) {
            Ok(reviewed) => {
                drop(received);
                let _ = answer.send(reviewed);
            }
            Err(_) => tracing::error!("answering a review panicked"),
        }
    }
}
