//! Notifications, and the packed little-endian buffer that carries them. The buffer is not NDR: nothing in it is aligned.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// State of a resource in a RESOURCE_CHANGE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceState {
    /// Not known.
    Unknown,
    /// It serves.
    Available,
    /// It does not.
    Unavailable,
}

impl ResourceState {
    fn to_u32(self) -> u32 {
        match self {
            Self::Unknown => 0,
            Self::Available => 1,
            Self::Unavailable => 0xFF,
        }
    }

    fn from_u32(value: u32) -> Option<Self> {
        Some(match value {
            0 => Self::Unknown,
            1 => Self::Available,
            0xFF => Self::Unavailable,
            _ => return None,
        })
    }
}

/// One RESOURCE_CHANGE message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceChange {
    /// Its state now.
    pub state: ResourceState,
    /// The resource; here the address as the client registered it.
    pub name: String,
}

/// One address of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Whether it serves.
    pub is_online: bool,
}

/// What one AsyncNotify answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notification {
    /// Resources went or came.
    ResourceChange(Vec<ResourceChange>),
    /// The client should move to one of these.
    ClientMove(Vec<Address>),
    /// The share has moved to one of these.
    ShareMove(Vec<Address>),
    /// Addresses changed.
    IpChange(Vec<Address>),
}

/// Messages and addresses of one notification that a client accepts.
const ENTRIES_MAX: usize = 4_096;

const ADDRESS_V4: u32 = 0x1;
const ADDRESS_V6: u32 = 0x2;
const ADDRESS_ONLINE: u32 = 0x8;
const ADDRESS_OFFLINE: u32 = 0x10;

const ADDRESS_LIST_HEADER_BYTES: usize = 12;
const ADDRESS_BYTES: usize = 24;

impl Notification {
    /// MessageType.
    pub fn message_type(&self) -> u32 {
        match self {
            Self::ResourceChange(_) => 1,
            Self::ClientMove(_) => 2,
            Self::ShareMove(_) => 3,
            Self::IpChange(_) => 4,
        }
    }

    /// NumberOfMessages.
    pub fn message_count(&self) -> usize {
        match self {
            Self::ResourceChange(changes) => changes.len(),
            Self::ClientMove(_) | Self::ShareMove(_) | Self::IpChange(_) => 1,
        }
    }

    /// MessageBuffer.
    // MS-SWN 2.2.2.1 to 2.2.2.3
    pub fn to_buffer(&self) -> Vec<u8> {
        match self {
            Self::ResourceChange(changes) => changes.iter().flat_map(resource_change).collect(),
            Self::ClientMove(list) | Self::ShareMove(list) | Self::IpChange(list) => address_list(list),
        }
    }

    /// Reads MessageBuffer; `None` if it makes no sense.
    pub fn from_buffer(message_type: u32, message_count: u32, buffer: &[u8]) -> Option<Self> {
        match message_type {
            1 => read_resource_changes(message_count, buffer).map(Self::ResourceChange),
            2 => read_address_list(buffer).map(Self::ClientMove),
            3 => read_address_list(buffer).map(Self::ShareMove),
            4 => read_address_list(buffer).map(Self::IpChange),
            _ => None,
        }
    }
}

fn length_bytes(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("messages are short").to_le_bytes()
}

fn resource_change(change: &ResourceChange) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend_from_slice(&change.state.to_u32().to_le_bytes());
    out.extend(change.name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
    let length = length_bytes(out.len());
    out[..4].copy_from_slice(&length);
    out
}

fn address_list(list: &[Address]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ADDRESS_LIST_HEADER_BYTES + list.len() * ADDRESS_BYTES);
    out.extend_from_slice(&length_bytes(ADDRESS_LIST_HEADER_BYTES + list.len() * ADDRESS_BYTES));
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&length_bytes(list.len()));
    for address in list {
        // deviation: SHARE_MOVE and IP_CHANGE carry ONLINE or OFFLINE too; Samba sends it and test suites want it.
        let state = if address.is_online { ADDRESS_ONLINE } else { ADDRESS_OFFLINE };
        let (family, v4, v6) = match address.ip {
            IpAddr::V4(v4) => (ADDRESS_V4, v4.octets(), [0; 16]),
            IpAddr::V6(v6) => (ADDRESS_V6, [0; 4], v6.octets()),
        };
        out.extend_from_slice(&(family | state).to_le_bytes());
        out.extend_from_slice(&v4);
        out.extend_from_slice(&v6);
    }
    out
}

fn read_u32(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(offset..offset.checked_add(4)?)?.try_into().ok()?))
}

fn read_resource_changes(count: u32, mut buffer: &[u8]) -> Option<Vec<ResourceChange>> {
    let mut changes = Vec::new();
    for _ in 0..usize::try_from(count).ok()?.min(ENTRIES_MAX) {
        let length = usize::try_from(read_u32(buffer, 0)?).ok()?;
        let state = ResourceState::from_u32(read_u32(buffer, 4)?)?;
        let name = buffer.get(8..length)?;
        let units: Vec<u16> = name.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        let units = units.split(|unit| *unit == 0).next().unwrap_or_default();
        changes.push(ResourceChange { state, name: String::from_utf16_lossy(units) });
        buffer = &buffer[length..];
    }
    Some(changes)
}

fn read_address_list(buffer: &[u8]) -> Option<Vec<Address>> {
    let length = usize::try_from(read_u32(buffer, 0)?).ok()?;
    let count = usize::try_from(read_u32(buffer, 8)?).ok()?;
    let entries = buffer.get(ADDRESS_LIST_HEADER_BYTES..length)?;
    if count > ENTRIES_MAX || entries.len() / ADDRESS_BYTES < count {
        return None;
    }
    let mut list = Vec::with_capacity(count);
    for entry in entries.chunks_exact(ADDRESS_BYTES).take(count) {
        // windows: undefined flag bits may be set; only the known ones are looked at.
        let flags = read_u32(entry, 0)?;
        let is_online = flags & ADDRESS_OFFLINE == 0;
        if flags & ADDRESS_V4 != 0 {
            let octets: [u8; 4] = entry[4..8].try_into().ok()?;
            list.push(Address { ip: Ipv4Addr::from(octets).into(), is_online });
        }
        if flags & ADDRESS_V6 != 0 {
            let octets: [u8; 16] = entry[8..24].try_into().ok()?;
            list.push(Address { ip: Ipv6Addr::from(octets).into(), is_online });
        }
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn address_lists_are_in_network_order() {
        let list = Notification::ClientMove(vec![
            Address { ip: "192.0.2.1".parse().unwrap(), is_online: true },
            Address { ip: "2001:db8::1".parse().unwrap(), is_online: false },
        ]);
        let buffer = list.to_buffer();
        assert_eq!(buffer.len(), 60);
        assert_eq!(buffer[..20], [60, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, 192, 0, 2, 1]);
        assert_eq!(buffer[36..48], [0x12, 0, 0, 0, 0, 0, 0, 0, 0x20, 0x01, 0x0D, 0xB8]);
        assert_eq!(Notification::from_buffer(2, 1, &buffer), Some(list));
    }

    #[test]
    fn resource_changes_are_packed() {
        let change = |name: &str| ResourceChange { state: ResourceState::Unavailable, name: name.into() };
        let notification = Notification::ResourceChange(vec![change("ab"), change("1.2.3.4")]);
        let buffer = notification.to_buffer();
        assert_eq!(buffer.len(), 14 + 24, "the second message starts at offset 14, not aligned");
        assert_eq!(Notification::from_buffer(1, 2, &buffer), Some(notification));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(kind in 0u32..6, count in any::<u32>(), bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Notification::from_buffer(kind, count, &bytes);
        }
    }
}
