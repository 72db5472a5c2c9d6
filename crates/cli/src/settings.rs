//! Values of flags and environment variables.
//!
//! A flag wins over its environment variable. An environment variable that is set but empty means the default, for
//! deployments that always set all of them; one that cannot be read is an error.

use std::{fmt::Display, net::SocketAddr, str::FromStr};

/// A number, or nothing where an empty text was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number<T>(Option<T>);

impl<T> Number<T> {
    /// The number, or the default with a warning.
    pub(crate) fn or_default(self, flag: &str, default: T) -> T {
        self.0.unwrap_or_else(|| {
            tracing::warn!(flag, "the value is empty: the default is used");
            default
        })
    }
}

impl<T: FromStr<Err: Display>> FromStr for Number<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() { Ok(Self(None)) } else { text.parse().map(|number| Self(Some(number))) }
    }
}

impl<T: Display> Display for Number<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_ref().map_or(Ok(()), |number| number.fmt(formatter))
    }
}

impl<T> From<T> for Number<T> {
    fn from(number: T) -> Self {
        Self(Some(number))
    }
}

/// Reads a boolean in the spellings that deployments use: `1 t T TRUE true True 0 f F FALSE false False`; empty means
/// false.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "" | "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("`{text}` is not a boolean: give true or false")),
    }
}

/// An address to listen at, or nothing where the endpoint is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListenAddress(pub(crate) Option<SocketAddr>);

/// Reads `host:port`, `:port` (all interfaces) or `0` (off).
pub(crate) fn listen_address(text: &str) -> Result<ListenAddress, String> {
    if text.is_empty() || text == "0" {
        return Ok(ListenAddress(None));
    }
    let full = if text.starts_with(':') { format!("[::]{text}") } else { text.replace("localhost:", "127.0.0.1:") };
    full.parse()
        .map(|address| ListenAddress(Some(address)))
        .map_err(|_| format!("`{text}` is not an address such as `:8080` or `127.0.0.1:8080`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_numbers_are_the_default_and_others_must_be_numbers() {
        assert_eq!("".parse::<Number<u16>>().map(|number| number.or_default("x", 7)), Ok(7));
        assert_eq!("9".parse::<Number<u16>>().map(|number| number.or_default("x", 7)), Ok(9));
        assert!("abc".parse::<Number<u16>>().is_err());
    }

    #[test]
    fn addresses_may_leave_the_host_out() {
        assert_eq!(listen_address(":8080").unwrap().0.unwrap().port(), 8080);
        assert_eq!(listen_address("127.0.0.1:1"), Ok(ListenAddress(Some(([127, 0, 0, 1], 1).into()))));
        assert_eq!(listen_address("0"), Ok(ListenAddress(None)));
        assert!(listen_address("nonsense").is_err());
    }
}
