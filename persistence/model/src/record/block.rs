//! Clients that are shut out.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::id::LogTime;
use crate::record::Network;

/// Nobody is served at these addresses.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClientBlock {
    /// The addresses.
    pub network: Network,
    /// Why, for people.
    pub reason: String,
    /// Since when.
    pub since: LogTime,
}

/// The address of a client as sessions and opens have it: with a port, or without.
#[must_use]
pub fn client_ip(client_address: &str) -> Option<IpAddr> {
    let with_port = client_address.parse::<SocketAddr>().ok().map(|address| address.ip());
    with_port.or_else(|| client_address.parse().ok())
}
