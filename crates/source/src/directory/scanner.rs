//! Which files changed, and whether to believe it yet.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use super::contents::{self, Contents, Fault, Fingerprint};
use super::listing::{FileKey, ListedFile, Listing};
use super::objects::Objects;
use super::signals::Signals;
use super::{FileProblem, Filter, Severity, Timing};
use crate::Change;

/// Keeps what is known of all files, and compares it with what is there.
#[derive(Debug)]
pub(super) struct Scanner {
    timing: Timing,
    /// Keyed at random: nobody can prepare two texts that look the same to it.
    hasher: RandomState,
    files: BTreeMap<FileKey, File>,
    objects: Objects,
    problems: Vec<FileProblem>,
    scanned: bool,
    loaded: bool,
}

/// What is known of a file.
#[derive(Debug, Default)]
struct File {
    /// Of the file when it was last read, if it can be relied on.
    fingerprint: Option<Fingerprint>,
    /// What was taken in; None: nothing yet.
    content: Option<Content>,
    problems: Vec<FileProblem>,
    /// What was seen since but is not believed yet, and when it was seen first.
    seen: Option<(Content, Instant)>,
    /// Whether what was seen is that everything is gone.
    vanishing: bool,
}

/// The content of a file, as far as it is needed to see that it changed.
#[derive(Debug, Clone, PartialEq)]
enum Content {
    Text { hash: u64, length: usize },
    Fault(Fault),
    Missing,
}

/// What came of a look at the files.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) changes: Vec<Change>,
    /// When to look again, because there is something that is not believed yet.
    pub(super) look_again_in: Option<Duration>,
}

impl Scanner {
    pub(super) fn new(filter: Filter, timing: Timing) -> Self {
        Self {
            timing,
            hasher: RandomState::new(),
            files: BTreeMap::new(),
            objects: Objects::new(filter),
            problems: Vec::new(),
            scanned: false,
            loaded: false,
        }
    }

    /// Everything that is wrong.
    pub(super) fn into_problems(self) -> Vec<FileProblem> {
        self.problems
    }

    /// Looks at all files that may have changed since the last look. Without `signals` nobody is going to look again,
    /// so that everything is believed.
    pub(super) fn scan(&mut self, listing: Listing, signals: Option<&Signals>) -> Scan {
        let signals = signals.filter(|_| self.scanned);
        // One moment for all files: what changed together is believed together.
        let now = Instant::now();
        let mut look_again_in: Option<Duration> = None;
        let mut later = |wait: Option<Duration>| {
            if let Some(wait) = wait {
                look_again_in = Some(look_again_in.map_or(wait, |earlier| earlier.min(wait)));
            }
        };
        for listed in &listing.files {
            later(self.look_at(listed, signals, now));
        }
        let listed: HashSet<&FileKey> = listing.files.iter().map(|file| &file.key).collect();
        let unlisted =
            |key: &&FileKey| !listed.contains(key) && !listing.failures.iter().any(|failure| failure.covers(key));
        let missing: Vec<FileKey> = self.files.keys().filter(unlisted).cloned().collect();
        for key in missing {
            later(self.miss(&key, signals, now));
        }

        let mut changes = self.objects.changes();
        if let Some(problems) = self.new_problems(&listing) {
            changes.push(Change::Problems(problems.into()));
        }
        if !self.loaded && listing.failures.iter().all(|failure| failure.root.is_none()) {
            self.loaded = true;
            changes.push(Change::InitialLoadDone);
        }
        self.scanned = true;
        Scan { changes, look_again_in }
    }

    /// Takes in what a file says now, or tells in how long to look again.
    fn look_at(&mut self, listed: &ListedFile, signals: Option<&Signals>, now: Instant) -> Option<Duration> {
        let key = &listed.key;
        let file = self.files.entry(key.clone()).or_default();
        if file.seen.is_none() && file.fingerprint.is_some() && Fingerprint::of(&key.path) == file.fingerprint {
            return None;
        }
        let reading = contents::read(&key.path);
        let content = match &reading.text {
            Ok(text) => Content::Text { hash: self.hasher.hash_one(text), length: text.len() },
            Err(fault) => Content::Fault(fault.clone()),
        };
        if file.content.as_ref() == Some(&content) {
            file.seen = None;
            file.vanishing = false;
            file.fingerprint = reading.fingerprint;
            return None;
        }
        // Asked after reading: what was written meanwhile counts too.
        let being_written = signals.and_then(|signals| signals.being_written(&key.path));
        let contents = reading.text.as_ref().map(|text| Contents::of(text, &key.path, self.objects.filter()));
        let vanishing = contents.as_ref().is_ok_and(|contents| contents.is_empty) && self.objects.has_any_of(key);
        let wait = match signals {
            None => Duration::ZERO,
            Some(signals) => {
                let told = !listed.linked && signals.tells_of(&key.path);
                let quiet = reading.age.is_none_or(|age| age >= self.timing.quiet);
                [
                    (contents.is_err(), self.timing.missing),
                    (vanishing, self.timing.emptied),
                    (!told, self.timing.untold),
                    (!quiet, self.timing.quiet),
                ]
                .into_iter()
                .filter_map(|(applies, wait)| applies.then_some(wait))
                .max()
                .unwrap_or_default()
            }
        };
        let wait = file.wait(&content, wait, now).max(being_written.unwrap_or_default());
        file.vanishing = vanishing;
        if !wait.is_zero() {
            return Some(wait);
        }
        *file = File { content: Some(content), fingerprint: reading.fingerprint, ..File::default() };
        match contents {
            Ok(contents) => self.take(key, contents),
            Err(fault) => {
                let problem =
                    FileProblem { line: fault.line, ..FileProblem::of_file(&*key.path, fault.message.clone()) };
                let kept = self.kept_note(key, self.objects.of_file(key).map(|entry| entry.key.to_string()).collect());
                if let Some(file) = self.files.get_mut(key) {
                    file.problems = std::iter::once(problem).chain(kept).collect();
                }
            }
        }
        None
    }

    /// Takes in the documents of a file. What the file defined before goes only if it can be told that it is gone.
    fn take(&mut self, key: &FileKey, contents: Contents) {
        let Contents { mut entries, mut problems, broken, doubtful, .. } = contents;
        let defined: HashSet<_> = entries.iter().map(|entry| &entry.key).collect();
        let before = self.objects.of_file(key);
        let kept: Vec<_> = before
            .filter(|entry| !defined.contains(&entry.key) && (doubtful || broken.contains(&entry.key)))
            .cloned()
            .collect();
        problems.extend(self.kept_note(key, kept.iter().map(|entry| entry.key.to_string()).collect()));
        entries.extend(kept);
        self.objects.replace(key, entries);
        if let Some(file) = self.files.get_mut(key) {
            file.problems = problems;
        }
    }

    /// Tells that objects of a file are kept although it does not define them at present.
    fn kept_note(&self, key: &FileKey, kept: Vec<String>) -> Option<FileProblem> {
        const NAMED: usize = 5;
        if kept.is_empty() {
            return None;
        }
        let mut names = kept.iter().take(NAMED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        if kept.len() > NAMED {
            names.push_str(&format!(" and {} more", kept.len() - NAMED));
        }
        let message = format!("until that is mended, what was read before stays in force: {names}");
        Some(FileProblem { severity: Severity::Warning, ..FileProblem::of_file(&*key.path, message) })
    }

    /// Forgets a file that is no longer there, or tells in how long to look again.
    fn miss(&mut self, key: &FileKey, signals: Option<&Signals>, now: Instant) -> Option<Duration> {
        if signals.is_some()
            && let Some(file) = self.files.get_mut(key)
            && self.objects.has_any_of(key)
        {
            file.vanishing = true;
            let wait = file.wait(&Content::Missing, self.timing.missing, now);
            if !wait.is_zero() {
                return Some(wait);
            }
        }
        self.files.remove(key);
        self.objects.replace(key, Vec::new());
        None
    }

    /// Everything that is wrong now, if that differs from what was wrong before. What is new is logged.
    fn new_problems(&mut self, listing: &Listing) -> Option<Vec<FileProblem>> {
        let mut conflicts: BTreeMap<&std::path::Path, Vec<FileProblem>> = BTreeMap::new();
        let waiting = |key: &FileKey| self.files.get(key).is_some_and(|file| file.vanishing);
        let found = self.objects.conflicts(waiting);
        for problem in &found {
            conflicts.entry(&problem.file).or_default().push(problem.clone());
        }
        let mut problems: Vec<FileProblem> = listing.failures.iter().map(|failure| failure.problem.clone()).collect();
        for (key, file) in &self.files {
            let start = problems.len();
            problems.extend(file.problems.iter().cloned());
            problems.extend(conflicts.remove(&*key.path).unwrap_or_default());
            if let Some(own) = problems.get_mut(start..) {
                own.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
            }
        }
        if problems == self.problems {
            return None;
        }
        let before: HashSet<FileProblem> = std::mem::replace(&mut self.problems, problems).into_iter().collect();
        Some(self.problems.clone()).inspect(|problems| {
            problems.iter().filter(|problem| !before.contains(problem)).for_each(FileProblem::log);
        })
    }
}

impl File {
    /// How much longer a content must be seen before it is believed, if it must be for `wait`.
    fn wait(&mut self, content: &Content, wait: Duration, now: Instant) -> Duration {
        let since = match &self.seen {
            Some((seen, since)) if seen == content => *since,
            _ => now,
        };
        self.seen = Some((content.clone(), since));
        wait.saturating_sub(now.saturating_duration_since(since))
    }
}
