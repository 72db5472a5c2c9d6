//! Puts objects into the tables of the file, and gets them out.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, Table, WriteTransaction};
use usher_api::SecretName;

use super::file::{AUTH_CONFIGS, COMPLETE, LABELLED_SECRETS, NAMED_SECRETS, ObjectTable, PROPERTIES, WRITTEN};
use super::{Entry, Kind, Restored, stored};
use crate::{AuthConfigObject, Change};

/// Returns whether there is anything to commit.
pub(super) fn put_and_remove<'e>(
    transaction: &WriteTransaction,
    entries: impl IntoIterator<Item = &'e Entry>,
    replace: bool,
) -> Result<bool, redb::Error> {
    let mut auth_configs = OpenTable::open(transaction, AUTH_CONFIGS)?;
    let mut labelled_secrets = OpenTable::open(transaction, LABELLED_SECRETS)?;
    let mut named_secrets = OpenTable::open(transaction, NAMED_SECRETS)?;
    for entry in entries {
        let (kind, namespace, name) = entry.place();
        let table = match kind {
            Kind::AuthConfig => &mut auth_configs,
            Kind::LabelledSecret => &mut labelled_secrets,
            Kind::NamedSecret => &mut named_secrets,
        };
        table.set((namespace, name), entry.row())?;
        if replace {
            table.keep((namespace, name));
        }
    }
    let mut changed = replace;
    for mut table in [auth_configs, labelled_secrets, named_secrets] {
        if replace {
            table.remove_others()?;
        }
        changed |= table.changed;
    }
    if changed {
        let mut properties = transaction.open_table(PROPERTIES)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        properties.insert(WRITTEN, u64::try_from(now.as_millis()).unwrap_or(u64::MAX))?;
        if replace {
            properties.insert(COMPLETE, 1)?;
        }
    }
    Ok(changed)
}

/// A table that is being written to.
struct OpenTable<'t, 'e> {
    table: Table<'t, (&'static str, &'static str), &'static [u8]>,
    /// What is not to be removed by [`Self::remove_others`].
    kept: HashSet<(&'e str, &'e str)>,
    changed: bool,
}

impl<'t, 'e> OpenTable<'t, 'e> {
    fn open(transaction: &'t WriteTransaction, table: ObjectTable) -> Result<Self, redb::Error> {
        Ok(Self { table: transaction.open_table(table)?, kept: HashSet::new(), changed: false })
    }

    fn set(&mut self, key: (&str, &str), row: Option<Vec<u8>>) -> Result<(), redb::Error> {
        let Some(row) = row else {
            self.changed |= self.table.remove(key)?.is_some();
            return Ok(());
        };
        // After a start, nearly everything that a source tells is here already.
        if self.table.get(key)?.is_none_or(|before| before.value() != row) {
            self.table.insert(key, row.as_slice())?;
            self.changed = true;
        }
        Ok(())
    }

    fn keep(&mut self, key: (&'e str, &'e str)) {
        self.kept.insert(key);
    }

    fn remove_others(&mut self) -> Result<(), redb::Error> {
        // Removing costs a pass of writing; mostly there is nothing to remove.
        let mut others = false;
        for row in self.table.iter()? {
            let (key, _) = row?;
            others |= !self.kept.contains(&key.value());
        }
        if others {
            self.table.retain(|key, _| self.kept.contains(&key))?;
            self.changed = true;
        }
        Ok(())
    }
}

/// An object that is in the file and cannot be read.
pub(super) struct Unreadable {
    /// Such as `AuthConfig ns/name`.
    pub(super) object: String,
    pub(super) reason: String,
}

pub(super) fn read_everything(database: &Database) -> Result<(Restored, Vec<Unreadable>), redb::Error> {
    let transaction = database.begin_read()?;
    let properties = transaction.open_table(PROPERTIES)?;
    let property = |name| Ok::<_, redb::Error>(properties.get(name)?.map(|value| value.value()));
    let mut restored = Restored {
        written: property(WRITTEN)?
            .and_then(|milliseconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds))),
        complete: property(COMPLETE)?.is_some(),
        ..Restored::default()
    };
    let mut unreadable = Vec::new();

    for row in transaction.open_table(NAMED_SECRETS)?.iter()? {
        let (key, value) = row?;
        let (namespace, name) = key.value();
        match stored::read_named_secret(namespace, name, value.value()) {
            Ok(secret) => {
                let name = SecretName::new(namespace, name);
                restored.changes.push(Change::NamedSecret { name, secret: secret.map(Arc::new) });
            }
            Err(reason) => unreadable.push(Unreadable { object: format!("Secret {namespace}/{name}"), reason }),
        }
    }
    for row in transaction.open_table(LABELLED_SECRETS)?.iter()? {
        let (key, value) = row?;
        let (namespace, name) = key.value();
        match stored::read_secret(namespace, name, value.value()) {
            Ok(secret) => restored.changes.push(Change::LabelledSecret(Arc::new(secret))),
            Err(reason) => unreadable.push(Unreadable { object: format!("Secret {namespace}/{name}"), reason }),
        }
    }
    restored.secrets = restored.changes.len();

    let mut auth_configs = Vec::new();
    for row in transaction.open_table(AUTH_CONFIGS)?.iter()? {
        let (key, value) = row?;
        let (namespace, name) = key.value();
        let (document, problem) = stored::read_auth_config(namespace, name, value.value());
        if let Some(reason) = problem {
            unreadable.push(Unreadable { object: format!("AuthConfig {namespace}/{name}"), reason });
        }
        auth_configs.push(Arc::new(AuthConfigObject { document, file: None }));
    }
    // The sort is stable: of the same age, the one whose name comes first.
    auth_configs.sort_by(|left, right| {
        let age = |object: &AuthConfigObject| object.document.metadata.creation_timestamp.clone();
        let (left, right) = (age(left), age(right));
        (left.is_none(), left).cmp(&(right.is_none(), right))
    });
    restored.auth_configs = auth_configs.len();
    restored.changes.extend(auth_configs.into_iter().map(Change::AuthConfig));
    restored.unreadable = unreadable.len();
    Ok((restored, unreadable))
}
