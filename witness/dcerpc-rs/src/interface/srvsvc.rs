//! The server service (MS-SRVS), as far as clients of a file server ask it: lists of shares, one share, the server, the
//! time of day. Who the shares are comes through [`ShareProvider`]; it changes nothing.

mod share_info;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use uuid::uuid;

use super::{CallContext, CallFuture, Interface};
use crate::fault::Fault;
use crate::ndr::{NdrError, NdrReader, NdrWriter};
use crate::security::Identity;
use crate::syntax::SyntaxId;

/// The interface.
pub const SRVSVC: SyntaxId = SyntaxId::new(uuid!("4b324fc8-1670-01d3-1278-5a47bf6ee188"), 3, 0);

/// `STYPE_DISKTREE`.
pub const SHARE_TYPE_DISK: u32 = 0;
/// `STYPE_IPC | STYPE_SPECIAL`.
pub const SHARE_TYPE_IPC: u32 = 0x8000_0003;

/// `SHI1005_FLAGS_ACCESS_BASED_DIRECTORY_ENUM`.
pub const SHARE_FLAG_ACCESS_BASED_ENUMERATION: u32 = 0x0800;
/// `SHI1005_FLAGS_ENABLE_CA`.
pub const SHARE_FLAG_CONTINUOUS_AVAILABILITY: u32 = 0x4000;
/// `SHI1005_FLAGS_ENCRYPT_DATA`.
pub const SHARE_FLAG_ENCRYPT_DATA: u32 = 0x8000;

pub(super) const STATUS_OK: u32 = 0;
const STATUS_ACCESS_DENIED: u32 = 5;
pub(super) const STATUS_INVALID_LEVEL: u32 = 0x7C;
const STATUS_MORE_DATA: u32 = 0xEA;
const STATUS_SHARE_NOT_FOUND: u32 = 0x906;

const PLATFORM_NT: u32 = 500;
const SERVER_TYPE: u32 = 0x0000_9003; // workstation, server, NT, server NT

/// One share, as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ShareInfo {
    /// Its name.
    pub name: String,
    /// [`SHARE_TYPE_DISK`], [`SHARE_TYPE_IPC`]; cluster bits never leave the server.
    pub share_type: u32,
    /// What its administrator wrote about it.
    pub remark: String,
    /// The path that is shown (`C:\name` as clients expect it), not one of ours.
    pub path: String,
    /// How many may use it; `u32::MAX` for no limit.
    pub max_uses: u32,
    /// How many use it now.
    pub current_uses: u32,
    /// The flags of level 1005.
    pub flags: u32,
    /// Its self-relative security descriptor, if it has one.
    pub security_descriptor: Option<Vec<u8>>,
}

/// What the server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerIdentity {
    /// The name that clients use, without domain.
    pub name: String,
    /// Its workgroup or domain.
    pub domain: String,
    /// What its administrator wrote about it.
    pub comment: String,
    /// Version that is shown, for example (10, 0).
    pub version: (u32, u32),
}

/// Where shares and names come from. Called for every request, from several tasks at once; must not wait.
pub trait ShareProvider: Send + Sync {
    /// The server.
    fn server(&self) -> ServerIdentity;

    /// The shares that this caller may see, in the order of the list.
    fn shares(&self, caller: Option<&Identity>) -> Vec<ShareInfo>;

    /// A share by its name, in any case; also one that the list hides.
    fn share(&self, name: &str, caller: Option<&Identity>) -> Option<ShareInfo> {
        let lower = name.to_lowercase();
        self.shares(caller).into_iter().find(|share| share.name.to_lowercase() == lower)
    }
}

/// The server service over a provider.
pub struct Srvsvc {
    provider: Arc<dyn ShareProvider>,
}

impl Srvsvc {
    /// Serves what the provider tells.
    pub fn new(provider: Arc<dyn ShareProvider>) -> Self {
        Self { provider }
    }

    fn dispatch(&self, opnum: u16, stub: &[u8], context: &CallContext) -> Result<Vec<u8>, Fault> {
        let mut reader = NdrReader::new(stub);
        let caller = context.identity.as_deref();
        match opnum {
            // MS-SRVS 3.1.4.8 NetrShareEnum, 3.1.4.9 NetrShareEnumSticky
            15 | 36 => self.share_enum(&mut reader, caller),
            // MS-SRVS 3.1.4.10 NetrShareGetInfo
            16 => self.share_information(&mut reader, caller),
            // MS-SRVS 3.1.4.12 NetrShareCheck: by device path, which nobody knows.
            20 => Ok(status_after(|out| out.u32(0), STATUS_SHARE_NOT_FOUND)),
            // MS-SRVS 3.1.4.17 NetrServerGetInfo
            21 => self.server_information(&mut reader),
            // MS-SRVS 3.1.4.21 NetrRemoteTOD
            28 => Ok(remote_time_of_day()),
            // Connections, files, sessions and everything that changes something is for administrators, elsewhere.
            8..=14 | 17..=19 | 22..=27 | 29..=35 | 37..=59 => Err(Fault(STATUS_ACCESS_DENIED)),
            _ => Err(Fault::OPNUM_OUT_OF_RANGE),
        }
    }

    fn share_enum(&self, reader: &mut NdrReader<'_>, caller: Option<&Identity>) -> Result<Vec<u8>, Fault> {
        let request = ShareEnumRequest::read(reader)?;
        let mut out = NdrWriter::new();
        out.u32(request.level);
        out.u32(request.level);
        if !share_info::ENUM_LEVELS.contains(&request.level) {
            out.u32(0);
            out.pointer(request.resume.is_some());
            if let Some(resume) = request.resume {
                out.u32(resume);
            }
            out.u32(STATUS_INVALID_LEVEL);
            return Ok(out.finish());
        }
        let shares = self.provider.shares(caller);
        let start = usize::try_from(request.resume.unwrap_or(0)).unwrap_or(usize::MAX).min(shares.len());
        let rest = &shares[start..];
        let taken = fitting(rest, request.level, request.preferred_bytes_max);
        let complete = taken == rest.len();
        out.referent();
        out.count(taken);
        out.referent();
        share_info::write_array(&mut out, request.level, &rest[..taken]);
        out.count(rest.len());
        out.pointer(request.resume.is_some());
        if request.resume.is_some() {
            out.count(if complete { 0 } else { start + taken });
        }
        out.u32(if complete { STATUS_OK } else { STATUS_MORE_DATA });
        Ok(out.finish())
    }

    fn share_information(&self, reader: &mut NdrReader<'_>, caller: Option<&Identity>) -> Result<Vec<u8>, Fault> {
        let _server = reader.unique_wide_string()?;
        let name = reader.wide_string()?;
        let level = reader.u32()?;
        let mut out = NdrWriter::new();
        out.u32(level);
        if !share_info::LEVELS.contains(&level) {
            // Levels of the IDL that we do not tell have a pointer arm; all others have none.
            if [1004, 1006, 1501].contains(&level) {
                out.null();
            }
            out.u32(STATUS_INVALID_LEVEL);
            return Ok(out.finish());
        }
        match self.provider.share(&name, caller) {
            None => {
                out.null();
                out.u32(STATUS_SHARE_NOT_FOUND);
            }
            Some(share) => {
                out.referent();
                share_info::write_one(&mut out, level, &share);
                out.u32(STATUS_OK);
            }
        }
        Ok(out.finish())
    }

    fn server_information(&self, reader: &mut NdrReader<'_>) -> Result<Vec<u8>, Fault> {
        let _server = reader.unique_wide_string()?;
        let level = reader.u32()?;
        let server = self.provider.server();
        let mut out = NdrWriter::new();
        out.u32(level);
        if !(100..=102).contains(&level) {
            if [103, 502, 503, 599].contains(&level) {
                out.null();
            }
            out.u32(STATUS_INVALID_LEVEL);
            return Ok(out.finish());
        }
        out.referent();
        out.u32(PLATFORM_NT);
        out.referent();
        if level >= 101 {
            out.u32(server.version.0);
            out.u32(server.version.1);
            out.u32(SERVER_TYPE);
            out.referent();
        }
        if level >= 102 {
            // users, disc (minutes), hidden, announce, announce delta, licences
            for value in [0xFFFF_FFFF, 15, 0, 240, 3000, 0] {
                out.u32(value);
            }
            out.referent();
        }
        out.wide_string(&server.name);
        if level >= 101 {
            out.wide_string(&server.comment);
        }
        if level >= 102 {
            out.wide_string("C:\\");
        }
        out.u32(STATUS_OK);
        Ok(out.finish())
    }
}

impl Interface for Srvsvc {
    fn syntax(&self) -> SyntaxId {
        SRVSVC
    }

    fn call(&self, opnum: u16, stub: Vec<u8>, context: CallContext) -> CallFuture {
        let result = self.dispatch(opnum, &stub, &context);
        std::future::ready(result).boxed()
    }
}

struct ShareEnumRequest {
    level: u32,
    preferred_bytes_max: u32,
    resume: Option<u32>,
}

impl ShareEnumRequest {
    fn read(reader: &mut NdrReader<'_>) -> Result<Self, Fault> {
        let _server = reader.unique_wide_string()?;
        let level = reader.u32()?;
        if reader.u32()? != level {
            return Err(Fault::INVALID_TAG);
        }
        if share_info::ENUM_LEVELS.contains(&level) && reader.pointer()? {
            let entries = reader.u32()?;
            // Clients send an empty container; one with entries would have to be skipped for nothing.
            if reader.pointer()? && (reader.u32()? != 0 || entries != 0) {
                return Err(NdrError("the container of a request is empty").into());
            }
        }
        let preferred_bytes_max = reader.u32()?;
        let resume = if reader.pointer()? { Some(reader.u32()?) } else { None };
        Ok(Self { level, preferred_bytes_max, resume })
    }
}

/// How many entries the client's preferred length takes; one at least, so that it gets on.
fn fitting(shares: &[ShareInfo], level: u32, preferred_bytes_max: u32) -> usize {
    if preferred_bytes_max == u32::MAX {
        return shares.len();
    }
    let room = usize::try_from(preferred_bytes_max).unwrap_or(usize::MAX);
    let mut used = 0usize;
    let mut count = 0;
    for share in shares {
        used = used.saturating_add(share_info::bytes_of(share, level));
        if used > room && count > 0 {
            break;
        }
        count += 1;
    }
    count
}

fn status_after(write: impl FnOnce(&mut NdrWriter), status: u32) -> Vec<u8> {
    let mut out = NdrWriter::new();
    write(&mut out);
    out.u32(status);
    out.finish()
}

fn remote_time_of_day() -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = now.as_secs();
    let (year, month, day) = civil_from_days(seconds / 86_400);
    let of_day = seconds % 86_400;
    let mut out = NdrWriter::new();
    out.referent();
    let low = |value: u64| u32::try_from(value & 0xFFFF_FFFF).expect("masked to 32 bits");
    let values = [
        low(seconds),
        low(now.as_millis() as u64),
        low(of_day / 3600),
        low(of_day / 60 % 60),
        low(of_day % 60),
        now.subsec_millis() / 10,
        0,   // minutes west of Greenwich
        310, // a clock tick in units of 0.1 ms
        day,
        month,
        year,
        low((seconds / 86_400 + 4) % 7),
    ];
    for value in values {
        out.u32(value);
    }
    out.u32(STATUS_OK);
    out.finish()
}

/// Year, month and day of a day since 1970, in the Gregorian calendar.
fn civil_from_days(days: u64) -> (u32, u32, u32) {
    let mut year = 1970;
    let mut left = days;
    let is_leap = |year: u32| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if left < length {
            break;
        }
        left -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, u32::try_from(left + 1).expect("a day of a month"))
}

#[cfg(test)]
mod tests;
