//! FSCTL_QUERY_NETWORK_INTERFACE_INFO (MS-SMB2 3.3.5.15.11): the addresses over which this node, and no other, can be reached.

use std::net::IpAddr;

use smb_proto::{
    fsctl::{NetworkInterface, network_interface::InterfaceCapability},
    message::{ioctl::IoctlRequest, negotiate::Capabilities},
};
use smb_types::NtStatus;

use super::Output;
use crate::{error::Refusal, receive::RequestContext, store::StoreExt as _};

/// What is said of a link whose speed nobody knows.
const LINK_BITS_PER_SECOND: u64 = 10_000_000_000;

/// Lists the addresses.
pub(super) fn query(ctx: &RequestContext, request: &IoctlRequest) -> Result<Output, Refusal> {
    if !ctx.negotiated().has(Capabilities::MULTI_CHANNEL) {
        return Err(Refusal::new(NtStatus::NOT_SUPPORTED, "multichannel was not negotiated"));
    }
    let store = &ctx.server.store;
    let node = store.node();
    let listed: Vec<IpAddr> = store
        .with_state(|state| state.node(node).map(|node| node.addresses.smb.iter().map(|address| address.ip()).collect()))
        .unwrap_or_default();
    // The address the client came to works, whatever the configuration says.
    let mut addresses = vec![ctx.connection.local.ip().to_canonical()];
    for address in listed {
        let address = address.to_canonical();
        if is_reachable(address) && !addresses.contains(&address) && address.is_loopback() == addresses[0].is_loopback() {
            addresses.push(address);
        }
    }
    let interfaces: Vec<NetworkInterface> = addresses
        .into_iter()
        .zip(1u32..)
        .map(|(address, if_index)| NetworkInterface {
            if_index,
            capability: InterfaceCapability::NONE,
            link_speed: LINK_BITS_PER_SECOND,
            address,
        })
        .collect();
    let output = NetworkInterface::encode_list(&interfaces);
    if output.len() > usize::try_from(request.max_output_response).unwrap_or(usize::MAX) {
        return Err(Refusal::new(NtStatus::BUFFER_TOO_SMALL, "no room for the addresses"));
    }
    Ok((output, NtStatus::SUCCESS))
}

// MS-SMB2 3.3.5.15.11
// An address without meaning for others is not told.
fn is_reachable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_unspecified() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_unspecified() && !address.is_unicast_link_local(),
    }
}
