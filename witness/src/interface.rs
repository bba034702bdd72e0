//! What the witness methods say, in the words of this crate: interfaces and notifications to their declared structures
//! and back, both roles.

use std::net::{Ipv4Addr, Ipv6Addr};

use dcerpc_rs::ndr::{FixedWide, NdrError, Octets};

use crate::declaration::{
    HandleAnswer, InterfaceListAnswer, NotifyAnswer, RegisterExRequest, RegisterRequest, ResponseAsyncNotify, WitnessInterfaceInfo,
};
use crate::message::Notification;
use crate::status::Status;

/// Version of Register.
pub const VERSION_1: u32 = 0x0001_0001;
/// Version of RegisterEx, and ours.
pub const VERSION_2: u32 = 0x0002_0000;

/// RegisterEx flag: wants IP_CHANGE.
pub const REGISTER_IP_NOTIFICATION: u32 = 0x1;

const INTERFACE_V4: u32 = 0x1;
const INTERFACE_V6: u32 = 0x2;
const INTERFACE_WITNESS: u32 = 0x4;

/// One entry of an interface list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceInfo {
    /// InterfaceGroupName; cut to 259 units.
    pub group_name: String,
    /// Version.
    pub version: u32,
    /// State: 0 unknown, 1 available, 0xFF unavailable.
    pub state: u16,
    /// The IPv4 address, if valid.
    pub ipv4: Option<Ipv4Addr>,
    /// The IPv6 address, if valid.
    pub ipv6: Option<Ipv6Addr>,
    /// True if it is not on the answering node: a candidate for witness.
    pub is_witness: bool,
}

impl From<InterfaceInfo> for WitnessInterfaceInfo {
    fn from(info: InterfaceInfo) -> Self {
        let mut flags = if info.is_witness { INTERFACE_WITNESS } else { 0 };
        flags |= if info.ipv4.is_some() { INTERFACE_V4 } else { 0 } | if info.ipv6.is_some() { INTERFACE_V6 } else { 0 };
        Self {
            group_name: FixedWide(info.group_name),
            version: info.version,
            state: info.state,
            ipv4: Octets(info.ipv4.map_or([0; 4], |address| address.octets())),
            ipv6: Octets(info.ipv6.map_or([0; 16], |address| address.octets())),
            flags,
        }
    }
}

impl From<WitnessInterfaceInfo> for InterfaceInfo {
    fn from(info: WitnessInterfaceInfo) -> Self {
        Self {
            group_name: info.group_name.0,
            version: info.version,
            state: info.state,
            ipv4: (info.flags & INTERFACE_V4 != 0).then(|| info.ipv4.0.into()),
            ipv6: (info.flags & INTERFACE_V6 != 0).then(|| info.ipv6.0.into()),
            is_witness: info.flags & INTERFACE_WITNESS != 0,
        }
    }
}

impl From<Result<Vec<InterfaceInfo>, Status>> for InterfaceListAnswer {
    fn from(result: Result<Vec<InterfaceInfo>, Status>) -> Self {
        match result {
            Ok(list) => {
                let interfaces: Vec<WitnessInterfaceInfo> = list.into_iter().map(Into::into).collect();
                Self { interfaces: Some(interfaces.into()), status: Status::SUCCESS.0 }
            }
            Err(status) => Self { interfaces: None, status: status.0 },
        }
    }
}

impl From<InterfaceListAnswer> for Result<Vec<InterfaceInfo>, Status> {
    fn from(answer: InterfaceListAnswer) -> Self {
        let interfaces = answer.interfaces.unwrap_or_default().into_elements();
        result_of(answer.status, interfaces.into_iter().map(Into::into).collect())
    }
}

/// Register is RegisterEx without a share, without flags and without keep-alive.
impl From<RegisterRequest> for RegisterExRequest {
    fn from(request: RegisterRequest) -> Self {
        let RegisterRequest { version, net_name, ip_address, client_name } = request;
        Self { version, net_name, ip_address, client_name, ..Self::default() }
    }
}

impl From<HandleAnswer> for Result<dcerpc_rs::ContextHandle, Status> {
    fn from(answer: HandleAnswer) -> Self {
        result_of(answer.status, answer.handle)
    }
}

impl From<&Result<Notification, Status>> for NotifyAnswer {
    fn from(result: &Result<Notification, Status>) -> Self {
        match result {
            Ok(notification) => {
                let buffer = notification.to_buffer();
                let number = |count: usize| u32::try_from(count).expect("notifications are short");
                let response = ResponseAsyncNotify {
                    message_type: notification.message_type(),
                    length: number(buffer.len()),
                    number_of_messages: number(notification.message_count()),
                    buffer: Some(buffer),
                };
                Self { response: Some(response), status: Status::SUCCESS.0 }
            }
            Err(status) => Self { response: None, status: status.0 },
        }
    }
}

/// The outcome of an AsyncNotify, or what makes no sense in its answer.
pub fn notification_of(answer: NotifyAnswer) -> Result<Result<Notification, Status>, NdrError> {
    let Some(response) = answer.response else {
        let success = Err(NdrError("success without a notification"));
        return if answer.status == Status::SUCCESS.0 { success } else { Ok(Err(Status(answer.status))) };
    };
    let buffer = response.buffer.unwrap_or_default();
    if u32::try_from(buffer.len()) != Ok(response.length) {
        return Err(NdrError("length of the buffer is not its count"));
    }
    let notification = Notification::from_buffer(response.message_type, response.number_of_messages, &buffer);
    Ok(result_of(answer.status, notification.ok_or(NdrError("notification is malformed"))?))
}

/// The value, unless the return value of its method is an error.
pub(crate) fn result_of<T>(status: u32, value: T) -> Result<T, Status> {
    if status == Status::SUCCESS.0 { Ok(value) } else { Err(Status(status)) }
}

#[cfg(test)]
mod tests;
