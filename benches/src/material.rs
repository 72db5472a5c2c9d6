//! What configurations name and measurements need: private keys, and ports of services that rules call. Made for one run, or
//! kept in a folder, so that a configuration that was printed fits what is asked later.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use anyhow::Context as _;

/// Private keys and ports.
#[derive(Debug, Default)]
pub(crate) struct Material {
    /// Where they are kept; none if only for this run.
    folder: Option<PathBuf>,
}

impl Material {
    /// Kept in this folder, which is made if there is none.
    pub(crate) fn kept(folder: Option<PathBuf>) -> anyhow::Result<Self> {
        if let Some(folder) = &folder {
            fs::create_dir_all(folder).with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
        }
        Ok(Self { folder })
    }

    /// What is kept under this name; else what is made now, and kept from now on.
    pub(crate) fn get(&self, name: &str, make: impl FnOnce() -> anyhow::Result<Vec<u8>>) -> anyhow::Result<Vec<u8>> {
        let Some(file) = self.folder.as_ref().map(|folder| folder.join(name)) else { return make() };
        match fs::read(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let made = make()?;
                let written = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
                written
                    .and_then(|mut written| written.write_all(&made))
                    .with_context(|| format!("cannot write `{}`", file.display()))?;
                Ok(made)
            }
            read => read.with_context(|| format!("cannot read `{}`", file.display())),
        }
    }

    /// Listens on the port of the loopback address that is kept under this name; else on a free one.
    pub(crate) fn listen(&self, name: &str) -> anyhow::Result<TcpListener> {
        let mut fresh = None;
        let port = self.get(name, || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = listener.local_addr()?.port();
            fresh = Some(listener);
            Ok(port.to_string().into_bytes())
        })?;
        if let Some(listener) = fresh {
            return Ok(listener);
        }
        let port: u16 = str::from_utf8(&port)?.trim().parse().with_context(|| format!("`{name}` holds no port"))?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("cannot listen on port {port}, which `{name}` says"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_again_and_the_rest_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let kept = || Material::kept(Some(folder.path().join("new/folder"))).unwrap();
        for material in [kept(), kept()] {
            let first = material.get("a", || Ok(b"1".to_vec())).unwrap();
            let second = material.get("a", || Ok(b"2".to_vec())).unwrap();
            assert_eq!((first, second), (b"1".to_vec(), b"1".to_vec()));
        }
        let passing = Material::default();
        assert_eq!(passing.get("a", || Ok(b"2".to_vec())).unwrap(), b"2");
        assert!(kept().get("b", || anyhow::bail!("no")).is_err());
        assert_eq!(kept().get("b", || Ok(b"3".to_vec())).unwrap(), b"3");
    }

    #[test]
    fn ports_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let kept = || Material::kept(Some(folder.path().to_owned())).unwrap();
        let address = kept().listen("port").unwrap().local_addr().unwrap();
        let again = kept().listen("port").unwrap();
        assert_eq!(again.local_addr().unwrap(), address);
        let error = kept().listen("port").unwrap_err().to_string();
        assert!(error.contains(&address.port().to_string()), "{error}");
        assert!(Material::default().listen("port").is_ok());
    }
}
