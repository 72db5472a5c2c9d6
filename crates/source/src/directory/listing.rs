//! Which files there are.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::FileProblem;

/// The most files of one source, and the most folders. With more, none of the path in question is taken in.
pub const MAX_FILES: usize = 100_000;
/// How deep folders may be nested. What is deeper is not taken in.
pub const MAX_DEPTH: usize = 32;

/// The files and folders of a source at one moment.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// In order; each path once.
    pub(super) files: Vec<ListedFile>,
    pub(super) folders: Vec<Folder>,
    pub(super) failures: Vec<Failure>,
}

#[derive(Debug)]
pub(super) struct ListedFile {
    pub(super) key: FileKey,
    /// Whether the file is a symbolic link: then nobody tells of writing to it.
    pub(super) linked: bool,
}

/// A file, and its place in the order of files.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FileKey {
    /// Which of the paths of the source it was found at.
    pub(super) root: usize,
    pub(super) path: Arc<Path>,
}

/// A folder to be watched.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
}

/// A folder or file that could not be listed: what is below it is not known.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) problem: FileProblem,
    /// Set if it is one of the paths of the source, or as good as that.
    pub(super) root: Option<usize>,
}

/// What a path leads to: device and inode.
pub(super) type Identity = (u64, u64);

pub(super) fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

impl Failure {
    /// Whether the file may still be there although it is not listed.
    pub(super) fn covers(&self, key: &FileKey) -> bool {
        self.root == Some(key.root) || key.path.starts_with(&self.problem.file)
    }
}

impl Listing {
    /// Looks through all paths.
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        let mut walk = Walk::default();
        for (root, path) in paths.iter().enumerate() {
            walk.root(root, path);
        }
        walk.listing
    }
}

#[derive(Default)]
struct Walk {
    listing: Listing,
    seen: HashSet<Arc<Path>>,
    /// The folders on the way to the one being listed: links may lead back to them.
    above: Vec<Identity>,
}

impl Walk {
    fn root(&mut self, root: usize, path: &Path) {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                if self.folder(root, path, &metadata).is_err() {
                    let message = format!("holds more than {MAX_FILES} files or folders; none of them is taken in");
                    self.fail(path, message, Some(root));
                    self.listing.files.retain(|file| file.key.root != root);
                }
            }
            Ok(_) => {
                let linked = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
                // One more file than the limit does no harm.
                let _ = self.file(root, path, linked);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => self.fail(path, "does not exist", Some(root)),
            Err(error) => self.fail(path, format!("cannot be read: {}", error.kind()), Some(root)),
        }
    }

    fn folder(&mut self, root: usize, path: &Path, metadata: &Metadata) -> Result<(), TooMany> {
        let identity = identity(metadata);
        if self.above.contains(&identity) {
            return Ok(());
        }
        let is_root = self.above.is_empty();
        if self.above.len() >= MAX_DEPTH {
            self.fail(path, format!("is nested more than {MAX_DEPTH} deep and not taken in"), None);
            return Ok(());
        }
        let names = fs::read_dir(path).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<Vec<_>, _>>()
        });
        let mut names = match names {
            Ok(names) => names,
            // Removed just now: the folder above no longer lists it.
            Err(error) if error.kind() == ErrorKind::NotFound && !is_root => return Ok(()),
            Err(error) => {
                self.fail(path, format!("cannot be listed: {}", error.kind()), is_root.then_some(root));
                return Ok(());
            }
        };
        names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
        names.sort();
        // Links can make few folders look like very many.
        if self.listing.folders.len() >= MAX_FILES {
            return Err(TooMany);
        }
        self.listing.folders.push(Folder { path: path.to_owned(), identity });
        self.above.push(identity);
        let result = names.iter().try_for_each(|name| self.entry(root, &path.join(name)));
        self.above.pop();
        result
    }

    fn entry(&mut self, root: usize, path: &Path) -> Result<(), TooMany> {
        // Removed just now, if not even that can be had.
        let Ok(itself) = fs::symlink_metadata(path) else {
            return Ok(());
        };
        let target = if itself.is_symlink() { fs::metadata(path).ok() } else { Some(itself.clone()) };
        match target {
            Some(metadata) if metadata.is_dir() => self.folder(root, path, &metadata),
            // A link that leads nowhere is a file that cannot be read, not one that was removed.
            _ if is_configuration(path) => self.file(root, path, itself.is_symlink()),
            _ => Ok(()),
        }
    }

    fn file(&mut self, root: usize, path: &Path, linked: bool) -> Result<(), TooMany> {
        let path: Arc<Path> = path.into();
        if self.listing.files.len() >= MAX_FILES {
            return Err(TooMany);
        }
        if self.seen.insert(Arc::clone(&path)) {
            self.listing.files.push(ListedFile { key: FileKey { root, path }, linked });
        }
        Ok(())
    }

    fn fail(&mut self, path: &Path, message: impl Into<String>, root: Option<usize>) {
        self.listing.failures.push(Failure { problem: FileProblem::of_file(path, message), root });
    }
}

/// The limit of files is reached.
struct TooMany;

/// Whether the name is one of a file with configuration.
pub(super) fn is_configuration(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(root: &Path) -> Vec<String> {
        let listing = Listing::of(&[root.to_owned()]);
        assert!(listing.failures.is_empty(), "{:?}", listing.failures);
        let below = |file: &ListedFile| file.key.path.strip_prefix(root).unwrap().display().to_string();
        listing.files.iter().map(below).collect()
    }

    #[test]
    fn files_are_listed_by_name_level_by_level() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("b/deep")).unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        for name in [
            "c.yaml",
            "a.yml",
            "b/2.json",
            "b/10.yaml",
            "b/deep/x.YAML",
            "b.yaml",
            "notes.txt",
            "a.yaml~",
            ".hidden.yaml",
            ".git/x.yaml",
            "yaml",
        ] {
            fs::write(root.join(name), "").unwrap();
        }
        assert_eq!(names(root), ["a.yml", "b/10.yaml", "b/2.json", "b/deep/x.YAML", "b.yaml", "c.yaml"]);
        let mut sorted: Vec<_> = Listing::of(&[root.to_owned()]).files.into_iter().map(|file| file.key).collect();
        let listed = sorted.clone();
        sorted.sort();
        assert_eq!(sorted, listed, "keys sort as files are listed");
    }

    #[test]
    fn links_are_followed_but_not_in_circles() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("mount");
        fs::create_dir_all(root.join("..2026_1")).unwrap();
        fs::create_dir_all(root.join("..2026_1/more")).unwrap();
        fs::write(root.join("..2026_1/a.yaml"), "").unwrap();
        fs::write(root.join("..2026_1/more/b.yaml"), "").unwrap();
        symlink("..2026_1", root.join("..data")).unwrap();
        symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
        symlink("..data/more", root.join("more")).unwrap();
        symlink("nowhere", root.join("lost.yaml")).unwrap();
        symlink("nowhere", root.join("lost")).unwrap();
        symlink(&root, root.join("self")).unwrap();
        symlink(folder.path(), root.join("up")).unwrap();
        assert_eq!(names(&root), ["a.yaml", "lost.yaml", "more/b.yaml"]);
    }

    #[test]
    fn paths_that_cannot_be_listed_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let single = folder.path().join("single.txt");
        fs::write(&single, "").unwrap();
        let listing = Listing::of(&[missing.clone(), single.clone(), single.clone()]);
        assert_eq!(listing.files.len(), 1, "a path is taken once: {:?}", listing.files);
        assert_eq!(&*listing.files[0].key.path, single);
        let failure = &listing.failures[0];
        assert_eq!(failure.problem.to_string(), format!("{}: does not exist", missing.display()));
        assert!(failure.covers(&FileKey { root: 0, path: missing.join("a.yaml").as_path().into() }));
        assert!(!failure.covers(&FileKey { root: 1, path: single.as_path().into() }));
    }

    #[test]
    fn nesting_is_limited() {
        let folder = tempfile::tempdir().unwrap();
        let deepest: PathBuf = std::iter::repeat_n("d", MAX_DEPTH).collect();
        fs::create_dir_all(folder.path().join(&deepest)).unwrap();
        fs::write(folder.path().join(&deepest).join("a.yaml"), "").unwrap();
        fs::write(folder.path().join(deepest.parent().unwrap()).join("b.yaml"), "").unwrap();
        let listing = Listing::of(&[folder.path().to_owned()]);
        assert_eq!(listing.files.len(), 1);
        assert!(listing.failures[0].problem.message.contains("nested more than 32 deep"));
        assert_eq!(listing.failures[0].root, None);
    }
}
