//! The file of a snapshot and its folder: who may read them, and what is done with a file that cannot be used.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use redb::{Builder, Database, ReadableTable as _, TableDefinition, TableHandle as _};

use super::SnapshotError;

/// The name of the file.
pub const FILE_NAME: &str = "usher-snapshot.redb";

/// What is added to the name of a file that cannot be used.
const UNUSABLE: &str = ".unusable";

/// Objects by namespace and name.
pub(super) type ObjectTable = TableDefinition<'static, (&'static str, &'static str), &'static [u8]>;

pub(super) const AUTH_CONFIGS: ObjectTable = TableDefinition::new("auth-configs");
pub(super) const LABELLED_SECRETS: ObjectTable = TableDefinition::new("labelled-secrets");
pub(super) const NAMED_SECRETS: ObjectTable = TableDefinition::new("named-secrets");

/// What is to be known of the file as a whole.
pub(super) const PROPERTIES: TableDefinition<'static, &'static str, u64> = TableDefinition::new("properties");

/// Property: the version of all this. Grows when a file can no longer be read by earlier versions of the program, or
/// earlier files no longer by this one; a field more or less in an object is no reason.
pub(super) const FORMAT: &str = "format";
pub(super) const FORMAT_VERSION: u64 = 1;
/// Property: when the file was last written, in milliseconds since 1970.
pub(super) const WRITTEN: &str = "written";
/// Property: there once the file held everything that there was.
pub(super) const COMPLETE: &str = "complete";

/// The most bytes of the file that are kept in memory. It is read once, in order; writing touches few pages.
const CACHE_SIZE: usize = 16 << 20;

/// Opens the file in a folder. Both are made if they are missing; a file that cannot be used is set aside.
pub(super) fn open(folder: &Path) -> Result<(PathBuf, Database), SnapshotError> {
    make_folder(folder).map_err(|error| SnapshotError::Folder { path: folder.to_owned(), error })?;
    let path = folder.join(FILE_NAME);
    let reason = match try_open(&path) {
        Ok(database) => return Ok((path, database)),
        Err(Refusal::Other(error)) => return Err(error),
        Err(Refusal::Unusable(reason)) => reason,
    };
    let aside = set_aside(&path)?;
    tracing::warn!(
        file = %path.display(),
        "the snapshot cannot be used: {reason}; it is now `{}`, and a new one is begun",
        aside.display()
    );
    let database = reopen(&path)?;
    Ok((path, database))
}

/// Opens the file, without setting anything aside.
pub(super) fn reopen(path: &Path) -> Result<Database, SnapshotError> {
    try_open(path).map_err(|refusal| match refusal {
        Refusal::Other(error) => error,
        Refusal::Unusable(reason) => SnapshotError::Failed { path: path.to_owned(), action: "opened", reason },
    })
}

/// An error of the database in words.
pub(super) fn failed(path: &Path, action: &'static str, error: &redb::Error) -> SnapshotError {
    let reason = match error {
        redb::Error::DatabaseAlreadyOpen => return SnapshotError::InUse { path: path.to_owned() },
        redb::Error::Io(error) => error.to_string(),
        redb::Error::PreviousIo => "an earlier access to the disk failed".to_owned(),
        redb::Error::Corrupted(_) => "the file is damaged".to_owned(),
        redb::Error::UpgradeRequired(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableIsMultimap(_) => "the file is of another version".to_owned(),
        other => other.to_string().trim_end_matches('.').to_owned(),
    };
    SnapshotError::Failed { path: path.to_owned(), action, reason }
}

/// Why a file was not opened.
enum Refusal {
    /// Nothing will ever open it. With the reason.
    Unusable(String),
    /// The file may be well.
    Other(SnapshotError),
}

fn try_open(path: &Path) -> Result<Database, Refusal> {
    let failure = |error: io::Error| Refusal::Other(failed(path, "opened", &redb::Error::Io(error)));
    // Whoever put a link there decides what is read, and whose permissions are changed.
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
        return Err(failure(io::Error::other("it is a symbolic link")));
    }
    let file = open_file(path).map_err(failure)?;
    let kind = file.metadata().map_err(failure)?.file_type();
    if !kind.is_file() {
        return Err(failure(io::Error::other("it is not a file")));
    }
    // The database reports what is damaged where it looks for it; what it does not look for must not end the process.
    let opened = panic::catch_unwind(AssertUnwindSafe(|| prepare(file)));
    match opened {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(NotPrepared::Unusable(reason))) => Err(Refusal::Unusable(reason)),
        Ok(Err(NotPrepared::Database(error))) => {
            let error_in_words = failed(path, "opened", &error);
            match (is_unusable(&error), error_in_words) {
                (true, SnapshotError::Failed { reason, .. }) => Err(Refusal::Unusable(reason)),
                (_, error) => Err(Refusal::Other(error)),
            }
        }
        Err(_) => Err(Refusal::Unusable("the file is damaged".to_owned())),
    }
}

enum NotPrepared {
    Unusable(String),
    Database(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for NotPrepared {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}

/// A database with all tables, checked to the last page and found to be of this version.
fn prepare(file: File) -> Result<Database, NotPrepared> {
    let mut database = Builder::new().set_cache_size(CACHE_SIZE).create_file(file)?;
    // The database checks by itself only after a crash. What was served before must not come back changed by a disk.
    database.check_integrity()?;
    let transaction = database.begin_write()?;
    let is_new = transaction.list_tables()?.next().is_none();
    let has_properties = transaction.list_tables()?.any(|table| table.name() == PROPERTIES.name());
    if !is_new && !has_properties {
        return Err(NotPrepared::Unusable("it is a database of something else".to_owned()));
    }
    if is_new {
        transaction.open_table(PROPERTIES)?.insert(FORMAT, FORMAT_VERSION)?;
        for table in [AUTH_CONFIGS, LABELLED_SECRETS, NAMED_SECRETS] {
            transaction.open_table(table)?;
        }
        transaction.commit()?;
        return Ok(database);
    }
    let format = transaction.open_table(PROPERTIES)?.get(FORMAT)?.map(|version| version.value());
    if format != Some(FORMAT_VERSION) {
        let found = format.map_or_else(|| "no version".to_owned(), |version| format!("version {version}"));
        let message = format!("it is of {found}, and this program reads version {FORMAT_VERSION}");
        return Err(NotPrepared::Unusable(message));
    }
    for table in [AUTH_CONFIGS, LABELLED_SECRETS, NAMED_SECRETS] {
        transaction.open_table(table)?;
    }
    transaction.abort()?;
    Ok(database)
}

/// Whether an error tells that the file is not one of ours, or no longer.
fn is_unusable(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableIsMultimap(_) => true,
        redb::Error::Io(error) => matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData),
        _ => false,
    }
}

/// Renames a file out of the way; an earlier one of that name goes.
fn set_aside(path: &Path) -> Result<PathBuf, SnapshotError> {
    let mut aside = OsString::from(path);
    aside.push(UNUSABLE);
    let aside = PathBuf::from(aside);
    fs::rename(path, &aside).map_err(|error| failed(path, "set aside", &redb::Error::Io(error)))?;
    Ok(aside)
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// The file, made if it is missing. Nobody else can read it, not even for a moment while it is new.
fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    close_to_others(&file, path)?;
    Ok(file)
}

/// Takes a file from those who could read or change it. It may have been copied by hand, or a volume may have been
/// given to a group.
#[cfg(unix)]
fn close_to_others(file: &File, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    let metadata = file.metadata()?;
    let mode = metadata.permissions().mode() & 0o7777;
    if metadata.is_file() && mode & 0o077 != 0 {
        match file.set_permissions(fs::Permissions::from_mode(0o600)) {
            Ok(()) => tracing::warn!(
                file = %path.display(),
                "others could read or change the snapshot, which holds Secrets (mode {mode:04o}); now it is 0600"
            ),
            // It belongs to somebody else, as on some volumes. It is no less readable for that if it is not used.
            Err(error) => tracing::warn!(
                file = %path.display(),
                "others can read or change the snapshot, which holds Secrets (mode {mode:04o}), and that cannot be \
                 changed: {error}"
            ),
        }
    }
    Ok(())
}
