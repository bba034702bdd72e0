//! A share.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smb_types::Sid;

use super::UnixUser;
use crate::id::{NodeId, ShareId};

/// What the operator can choose.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ShareSettings {
    /// Directory under the share, on every node.
    pub path: String,
    /// For people.
    pub comment: String,
    /// Continuously available: persistent handles are granted.
    pub ca: bool,
    /// Announced as SCALEOUT: leases are limited to R, newcomers never disturb a disconnected persistent open.
    pub scaleout: bool,
    /// Sessions must encrypt.
    pub encrypt: bool,
    /// Timeout of persistent opens that ask for none; 0 means 60 s.
    pub ca_timeout_ms: u32,
    /// Self-relative security descriptor of the share itself; None: every user may do everything that the files allow.
    pub security: Option<Vec<u8>>,
    /// Nothing is changed through it.
    pub read_only: bool,
    /// Users and groups that may connect; empty: all.
    pub valid_users: Vec<Sid>,
    /// Networks from which clients may connect; empty: all.
    pub hosts_allow: Vec<Network>,
    /// Listings leave out what the client may not read.
    pub access_based_enumeration: bool,
    /// Files belong on disk to the user who makes them, where that user has a number there.
    pub map: bool,
    /// To whom the other files belong on disk; None: to the daemon's user.
    pub force_user: Option<UnixUser>,
}

/// A range of addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Network {
    /// An address of it.
    pub address: IpAddr,
    /// How many leading bits are common to all its addresses.
    pub prefix: u8,
}

impl Network {
    /// Tells whether an address belongs to it. An IPv4 address that came mapped into IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address.to_canonical() {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32_u8),
            IpAddr::V6(v6) => (v6.to_bits(), 128),
        };
        let ((own, width), (other, other_width)) = (bits(self.address), bits(address));
        let prefix = self.prefix.min(width);
        width == other_width && (prefix == 0 || (own ^ other) >> (128 - u32::from(prefix)) == 0)
    }
}

impl Network {
    /// The same range, written in the one way that two equal ranges share: canonical address, no bit beyond the prefix.
    #[must_use]
    pub fn normal(&self) -> Self {
        let mapped = matches!(self.address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) && self.prefix >= 96;
        let (address, prefix) = if mapped { (self.address.to_canonical(), self.prefix - 96) } else { (self.address, self.prefix) };
        match address {
            IpAddr::V4(v4) => {
                let prefix = prefix.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                Self { address: IpAddr::V4((v4.to_bits() & mask).into()), prefix }
            }
            IpAddr::V6(v6) => {
                let prefix = prefix.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                Self { address: IpAddr::V6((v6.to_bits() & mask).into()), prefix }
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| format!("{address:?} is no IP address: write ADDRESS or ADDRESS/BITS"))?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => width,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= width).ok_or_else(|| format!("{bits:?} is not 0 to {width} bits"))?,
        };
        Ok(Self { address, prefix })
    }
}

/// A share; found by name without regard to case. Kept in format 1 while no node owns it, in format 2 otherwise.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Share {
    /// Its id, also the volume id clients see.
    pub id: ShareId,
    /// Its name as the operator wrote it.
    pub name: String,
    /// The rest.
    pub settings: ShareSettings,
    /// The node where its clients should be, if it is asymmetric. Every node serves it all the same.
    pub owner: Option<NodeId>,
}

/// Format 1 of [`Share`]. Frozen.
#[derive(Serialize, Deserialize)]
pub(crate) struct ShareV1 {
    id: ShareId,
    name: String,
    settings: ShareSettings,
}

impl From<ShareV1> for Share {
    fn from(v1: ShareV1) -> Self {
        Self { id: v1.id, name: v1.name, settings: v1.settings, owner: None }
    }
}

impl ShareV1 {
    /// The share as format 1 says it, if it can.
    pub(crate) fn of(share: &Share) -> Option<Self> {
        let Share { id, name, settings, owner } = share;
        owner.is_none().then(|| Self { id: *id, name: name.clone(), settings: settings.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let network = |text: &str| text.parse::<Network>().unwrap();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(network("192.0.2.0/24").contains(address("192.0.2.77")));
        assert!(network("192.0.2.0/24").contains(address("::ffff:192.0.2.77")), "as it comes in on a socket for both");
        assert!(!network("192.0.2.0/25").contains(address("192.0.2.128")));
        assert!(network("0.0.0.0/0").contains(address("203.0.113.9")) && !network("0.0.0.0/0").contains(address("2001:db8::1")));
        assert!(network("2001:db8::/33").contains(address("2001:db8:7fff::1")));
        assert!(!network("2001:db8::/33").contains(address("2001:db8:8000::1")));
        assert!(network("192.0.2.1").contains(address("192.0.2.1")) && !network("192.0.2.1").contains(address("192.0.2.2")));
        for bad in ["", "192.0.2.0/33", "192.0.2/24", "2001:db8::/129", "192.0.2.1/"] {
            assert!(bad.parse::<Network>().is_err(), "{bad:?}");
        }
    }
}
