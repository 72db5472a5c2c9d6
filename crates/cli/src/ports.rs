//! Ports: each is opened before anything is answered, so that one that is taken is known at once.

use std::net::SocketAddr;

use usher_server::{BindError, Listener, ListenerSettings, Tls};

/// Opens the port of a service, and tells so in the log. None if the service is off.
pub(crate) async fn open(
    service: &str,
    address: Option<SocketAddr>,
    tls: Option<Tls>,
) -> Result<Option<Listener>, BindError> {
    let Some(address) = address else {
        tracing::info!("disabling {service} service");
        return Ok(None);
    };
    let has_tls = tls.is_some();
    let listener = Listener::bind(ListenerSettings::new(address).with_tls(tls)).await?;
    tracing::info!(address = %listener.address(), tls = has_tls, "starting {service} service");
    Ok(Some(listener))
}
