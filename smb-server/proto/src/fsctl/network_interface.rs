//! FSCTL_QUERY_NETWORK_INTERFACE_INFO (MS-SMB2 2.2.32.5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::DecodeError;
use crate::wire::{Put, Reader, flags, len_u32, patch_u32};

flags! {
    /// Capability of an interface.
    InterfaceCapability(u32) {
        /// RSS_CAPABLE.
        RSS = 0x1;
        /// RDMA_CAPABLE.
        RDMA = 0x2;
    }
}

/// Length of one entry.
pub const ENTRY_SIZE: usize = 152;
/// Most entries that a client reads.
const ENTRIES_MAX: usize = 256;
/// Family of IPv4.
const FAMILY_V4: u16 = 2;
/// Family of IPv6.
const FAMILY_V6: u16 = 0x17;

/// One address of the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetworkInterface {
    /// IfIndex.
    pub if_index: u32,
    /// Capability.
    pub capability: InterfaceCapability,
    /// LinkSpeed in bits per second.
    pub link_speed: u64,
    /// The address.
    pub address: IpAddr,
}

impl NetworkInterface {
    /// The output buffer.
    #[must_use]
    pub fn encode_list(list: &[Self]) -> Vec<u8> {
        let mut out = Vec::with_capacity(list.len().saturating_mul(ENTRY_SIZE));
        let mut previous = None;
        for i in list {
            let start = out.len();
            if let Some(p) = previous {
                patch_u32(&mut out, p, len_u32(ENTRY_SIZE));
            }
            previous = Some(start);
            out.put_u32(0);
            out.put_u32(i.if_index);
            out.put(&i.capability);
            out.put_u32(0);
            out.put_u64(i.link_speed);
            match i.address {
                IpAddr::V4(a) => {
                    out.put_u16(FAMILY_V4);
                    out.put_u16(0);
                    out.put_bytes(&a.octets());
                }
                IpAddr::V6(a) => {
                    out.put_u16(FAMILY_V6);
                    out.put_u16(0);
                    out.put_u32(0);
                    out.put_bytes(&a.octets());
                    out.put_u32(0);
                }
            }
            out.resize(start.saturating_add(ENTRY_SIZE), 0);
        }
        out
    }

    /// Decodes the output buffer; entries of other families are passed over.
    pub fn decode_list(buf: &[u8]) -> Result<Vec<Self>, DecodeError> {
        let mut all = Vec::new();
        let mut rest = buf;
        for _ in 0..ENTRIES_MAX {
            if rest.is_empty() {
                return Ok(all);
            }
            let mut r = Reader::new(rest);
            let (next, if_index, capability) = (r.len32()?, r.u32()?, r.get()?);
            r.skip(4)?;
            let (link_speed, family) = (r.u64()?, r.u16()?);
            r.skip(2)?;
            let address = match family {
                FAMILY_V4 => Some(IpAddr::V4(Ipv4Addr::from(r.array::<4>()?))),
                FAMILY_V6 => {
                    r.skip(4)?;
                    Some(IpAddr::V6(Ipv6Addr::from(r.array::<16>()?)))
                }
                _ => None,
            };
            all.extend(address.map(|address| Self { if_index, capability, link_speed, address }));
            if next == 0 {
                return Ok(all);
            }
            rest = rest.get(next..).ok_or(DecodeError::malformed("network interface Next"))?;
        }
        Err(DecodeError::malformed("too many network interfaces"))
    }
}
