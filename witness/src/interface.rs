//! The bytes of the witness methods, both roles: requests and answers as NDR 2.0.

use std::net::{Ipv4Addr, Ipv6Addr};

use dcerpc_rs::ContextHandle;
use dcerpc_rs::ndr::{NdrError, NdrReader, NdrWriter};

use crate::message::Notification;
use crate::status::Status;

/// WitnessrGetInterfaceList.
pub const OPNUM_INTERFACE_LIST: u16 = 0;
/// WitnessrRegister.
pub const OPNUM_REGISTER: u16 = 1;
/// WitnessrUnRegister.
pub const OPNUM_UNREGISTER: u16 = 2;
/// WitnessrAsyncNotify.
pub const OPNUM_ASYNC_NOTIFY: u16 = 3;
/// WitnessrRegisterEx.
pub const OPNUM_REGISTER_EX: u16 = 4;
/// WitnessrUnRegisterEx.
pub const OPNUM_UNREGISTER_EX: u16 = 5;

/// Version of Register.
pub const VERSION_1: u32 = 0x0001_0001;
/// Version of RegisterEx, and ours.
pub const VERSION_2: u32 = 0x0002_0000;

/// RegisterEx flag: wants IP_CHANGE.
pub const REGISTER_IP_NOTIFICATION: u32 = 0x1;

const GROUP_NAME_UNITS: usize = 260;
const INTERFACE_INFO_BYTES: usize = 552;
/// Interfaces that a client accepts.
const INTERFACES_MAX: usize = 4_096;

const INTERFACE_V4: u32 = 0x1;
const INTERFACE_V6: u32 = 0x2;
const INTERFACE_WITNESS: u32 = 0x4;

/// WITNESS_INTERFACE_INFO.
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

impl InterfaceInfo {
    // MS-SWN 2.2.2.5
    fn write(&self, out: &mut NdrWriter) {
        out.align(4);
        let mut name: Vec<u16> = self.group_name.encode_utf16().take(GROUP_NAME_UNITS - 1).collect();
        name.resize(GROUP_NAME_UNITS, 0);
        for unit in name {
            out.u16(unit);
        }
        out.u32(self.version);
        out.u16(self.state);
        let mut flags = if self.is_witness { INTERFACE_WITNESS } else { 0 };
        flags |= if self.ipv4.is_some() { INTERFACE_V4 } else { 0 } | if self.ipv6.is_some() { INTERFACE_V6 } else { 0 };
        out.align(4);
        out.bytes(&self.ipv4.map_or([0; 4], |address| address.octets()));
        out.bytes(&self.ipv6.map_or([0; 16], |address| address.octets()));
        out.u32(flags);
    }

    fn read(reader: &mut NdrReader<'_>) -> Result<Self, NdrError> {
        reader.align(4)?;
        let name = reader.bytes(GROUP_NAME_UNITS * 2)?;
        let units: Vec<u16> = name.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        let units = units.split(|unit| *unit == 0).next().unwrap_or_default();
        let group_name = String::from_utf16_lossy(units);
        let version = reader.u32()?;
        let state = reader.u16()?;
        reader.align(4)?;
        let v4: [u8; 4] = reader.bytes(4)?.try_into().expect("bytes returned 4 bytes");
        let v6: [u8; 16] = reader.bytes(16)?.try_into().expect("bytes returned 16 bytes");
        let flags = reader.u32()?;
        Ok(Self {
            group_name,
            version,
            state,
            ipv4: (flags & INTERFACE_V4 != 0).then(|| v4.into()),
            ipv6: (flags & INTERFACE_V6 != 0).then(|| v6.into()),
            is_witness: flags & INTERFACE_WITNESS != 0,
        })
    }
}

/// Answer of GetInterfaceList.
pub fn write_interface_list(result: Result<&[InterfaceInfo], Status>) -> Vec<u8> {
    let mut out = NdrWriter::new();
    match result {
        Err(status) => {
            out.null();
            out.u32(status.0);
        }
        Ok(list) => {
            out.referent();
            out.count(list.len());
            out.referent();
            out.count(list.len());
            for info in list {
                info.write(&mut out);
            }
            out.u32(Status::SUCCESS.0);
        }
    }
    out.finish()
}

/// Reads the answer of GetInterfaceList.
pub fn read_interface_list(stub: &[u8]) -> Result<Result<Vec<InterfaceInfo>, Status>, NdrError> {
    let mut reader = NdrReader::new(stub);
    let mut list = Vec::new();
    if reader.pointer()? {
        let number = reader.u32()?;
        if reader.pointer()? {
            let count = reader.count(INTERFACE_INFO_BYTES)?;
            if u32::try_from(count) != Ok(number) || count > INTERFACES_MAX {
                return Err(NdrError("number of interfaces is not their count"));
            }
            for _ in 0..count {
                list.push(InterfaceInfo::read(&mut reader)?);
            }
        }
    }
    Ok(result_of(reader.u32()?, list))
}

/// Parameters of Register and RegisterEx, as they came.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RegisterRequest {
    /// Version.
    pub version: u32,
    /// NetName.
    pub net_name: Option<String>,
    /// ShareName; RegisterEx only.
    pub share_name: Option<String>,
    /// IpAddress.
    pub ip_address: Option<String>,
    /// ClientComputerName.
    pub client_name: Option<String>,
    /// Flags; RegisterEx only.
    pub flags: u32,
    /// KeepAliveTimeout in seconds; RegisterEx only.
    pub keep_alive_s: u32,
}

impl RegisterRequest {
    /// Reads the parameters; `extended` for RegisterEx.
    pub fn read(stub: &[u8], extended: bool) -> Result<Self, NdrError> {
        let mut reader = NdrReader::new(stub);
        let version = reader.u32()?;
        let net_name = reader.unique_wide_string()?;
        let share_name = if extended { reader.unique_wide_string()? } else { None };
        let ip_address = reader.unique_wide_string()?;
        let client_name = reader.unique_wide_string()?;
        let (flags, keep_alive_s) = if extended { (reader.u32()?, reader.u32()?) } else { (0, 0) };
        Ok(Self { version, net_name, share_name, ip_address, client_name, flags, keep_alive_s })
    }

    /// Writes the parameters; `extended` for RegisterEx.
    pub fn write(&self, extended: bool) -> Vec<u8> {
        let mut out = NdrWriter::new();
        out.u32(self.version);
        out.unique_wide_string(self.net_name.as_deref());
        if extended {
            out.unique_wide_string(self.share_name.as_deref());
        }
        out.unique_wide_string(self.ip_address.as_deref());
        out.unique_wide_string(self.client_name.as_deref());
        if extended {
            out.u32(self.flags);
            out.u32(self.keep_alive_s);
        }
        out.finish()
    }
}

/// A handle as the only parameter.
pub fn write_handle(handle: ContextHandle) -> Vec<u8> {
    let mut out = NdrWriter::new();
    out.context_handle(handle);
    out.finish()
}

/// Reads a handle as the only parameter.
pub fn read_handle(stub: &[u8]) -> Result<ContextHandle, NdrError> {
    NdrReader::new(stub).context_handle()
}

/// Answer of Register, RegisterEx and UnRegisterEx.
pub fn write_handle_answer(handle: ContextHandle, status: Status) -> Vec<u8> {
    let mut out = NdrWriter::new();
    out.context_handle(handle);
    out.u32(status.0);
    out.finish()
}

/// Reads the answer of Register, RegisterEx and UnRegisterEx.
pub fn read_handle_answer(stub: &[u8]) -> Result<Result<ContextHandle, Status>, NdrError> {
    let mut reader = NdrReader::new(stub);
    let handle = reader.context_handle()?;
    Ok(result_of(reader.u32()?, handle))
}

/// Answer of UnRegister.
pub fn write_status(status: Status) -> Vec<u8> {
    status.0.to_le_bytes().to_vec()
}

/// Reads the answer of UnRegister.
pub fn read_status(stub: &[u8]) -> Result<Result<(), Status>, NdrError> {
    Ok(result_of(NdrReader::new(stub).u32()?, ()))
}

/// Answer of AsyncNotify.
// MS-SWN 2.2.2.4
pub fn write_notification(result: &Result<Notification, Status>) -> Vec<u8> {
    let mut out = NdrWriter::new();
    match result {
        Err(status) => {
            out.null();
            out.u32(status.0);
        }
        Ok(notification) => {
            let buffer = notification.to_buffer();
            out.referent();
            out.u32(notification.message_type());
            out.count(buffer.len());
            out.count(notification.message_count());
            out.referent();
            out.count(buffer.len());
            out.bytes(&buffer);
            out.u32(Status::SUCCESS.0);
        }
    }
    out.finish()
}

/// Reads the answer of AsyncNotify.
pub fn read_notification(stub: &[u8]) -> Result<Result<Notification, Status>, NdrError> {
    let mut reader = NdrReader::new(stub);
    if !reader.pointer()? {
        let status = reader.u32()?;
        return if status == 0 { Err(NdrError("success without a notification")) } else { Ok(Err(Status(status))) };
    }
    let message_type = reader.u32()?;
    let length = reader.u32()?;
    let message_count = reader.u32()?;
    let buffer = if reader.pointer()? {
        let count = reader.count(1)?;
        if u32::try_from(count) != Ok(length) {
            return Err(NdrError("length of the buffer is not its count"));
        }
        reader.bytes(count)?
    } else {
        &[]
    };
    let notification = Notification::from_buffer(message_type, message_count, buffer).ok_or(NdrError("notification is malformed"))?;
    Ok(result_of(reader.u32()?, notification))
}

fn result_of<T>(status: u32, value: T) -> Result<T, Status> {
    if status == 0 { Ok(value) } else { Err(Status(status)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{ResourceChange, ResourceState};

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn notification_golden_bytes() {
        let golden = unhex(
            "00000200 01000000 1C000000 01000000 04000200 1C000000 1C000000 FF000000
             470045004E004500520041004C00460053000000 00000000",
        );
        assert_eq!(golden.len(), 56);
        let change = ResourceChange { state: ResourceState::Unavailable, name: "GENERALFS".into() };
        let notification = Ok(Notification::ResourceChange(vec![change]));
        assert_eq!(write_notification(&notification), golden);
        assert_eq!(read_notification(&golden), Ok(notification));
        assert_eq!(write_notification(&Err(Status::TIMEOUT)), [0, 0, 0, 0, 0xB4, 5, 0, 0]);
        assert_eq!(read_notification(&[0, 0, 0, 0, 0x90, 4, 0, 0]), Ok(Err(Status::NOT_FOUND)));
    }

    #[test]
    fn interface_info_has_its_offsets() {
        let info = InterfaceInfo {
            group_name: "NODE02".into(),
            version: VERSION_2,
            state: 1,
            ipv4: Some(Ipv4Addr::new(192, 0, 2, 1)),
            ipv6: None,
            is_witness: true,
        };
        let stub = write_interface_list(Ok(std::slice::from_ref(&info)));
        assert_eq!(stub.len(), 16 + 552 + 4);
        let element = &stub[16..];
        assert_eq!(element[..4], [b'N', 0, b'O', 0]);
        assert_eq!(element[520..532], [0, 0, 2, 0, 1, 0, 0, 0, 192, 0, 2, 1]);
        assert_eq!(element[548..552], [5, 0, 0, 0]);
        assert_eq!(read_interface_list(&stub), Ok(Ok(vec![info])));
        assert_eq!(read_interface_list(&write_interface_list(Err(Status::NO_MORE_ITEMS))), Ok(Err(Status::NO_MORE_ITEMS)));
    }

    #[test]
    fn register_requests_come_back() {
        let request = RegisterRequest {
            version: VERSION_2,
            net_name: Some("fs1".into()),
            share_name: None,
            ip_address: Some("127.0.0.11".into()),
            client_name: Some("CLIENT1".into()),
            flags: 1,
            keep_alive_s: 120,
        };
        assert_eq!(RegisterRequest::read(&request.write(true), true), Ok(request.clone()));
        let first = RegisterRequest { version: VERSION_1, flags: 0, keep_alive_s: 0, ..request };
        assert_eq!(RegisterRequest::read(&first.write(false), false), Ok(first.clone()));
        let stub = first.write(false);
        for length in 0..stub.len() {
            assert!(RegisterRequest::read(&stub[..length], false).is_err(), "{length}");
        }
    }
}
