//! The text of one file, and the documents in it.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use usher_api::{
    API_VERSION, AuthConfigDocument, AuthorizationPolicyDocument, Document, IgnoredDocument, ObjectMeta, Problem,
    SecretDocument, UnreadableDocument, read_documents,
};

use super::Filter;
use super::listing::{Identity, identity};
use super::objects::{Entry, Kind, Object, ObjectKey};
use super::problem::{FileProblem, Severity};
use crate::{AuthConfigObject, AuthorizationPolicyObject};

/// The most bytes of a file. A larger one is not taken in.
pub const MAX_FILE_SIZE: u64 = 16 << 20;

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint {
    identity: Identity,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What reading a file gave.
#[derive(Debug)]
pub(super) struct Reading {
    /// The text, or why there is none.
    pub(super) text: Result<String, Fault>,
    /// The fingerprint, if an equal one will mean an equal text.
    pub(super) fingerprint: Option<Fingerprint>,
    /// How long ago the file was written to; None if its clock is not ours. Zero if it was written to meanwhile.
    pub(super) age: Option<Duration>,
}

/// Why a file has no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: Option<usize>,
    pub(super) message: String,
}

impl Fault {
    fn new(message: impl Into<String>) -> Self {
        Self { line: None, message: message.into() }
    }
}

impl Fingerprint {
    /// The fingerprint of a file that is not read; None if it cannot be had.
    pub(super) fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self::new(&metadata))
    }

    fn new(metadata: &Metadata) -> Self {
        Self {
            identity: identity(metadata),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Clocks of file systems are coarse: a file that was changed in this span may be changed again without a trace.
    const BLUR: i64 = 2;

    fn is_reliable(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let last = self.modified.0.max(self.changed.0);
        i64::try_from(now).is_ok_and(|now| last.saturating_add(Self::BLUR) < now)
    }
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Reading {
    let fault = |message: String| Reading { text: Err(Fault::new(message)), fingerprint: None, age: None };
    let unreadable = |error: std::io::Error| fault(format!("cannot be read: {}", error.kind()));
    // Asked before it is opened: opening a pipe would wait for somebody to write to it.
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return fault("is not a file".to_owned()),
        Ok(_) => {}
        Err(error) => return unreadable(error),
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| {
        let before = file.metadata()?;
        (&file).take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes)?;
        Ok((before, file.metadata()?))
    });
    let (before, after) = match read {
        Ok(metadata) => metadata,
        Err(error) => return unreadable(error),
    };
    let fingerprint = Fingerprint::new(&after);
    let unchanged = fingerprint == Fingerprint::new(&before);
    let age = after.modified().ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
    let text = if bytes.len() as u64 > MAX_FILE_SIZE {
        Err(Fault::new(format!("is larger than {} MiB", MAX_FILE_SIZE >> 20)))
    } else {
        String::from_utf8(bytes).map_err(|error| {
            let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            Fault { line: Some(line), message: "is not UTF-8 text".to_owned() }
        })
    };
    Reading {
        text,
        age: if unchanged { age } else { Some(Duration::ZERO) },
        fingerprint: Some(fingerprint).filter(|fingerprint| unchanged && fingerprint.is_reliable()),
    }
}

/// The documents of a file.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// The objects, each once, in the order of the text.
    pub(super) entries: Vec<Entry>,
    pub(super) problems: Vec<FileProblem>,
    /// Secrets that are defined here but cannot be used.
    pub(super) broken: HashSet<ObjectKey>,
    /// Whether objects may be meant of which nothing can be told, so that none counts as removed.
    pub(super) doubtful: bool,
    /// Whether there is no document at all.
    pub(super) is_empty: bool,
}

impl Contents {
    /// Understands a text.
    pub(super) fn of(text: &str, file: &Arc<Path>, filter: &Filter) -> Self {
        let documents = read_documents(text);
        let mut builder = Builder {
            file,
            filter,
            contents: Self { is_empty: documents.is_empty(), ..Self::default() },
            lines: HashMap::new(),
        };
        for document in documents {
            match document {
                Document::AuthConfig(document) => builder.auth_config(*document),
                Document::AuthorizationPolicy(document) => builder.authorization_policy(*document),
                Document::Secret(document) => builder.secret(*document),
                Document::Ignored(document) => builder.ignored(document),
                Document::Unreadable(document) => builder.unreadable(document),
            }
        }
        builder.contents
    }
}

struct Builder<'a> {
    file: &'a Arc<Path>,
    filter: &'a Filter,
    contents: Contents,
    /// Where each object is defined first.
    lines: HashMap<ObjectKey, Option<usize>>,
}

impl Builder<'_> {
    fn auth_config(&mut self, mut document: AuthConfigDocument) {
        let line = document.lines.find("");
        let in_doubt = identity_in_doubt(&document.result);
        self.contents.doubtful |= in_doubt;
        let nameless = document.metadata.name.is_empty();
        if in_doubt || self.filter.takes_auth_config(&document.metadata) {
            let name = (!nameless).then(|| Kind::AuthConfig.describe(&document.metadata));
            self.problems(name, &document.result);
        }
        if nameless {
            // Its hosts must not be left to others.
            if document.claimed.is_empty() {
                return;
            }
            document.metadata.name = format!("unnamed:{}:{}", self.file.display(), line.unwrap_or_default());
        }
        let key = ObjectKey::new(Kind::AuthConfig, &document.metadata);
        let object = AuthConfigObject { document, file: Some(self.file.to_path_buf()) };
        self.add(Entry { key, line, object: Object::AuthConfig(Arc::new(object), in_doubt) });
    }

    fn authorization_policy(&mut self, mut document: AuthorizationPolicyDocument) {
        let line = document.lines.find("");
        let in_doubt = identity_in_doubt(&document.result);
        self.contents.doubtful |= in_doubt;
        let nameless = document.metadata.name.is_empty();
        if in_doubt || self.filter.takes_policy(&document.metadata) {
            let name = (!nameless).then(|| Kind::AuthorizationPolicy.describe(&document.metadata));
            self.problems(name, &document.result);
        }
        if nameless {
            // What it denies must not be let in.
            document.metadata.name = format!("unnamed:{}:{}", self.file.display(), line.unwrap_or_default());
        }
        let key = ObjectKey::new(Kind::AuthorizationPolicy, &document.metadata);
        let object = AuthorizationPolicyObject { document, file: Some(self.file.to_path_buf()) };
        self.add(Entry { key, line, object: Object::AuthorizationPolicy(Arc::new(object), in_doubt) });
    }

    fn secret(&mut self, document: SecretDocument) {
        let SecretDocument { metadata, line, result } = document;
        let in_doubt = identity_in_doubt(&result);
        self.contents.doubtful |= in_doubt;
        if in_doubt || self.filter.takes_secret(&metadata) {
            self.problems(Some(Kind::Secret.describe(&metadata)), &result);
        }
        let key = ObjectKey::new(Kind::Secret, &metadata);
        match result {
            Ok(secret) => self.add(Entry { key, line, object: Object::Secret(Arc::new(secret)) }),
            Err(_) => {
                self.contents.broken.insert(key);
            }
        }
    }

    fn ignored(&mut self, document: IgnoredDocument) {
        let IgnoredDocument { api_version, kind, name, line } = document;
        // A kind of our own group that we do not know is a mistake, and there may have been an AuthConfig before it.
        let group = |version: &str| version.split_once('/').map(|(group, _)| group.to_owned());
        let ours = group(&api_version) == group(API_VERSION);
        self.contents.doubtful |= ours;
        self.contents.problems.push(FileProblem {
            line,
            severity: if ours { Severity::Error } else { Severity::Warning },
            object: name.map(|name| format!("{kind} {name}")),
            message: format!("the kind `{kind}` of `{api_version}` is not known and left out"),
            ..FileProblem::of_file(&**self.file, "")
        });
    }

    fn unreadable(&mut self, document: UnreadableDocument) {
        self.contents.doubtful = true;
        self.problems(None, &Err::<(), _>(document.problems));
    }

    fn add(&mut self, entry: Entry) {
        if let Some(first) = self.lines.get(&entry.key) {
            let message = format!("is already defined in {}; that one counts", place(self.file, *first));
            self.contents.problems.push(FileProblem {
                line: entry.line,
                object: Some(entry.key.to_string()),
                ..FileProblem::of_file(&**self.file, message)
            });
            return;
        }
        self.lines.insert(entry.key.clone(), entry.line);
        self.contents.entries.push(entry);
    }

    fn problems<T>(&mut self, object: Option<String>, result: &Result<T, Vec<Problem>>) {
        for problem in result.as_ref().err().into_iter().flatten() {
            self.contents.problems.push(FileProblem {
                line: problem.line,
                object: object.clone(),
                path: problem.path.clone(),
                ..FileProblem::of_file(&**self.file, &problem.message)
            });
        }
    }
}

/// `file:line`
pub(super) fn place(file: &Path, line: Option<usize>) -> String {
    line.map_or_else(|| format!("`{}`", file.display()), |line| format!("`{}:{line}`", file.display()))
}

/// Whether name, namespace or labels could not be read, or not all: then nobody knows which object it is, or whether it
/// is one that we take.
fn identity_in_doubt<T>(result: &Result<T, Vec<Problem>>) -> bool {
    let doubts = |problem: &Problem| problem.path.is_empty() || problem.path.starts_with("metadata");
    result.as_ref().is_err_and(|problems| problems.iter().any(doubts))
}

impl Kind {
    /// `AuthConfig namespace/name`
    fn describe(self, metadata: &ObjectMeta) -> String {
        ObjectKey::new(self, metadata).to_string()
    }
}
