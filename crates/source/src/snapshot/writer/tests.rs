use std::sync::mpsc;

use usher_api::SecretName;

use super::*;

const TIMING: Timing = Timing { first: Duration::from_millis(1), longest: Duration::from_millis(20) };
const LONG: Duration = Duration::from_secs(20);

fn named(name: &str) -> Entry {
    Entry::NamedSecret { name: SecretName::new("ns", name), secret: None }
}

fn gone(name: &str) -> Entry {
    Entry::NamedSecretGone(SecretName::new("ns", name))
}

/// The names in a batch, with `-` before those that are gone and `=` before all if it is all that there is.
fn shown(batch: &Batch) -> String {
    let sign = |entry: &Entry| if matches!(entry, Entry::NamedSecretGone(_)) { "-" } else { "" };
    let names: Vec<_> = batch.entries.iter().map(|(key, entry)| format!("{}{}", sign(entry), key.name)).collect();
    format!("{}{}", if batch.replace { "=" } else { "" }, names.join(" "))
}

fn failure() -> SnapshotError {
    SnapshotError::Failed { path: "snapshot".into(), action: "written", reason: "no space left".to_owned() }
}

/// A disk of which the test says when it takes a batch, and whether it does.
struct Disk {
    batches: mpsc::Receiver<String>,
    answers: mpsc::Sender<bool>,
}

impl Disk {
    fn writer() -> (Self, SnapshotWriter) {
        let (sender, batches) = mpsc::channel();
        let (answers, receiver) = mpsc::channel();
        let write = move |batch: &Batch| {
            sender.send(shown(batch)).unwrap();
            if receiver.recv_timeout(LONG).unwrap() { Ok(()) } else { Err(failure()) }
        };
        (Self { batches, answers }, SnapshotWriter::start_with(write, TIMING).unwrap())
    }

    fn batch(&self) -> String {
        self.batches.recv_timeout(LONG).unwrap()
    }

    fn answer(&self, works: bool) {
        self.answers.send(works).unwrap();
    }
}

#[test]
fn what_is_sent_while_the_disk_is_busy_is_written_at_once_and_the_latest_counts() {
    let (disk, writer) = Disk::writer();
    writer.send(vec![]);
    writer.send(vec![named("a")]);
    assert_eq!(disk.batch(), "a");
    writer.send(vec![named("c"), named("b"), named("d")]);
    writer.send(vec![gone("c"), gone("d")]);
    writer.send(vec![named("d")]);
    disk.answer(true);
    assert_eq!(disk.batch(), "b -c d");
    disk.answer(true);
    assert!(writer.flush_and_stop(LONG));
}

#[test]
fn what_could_not_be_written_is_written_later_with_what_came_since() {
    let (disk, writer) = Disk::writer();
    writer.send(vec![named("a"), named("b")]);
    assert_eq!(disk.batch(), "a b");
    writer.send(vec![gone("b"), named("c")]);
    disk.answer(false);
    assert_eq!(disk.batch(), "a -b c");
    assert!(writer.is_behind());
    disk.answer(false);
    // Nothing new is needed for another try.
    assert_eq!(disk.batch(), "a -b c");
    disk.answer(true);
    assert!(writer.flush_and_stop(LONG));
    assert!(!writer.is_behind());
}

#[test]
fn everything_that_there_is_stays_everything_after_a_failure() {
    let (disk, writer) = Disk::writer();
    writer.send(vec![named("a")]);
    assert_eq!(disk.batch(), "a");
    writer.replace_all(vec![named("b"), named("c")]);
    disk.answer(false);
    assert_eq!(disk.batch(), "=b c");
    writer.send(vec![gone("b"), named("d")]);
    disk.answer(false);
    assert_eq!(disk.batch(), "=-b c d");
    writer.send(vec![named("x")]);
    writer.replace_all(vec![]);
    disk.answer(true);
    assert_eq!(disk.batch(), "=");
    disk.answer(true);
    assert!(writer.flush_and_stop(LONG));
}

#[test]
fn the_end_waits_for_what_was_sent_but_not_for_a_disk_that_fails() {
    let (disk, writer) = Disk::writer();
    writer.send(vec![named("a")]);
    assert_eq!(disk.batch(), "a");
    writer.send(vec![named("b")]);
    assert!(!writer.flush_and_stop(Duration::from_millis(1)), "the disk has not answered");
    disk.answer(true);
    assert_eq!(disk.batch(), "b");
    disk.answer(false);
    assert!(!writer.flush_and_stop(LONG));
    assert!(disk.batches.recv_timeout(LONG).is_err(), "the thread has ended");
}

#[test]
fn dropping_writes_what_was_sent() {
    let (disk, writer) = Disk::writer();
    writer.send(vec![named("a")]);
    assert_eq!(disk.batch(), "a");
    writer.send(vec![named("b")]);
    drop(writer);
    disk.answer(true);
    assert_eq!(disk.batch(), "b");
    disk.answer(true);
    assert!(disk.batches.recv_timeout(LONG).is_err(), "the thread has ended");
}

#[test]
fn it_is_tried_again_ever_more_rarely() {
    let timing = Timing::default();
    let waits: Vec<_> = (0..9).map(|failures| retry_after(failures, timing).map(|wait| wait.as_secs())).collect();
    let expected = [None, Some(1), Some(2), Some(4), Some(8), Some(16), Some(32), Some(60), Some(60)];
    assert_eq!(waits, expected);
    assert_eq!(retry_after(u32::MAX, timing), Some(timing.longest));
}

#[test]
fn a_snapshot_gets_what_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = Arc::new(Snapshot::open(folder.path()).unwrap());
    let writer = SnapshotWriter::start(Arc::clone(&snapshot)).unwrap();
    writer.send(vec![named("a"), named("b")]);
    writer.send(vec![gone("a")]);
    assert!(writer.flush_and_stop(LONG));
    let restored = snapshot.restore().unwrap();
    assert_eq!((restored.secrets, restored.complete), (1, false));
    writer.send(vec![named("late")]);
    assert_eq!(snapshot.restore().unwrap().secrets, 1);

    let writer = SnapshotWriter::start(Arc::clone(&snapshot)).unwrap();
    writer.replace_all(vec![named("c"), named("d")]);
    assert!(writer.flush_and_stop(LONG));
    let restored = snapshot.restore().unwrap();
    assert_eq!((restored.secrets, restored.complete), (2, true));
}
