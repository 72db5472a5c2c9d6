//! Objects of lists and watches, as far as a watch must understand them.
//!
//! | | read as |
//! | --- | --- |
//! | AuthConfigs | JSON |
//! | Secrets | at once, if they are as usual; there may be hundreds of thousands. Otherwise JSON |
//! | the metadata of Secrets | what tells a version from others |

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use usher_api::SoundSecret;

use super::{collection::Page, lines::Line};

/// An object, as far as a watch must understand it.
pub(super) trait Item: Sized + Send {
    /// A page of a list.
    fn read_page(page: &[u8]) -> serde_json::Result<Page<Self>>;
    /// A line of a watch.
    fn read_line(line: &[u8]) -> serde_json::Result<Line<Self>>;
    /// `metadata.resourceVersion`
    fn resource_version(&self) -> Option<&str>;
    /// `code`, of the `Status` that a watch tells as its last words.
    fn code(&self) -> Option<u16>;
}

impl Item for Value {
    fn read_page(page: &[u8]) -> serde_json::Result<Page<Self>> {
        serde_json::from_slice(page)
    }

    fn read_line(line: &[u8]) -> serde_json::Result<Line<Self>> {
        serde_json::from_slice(line)
    }

    fn resource_version(&self) -> Option<&str> {
        self.get("metadata")?.get("resourceVersion")?.as_str()
    }

    fn code(&self) -> Option<u16> {
        self.get("code")?.as_u64()?.try_into().ok()
    }
}

/// A Secret of the API, or what is told in the place of one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum SecretItem {
    /// Nothing is wrong with it.
    Sound(Box<SoundSecret>),
    /// Anything else.
    Other(Value),
}

/// What is sound without the detour.
#[derive(Deserialize)]
#[serde(transparent)]
struct Sound(Box<SoundSecret>);

impl Item for SecretItem {
    /// One object that is not as usual sends the whole page the long way.
    fn read_page(page: &[u8]) -> serde_json::Result<Page<Self>> {
        either(page, |page: Page<Sound>| page.map(SecretItem::from), |page: Page<Value>| page.map(Self::Other))
    }

    fn read_line(line: &[u8]) -> serde_json::Result<Line<Self>> {
        either(line, |line: Line<Sound>| line.map(SecretItem::from), |line: Line<Value>| line.map(Self::Other))
    }

    fn resource_version(&self) -> Option<&str> {
        match self {
            Self::Sound(secret) => secret.0.metadata.resource_version.as_deref(),
            Self::Other(object) => object.resource_version(),
        }
    }

    fn code(&self) -> Option<u16> {
        match self {
            Self::Sound(_) => None,
            Self::Other(object) => object.code(),
        }
    }
}

impl From<Sound> for SecretItem {
    fn from(Sound(secret): Sound) -> Self {
        Self::Sound(secret)
    }
}

impl From<Value> for SecretItem {
    fn from(object: Value) -> Self {
        Self::Other(object)
    }
}

/// Reads in the one way, or else in the other.
fn either<A: DeserializeOwned, B: DeserializeOwned, T>(
    bytes: &[u8],
    one: impl FnOnce(A) -> T,
    other: impl FnOnce(B) -> T,
) -> serde_json::Result<T> {
    match serde_json::from_slice(bytes) {
        Ok(read) => Ok(one(read)),
        Err(_) => serde_json::from_slice(bytes).map(other),
    }
}

/// The metadata of an object.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    #[serde(default)]
    pub(super) metadata: MetadataMembers,
    code: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct MetadataMembers {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: Option<String>,
    pub(super) resource_version: Option<String>,
}

impl Item for Metadata {
    fn read_page(page: &[u8]) -> serde_json::Result<Page<Self>> {
        serde_json::from_slice(page)
    }

    fn read_line(line: &[u8]) -> serde_json::Result<Line<Self>> {
        serde_json::from_slice(line)
    }

    fn resource_version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref()
    }

    fn code(&self) -> Option<u16> {
        self.code
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(name: &str, value: &str) -> Value {
        json!({
            "metadata": {"namespace": "ns", "name": name, "resourceVersion": format!("v-{name}")},
            "data": {"api_key": value},
        })
    }

    #[test]
    fn secrets_of_a_page_are_read_at_once_or_all_as_json() {
        let read = |items: Value| {
            let page = json!({"metadata": {"continue": "next", "resourceVersion": "7"}, "items": items}).to_string();
            let page = SecretItem::read_page(page.as_bytes()).unwrap();
            assert_eq!(page.metadata.continue_token.as_deref(), Some("next"));
            assert_eq!(page.metadata.resource_version.as_deref(), Some("7"));
            page.items
        };
        let names = |items: &[SecretItem]| -> Vec<_> {
            items
                .iter()
                .map(|item| (matches!(item, SecretItem::Sound(_)), item.resource_version().unwrap().to_owned()))
                .collect()
        };
        let sound = read(json!([secret("a", "eA=="), secret("b", "eQ==")])).unwrap();
        assert_eq!(names(&sound), [(true, "v-a".to_owned()), (true, "v-b".to_owned())]);
        let mixed = read(json!([secret("a", "eA=="), secret("b", "%")])).unwrap();
        assert_eq!(names(&mixed), [(false, "v-a".to_owned()), (false, "v-b".to_owned())]);
        assert_eq!(read(json!(null)), None);
        assert!(SecretItem::read_page(b"{\"items\": 7}").is_err());
        assert!(SecretItem::read_page(b"").is_err());
    }

    #[test]
    fn lines_are_secrets_or_what_is_said_in_their_place() {
        let read = |kind: &str, object: Value| {
            let line = json!({"type": kind, "object": object}).to_string();
            let line = SecretItem::read_line(line.as_bytes()).unwrap();
            assert_eq!(line.kind, kind);
            line.object
        };
        let changed = read("MODIFIED", secret("a", "eA=="));
        assert!(matches!(&changed, SecretItem::Sound(_)), "{changed:?}");
        assert_eq!((changed.resource_version(), changed.code()), (Some("v-a"), None));
        let bookmark = read("BOOKMARK", json!({"kind": "Secret", "metadata": {"resourceVersion": "9"}}));
        assert_eq!((bookmark.resource_version(), bookmark.code()), (Some("9"), None));
        let error = read("ERROR", json!({"kind": "Status", "metadata": {}, "code": 410}));
        assert_eq!((error.resource_version(), error.code()), (None, Some(410)));
        assert!(SecretItem::read_line(b"{").is_err());
    }
}
