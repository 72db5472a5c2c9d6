//! Connections for protocols that are not requests and answers of HTTP/1, made by the same rules about addresses.

use std::{io, sync::Arc, time::Duration};

use tokio::net::TcpStream;

use super::address::AddressRules;

/// How long a connection may take to be made.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Makes connections to addresses that may be reached.
#[derive(Debug, Clone)]
pub(in crate::resources) struct Dialer(pub(super) Arc<AddressRules>);

impl Dialer {
    /// A connection to the first address of `host` that may be reached and answers.
    ///
    /// # Errors
    /// When there is none within five seconds. Where all addresses are refused, that is of the kind
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied).
    pub(in crate::resources) async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let connect = async {
            let addresses = self.0.resolve(host, port).await?;
            let stream = TcpStream::connect(addresses.as_slice()).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        match tokio::time::timeout(CONNECT_TIME, connect).await {
            Ok(result) => result,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no connection in time")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialer(allow_loopback: bool) -> Dialer {
        Dialer(Arc::new(AddressRules::new(Vec::new(), allow_loopback)))
    }

    #[tokio::test]
    async fn names_and_addresses_are_judged_before_anybody_is_called() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost"] {
            let error = dialer(false).connect(host, port).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{host}: {error}");
            assert!(dialer(true).connect(host, port).await.is_ok(), "{host}");
        }
        let error = dialer(true).connect("169.254.169.254", 80).await.unwrap_err();
        assert_eq!(error.to_string(), "the address 169.254.169.254 may not be reached: link-local");
    }
}
