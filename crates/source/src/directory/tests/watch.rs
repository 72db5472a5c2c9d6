//! Watching a folder on a real file system.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

/// More than anything here takes on a busy machine.
const LONG: Duration = Duration::from_secs(30);

struct Watching<'f> {
    folder: &'f Folder,
    receiver: Receiver<Vec<Change>>,
    task: JoinHandle<io::Result<()>>,
}

impl<'f> Watching<'f> {
    fn start(folder: &'f Folder, source: Source) -> Self {
        let (sender, receiver) = mpsc::channel(16);
        Self { folder, receiver, task: tokio::spawn(source.watch(sender)) }
    }

    /// Watches without ever looking of its own accord.
    fn told_only(folder: &'f Folder, mut source: Source) -> Self {
        source.options.poll_interval = Duration::MAX;
        Self::start(folder, source)
    }

    async fn next(&mut self) -> Vec<String> {
        let batch = timeout(LONG, self.receiver.recv()).await.expect("a batch in time").expect("a batch");
        self.folder.words(&batch)
    }
}

#[tokio::test]
async fn files_that_are_renamed_into_place_written_and_removed_are_told() {
    let folder = Folder::new();
    folder.put("a.yaml", auth_config("a", "a.test"));
    let mut watching = Watching::told_only(&folder, folder.source());
    assert_eq!(watching.next().await, ["AuthConfig default/a a.test", "loaded"]);
    folder.put("b.yaml", auth_config("b", "b.test"));
    assert_eq!(watching.next().await, ["AuthConfig default/b b.test"]);
    folder.put("a.yaml", auth_config("a", "a2.test"));
    assert_eq!(watching.next().await, ["AuthConfig default/a a2.test"]);
    fs::write(folder.path("a.yaml"), auth_config("a", "a3.test")).unwrap();
    assert_eq!(watching.next().await, ["AuthConfig default/a a3.test"]);
    folder.remove("b.yaml");
    assert_eq!(watching.next().await, ["AuthConfig default/b gone"]);
    fs::rename(folder.path("a.yaml"), folder.path("c.yaml")).unwrap();
    assert_eq!(watching.next().await, ["AuthConfig default/a a3.test"]);
}

#[tokio::test]
async fn volumes_of_kubernetes_change_as_a_whole() {
    let folder = Folder::new();
    let (a, b) = (auth_config("a", "a.test"), auth_config("b", "b.test"));
    folder.publish("..2026_1", &[("a.yaml", &a), ("b.yaml", &b)]);
    let mut watching = Watching::told_only(&folder, folder.source());
    assert_eq!(watching.next().await, ["AuthConfig default/a a.test", "AuthConfig default/b b.test", "loaded"]);
    let (a, b) = (auth_config("a", "a2.test"), auth_config("b", "b2.test"));
    folder.publish("..2026_2", &[("a.yaml", &a), ("b.yaml", &b)]);
    fs::remove_dir_all(folder.path("..2026_1")).unwrap();
    assert_eq!(watching.next().await, ["AuthConfig default/a a2.test", "AuthConfig default/b b2.test"]);
}

#[tokio::test]
async fn a_broken_edit_keeps_what_was_there() {
    let folder = Folder::new();
    folder.put("a.yaml", auth_config("a", "a.test"));
    let mut watching = Watching::told_only(&folder, folder.source());
    assert_eq!(watching.next().await, ["AuthConfig default/a a.test", "loaded"]);
    folder.put("a.yaml", "kind: [");
    let told = watching.next().await;
    assert!(told[0].starts_with("error a.yaml:"), "{told:#?}");
    assert_eq!(
        told.last().map(String::as_str),
        Some("warning a.yaml: until that is mended, what was read before stays in force: `AuthConfig default/a`")
    );
    folder.put("a.yaml", auth_config("a", "a2.test"));
    assert_eq!(watching.next().await, ["AuthConfig default/a a2.test", "all is well"]);
}

#[tokio::test]
async fn a_file_is_left_alone_while_it_is_being_written() {
    let folder = Folder::new();
    folder.put("a.yaml", auth_config("a", "a.test"));
    let mut source = folder.source();
    source.timing.open = LONG * 10;
    let mut watching = Watching::told_only(&folder, source);
    assert_eq!(watching.next().await, ["AuthConfig default/a a.test", "loaded"]);

    let text = auth_config("a", "a2.test") + "  callbacks: {}\n";
    let (start, rest) = text.split_at(text.find("  callbacks").unwrap());
    let mut file = File::create(folder.path("a.yaml")).unwrap();
    file.write_all(start.as_bytes()).unwrap();
    // The start alone is a good document, but it is not what is meant.
    folder.put("b.yaml", auth_config("b", "b.test"));
    assert_eq!(watching.next().await, ["AuthConfig default/b b.test"]);
    file.write_all(rest.as_bytes()).unwrap();
    drop(file);
    assert_eq!(watching.next().await, ["AuthConfig default/a a2.test"]);
}

#[tokio::test]
async fn a_file_that_is_empty_for_a_moment_loses_nothing() {
    let folder = Folder::new();
    folder.put("a.yaml", auth_config("a", "a.test"));
    let mut source = folder.source();
    source.timing.emptied = LONG * 10;
    let mut watching = Watching::told_only(&folder, source);
    assert_eq!(watching.next().await, ["AuthConfig default/a a.test", "loaded"]);
    File::create(folder.path("a.yaml")).unwrap();
    folder.put("b.yaml", auth_config("b", "b.test"));
    assert_eq!(watching.next().await, ["AuthConfig default/b b.test"]);
    fs::write(folder.path("a.yaml"), auth_config("a", "a2.test")).unwrap();
    assert_eq!(watching.next().await, ["AuthConfig default/a a2.test"]);
}

#[tokio::test]
async fn a_file_that_stays_empty_loses_its_objects() {
    let folder = Folder::new();
    folder.put("a.yaml", auth_config("a", "a.test"));
    let mut watching = Watching::told_only(&folder, folder.source());
    assert_eq!(watching.next().await, ["AuthConfig default/a a.test", "loaded"]);
    File::create(folder.path("a.yaml")).unwrap();
    assert_eq!(watching.next().await, ["AuthConfig default/a gone"]);
}

#[tokio::test]
async fn a_file_that_is_missing_for_a_moment_loses_nothing() {
    let folder = Folder::new();
    folder.put("a.yaml", auth_config("a", "a.test"));
    let mut source = folder.source();
    source.timing.missing = LONG * 10;
    let mut watching = Watching::told_only(&folder, source);
    assert_eq!(watching.next().await, ["AuthConfig default/a a.test", "loaded"]);
    // Under a new name its document takes over without being told as one too many.
    fs::rename(folder.path("a.yaml"), folder.path("a.yaml~")).unwrap();
    folder.put("b.yaml", documents(&[auth_config("a", "moved.test"), auth_config("b", "b.test")]));
    assert_eq!(watching.next().await, ["AuthConfig default/b b.test"]);
    folder.put("a.yaml", auth_config("a", "a2.test"));
    folder.put("b.yaml", auth_config("b", "b.test"));
    let told = watching.next().await;
    assert!(told.iter().all(|change| !change.ends_with("gone")), "{told:#?}");
    assert_eq!(told[0], "AuthConfig default/a a2.test");
}

#[tokio::test]
async fn folders_that_appear_later_are_watched_too() {
    let folder = Folder::new();
    folder.put("a.yaml", auth_config("a", "a.test"));
    let mut watching = Watching::told_only(&folder, folder.source());
    assert_eq!(watching.next().await, ["AuthConfig default/a a.test", "loaded"]);
    folder.put("new/deep/b.yaml", auth_config("b", "b.test"));
    assert_eq!(watching.next().await, ["AuthConfig default/b b.test"]);
    folder.put("new/deep/b.yaml", auth_config("b", "b2.test"));
    assert_eq!(watching.next().await, ["AuthConfig default/b b2.test"]);
    fs::rename(folder.path("new"), folder.beside("aside")).unwrap();
    assert_eq!(watching.next().await, ["AuthConfig default/b gone"]);
    fs::rename(folder.beside("aside"), folder.path("new")).unwrap();
    assert_eq!(watching.next().await, ["AuthConfig default/b b2.test"]);
    folder.put("new/deep/b.yaml", auth_config("b", "b3.test"));
    assert_eq!(watching.next().await, ["AuthConfig default/b b3.test"]);
}

#[tokio::test]
async fn nothing_counts_as_loaded_before_every_path_is_there() {
    let folder = Folder::new();
    folder.put("a.yaml", auth_config("a", "a.test"));
    let late = folder.beside("late");
    let source = Source::new(vec![folder.root(), late.clone()], Options::default());
    let mut watching = Watching::told_only(&folder, source);
    let told = watching.next().await;
    assert_eq!(told[0], "AuthConfig default/a a.test");
    assert!(told[1].ends_with("late: does not exist"), "{told:#?}");
    assert_eq!(told.len(), 2);
    // Put in place as a whole, and replaced as a whole.
    for (version, expected) in
        [("1", &["AuthConfig default/l 1.test", "all is well", "loaded"][..]), ("2", &["AuthConfig default/l 2.test"])]
    {
        let real = folder.beside(version);
        fs::create_dir(&real).unwrap();
        fs::write(real.join("l.yaml"), auth_config("l", &format!("{version}.test"))).unwrap();
        symlink(&real, folder.beside("link")).unwrap();
        fs::rename(folder.beside("link"), &late).unwrap();
        assert_eq!(watching.next().await, expected);
    }
    fs::write(folder.beside("2/l.yaml"), auth_config("l", "3.test")).unwrap();
    assert_eq!(watching.next().await, ["AuthConfig default/l 3.test"]);
}

#[tokio::test]
async fn a_single_file_is_watched_alone() {
    let folder = Folder::new();
    folder.put("only", auth_config("a", "a.test"));
    folder.put("other.yaml", auth_config("b", "b.test"));
    let mut watching = Watching::told_only(&folder, Source::new(vec![folder.path("only")], Options::default()));
    assert_eq!(watching.next().await, ["AuthConfig default/a a.test", "loaded"]);
    folder.put("other.yaml", auth_config("b", "b2.test"));
    folder.put("only", auth_config("a", "a2.test"));
    assert_eq!(watching.next().await, ["AuthConfig default/a a2.test"]);
}

#[tokio::test]
async fn without_being_told_changes_are_found_by_looking() {
    let folder = Folder::new();
    folder.put("a.yaml", auth_config("a", "a.test"));
    let mut source = folder.source();
    source.options.notifications = false;
    source.options.poll_interval = Duration::from_millis(20);
    let mut watching = Watching::start(&folder, source);
    assert_eq!(watching.next().await, ["AuthConfig default/a a.test", "loaded"]);
    folder.put("a.yaml", auth_config("a", "b.test"));
    assert_eq!(watching.next().await, ["AuthConfig default/a b.test"]);
    folder.put("new/b.yaml", auth_config("b", "b.test"));
    assert_eq!(watching.next().await, ["AuthConfig default/b b.test"]);
    folder.remove("a.yaml");
    assert_eq!(watching.next().await, ["AuthConfig default/a gone"]);
}

#[tokio::test]
async fn watching_ends_when_nobody_listens() {
    let folder = Folder::new();
    let Watching { mut receiver, task, .. } = Watching::told_only(&folder, folder.source());
    let batch = timeout(LONG, receiver.recv()).await.unwrap().unwrap();
    assert_eq!(folder.words(&batch), ["loaded"]);
    drop(receiver);
    timeout(LONG, task).await.expect("an end in time").unwrap().unwrap();
}

#[tokio::test]
async fn the_thread_ends_when_the_future_is_dropped() {
    let folder = Folder::new();
    let Watching { mut receiver, task, .. } = Watching::told_only(&folder, folder.source());
    let batch = timeout(LONG, receiver.recv()).await.unwrap().unwrap();
    assert_eq!(folder.words(&batch), ["loaded"]);
    task.abort();
    // The thread holds the last sender.
    assert!(timeout(LONG, receiver.recv()).await.expect("an end in time").is_none());
}
