//! Listening, with an error that names the address and what to do.

use std::{io::ErrorKind, net::SocketAddr};

use tokio::net::TcpListener;

use crate::failure::{CONFIG, Failure, NO_PERMISSION, UNAVAILABLE};

/// Binds a listener.
///
/// # Errors
/// The address is taken, not this machine's, or privileged.
pub async fn bind(service: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let (code, hint) = match error.kind() {
            ErrorKind::AddrInUse => (UNAVAILABLE, "; stop the program that listens there or configure another port"),
            ErrorKind::AddrNotAvailable => (CONFIG, "; it is not an address of this machine: configure one that is"),
            ErrorKind::PermissionDenied => (NO_PERMISSION, "; ports below 1024 need root or CAP_NET_BIND_SERVICE"),
            _ => (UNAVAILABLE, ""),
        };
        Failure::new(code, format!("cannot listen on {address} for {service}: {error}{hint}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let first = bind("SMB", SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = first.local_addr().unwrap();
        let failure = bind("SMB", address).await.unwrap_err();
        assert_eq!(failure.code, UNAVAILABLE);
        assert!(failure.message.contains(&address.to_string()), "{failure}");
    }
}
