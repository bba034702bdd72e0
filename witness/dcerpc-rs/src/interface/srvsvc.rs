//! The server service (MS-SRVS), as far as clients of a file server ask it: lists of shares, one share, the server, the
//! time of day; and, for administrators, who uses the server and how that is ended. Who the shares are comes through
//! [`ShareProvider`], who uses them through [`UseProvider`]; shares are not changed.

pub mod declaration;
mod in_use;
mod share_info;
pub mod use_declaration;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::uuid;

use self::declaration::{
    ServerDetail, ServerInfo100, ServerInfo101, ServerInfo102, ServerInfoAnswer, ServerInfoRequest, ShareCheckAnswer, ShareCheckRequest,
    ShareEnum, ShareEnumAnswer, ShareEnumRequest, ShareInfoAnswer, ShareInfoRequest, SrvsvcServer, SrvsvcStub, TimeOfDay, TimeOfDayAnswer,
    TimeOfDayRequest,
};
pub use self::in_use::{ConnectionInUse, FileInUse, InUseFilter, NotEnded, SessionInUse, UseProvider};
use self::use_declaration::{
    ConnectionEnumAnswer, ConnectionEnumRequest, FileCloseRequest, FileEnumAnswer, FileEnumRequest, FileInfoAnswer, FileInfoRequest,
    SessionDelRequest, SessionEnumAnswer, SessionEnumRequest, StatusAnswer,
};
use super::{CallContext, CallFuture, Interface};
use crate::fault::Fault;
use crate::security::Identity;
use crate::syntax::{SyntaxId, TransferSyntax};

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

const STATUS_OK: u32 = 0;
const STATUS_ACCESS_DENIED: u32 = 5;
const STATUS_INVALID_LEVEL: u32 = 0x7C;
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

    /// Tells whether this caller may see what only administrators see.
    fn is_administrator(&self, caller: Option<&Identity>) -> bool {
        caller.is_some_and(|caller| caller.is_administrator)
    }

    /// A share by its name, in any case; also one that the list hides.
    fn share(&self, name: &str, caller: Option<&Identity>) -> Option<ShareInfo> {
        let lower = name.to_lowercase();
        self.shares(caller).into_iter().find(|share| share.name.to_lowercase() == lower)
    }
}

/// The server service over a provider.
pub struct Srvsvc {
    stub: SrvsvcStub<Service>,
}

impl Srvsvc {
    /// Serves what the provider tells.
    pub fn new(provider: Arc<dyn ShareProvider>) -> Self {
        Self { stub: SrvsvcStub(Arc::new(Service { provider, uses: None })) }
    }

    /// Tells administrators who uses the server besides, and ends what they want ended.
    pub fn with_uses(provider: Arc<dyn ShareProvider>, uses: Arc<dyn UseProvider>) -> Self {
        Self { stub: SrvsvcStub(Arc::new(Service { provider, uses: Some(uses) })) }
    }
}

impl Interface for Srvsvc {
    fn syntax(&self) -> SyntaxId {
        self.stub.syntax()
    }

    fn speaks(&self, transfer: TransferSyntax) -> bool {
        self.stub.speaks(transfer)
    }

    fn call(&self, opnum: u16, stub: Vec<u8>, context: CallContext) -> CallFuture {
        self.stub.call(opnum, stub, context)
    }
}

struct Service {
    provider: Arc<dyn ShareProvider>,
    uses: Option<Arc<dyn UseProvider>>,
}

impl SrvsvcServer for Service {
    async fn connection_enum(self: Arc<Self>, request: ConnectionEnumRequest, context: CallContext) -> Result<ConnectionEnumAnswer, Fault> {
        in_use::connections(self.uses_for(&context), request).await
    }

    async fn file_enum(self: Arc<Self>, request: FileEnumRequest, context: CallContext) -> Result<FileEnumAnswer, Fault> {
        in_use::files(self.uses_for(&context), request).await
    }

    async fn file_info(self: Arc<Self>, request: FileInfoRequest, context: CallContext) -> Result<FileInfoAnswer, Fault> {
        Ok(in_use::file(self.uses_for(&context), &request))
    }

    async fn file_close(self: Arc<Self>, request: FileCloseRequest, context: CallContext) -> Result<StatusAnswer, Fault> {
        Ok(StatusAnswer { status: in_use::close_file(self.uses_for(&context), request).await })
    }

    async fn session_enum(self: Arc<Self>, request: SessionEnumRequest, context: CallContext) -> Result<SessionEnumAnswer, Fault> {
        in_use::sessions(self.uses_for(&context), request).await
    }

    async fn session_del(self: Arc<Self>, request: SessionDelRequest, context: CallContext) -> Result<StatusAnswer, Fault> {
        Ok(StatusAnswer { status: in_use::end_sessions(self.uses_for(&context), request).await })
    }

    async fn share_enum(self: Arc<Self>, request: ShareEnumRequest, context: CallContext) -> Result<ShareEnumAnswer, Fault> {
        self.list(&request, context.identity.as_deref())
    }

    async fn share_enum_sticky(self: Arc<Self>, request: ShareEnumRequest, context: CallContext) -> Result<ShareEnumAnswer, Fault> {
        self.list(&request, context.identity.as_deref())
    }

    async fn share_info(self: Arc<Self>, request: ShareInfoRequest, context: CallContext) -> Result<ShareInfoAnswer, Fault> {
        Ok(self.share(&request, context.identity.as_deref()))
    }

    /// By device path, which nobody knows.
    async fn share_check(self: Arc<Self>, _request: ShareCheckRequest, _context: CallContext) -> Result<ShareCheckAnswer, Fault> {
        Ok(ShareCheckAnswer { share_type: 0, status: STATUS_SHARE_NOT_FOUND })
    }

    async fn server_info(self: Arc<Self>, request: ServerInfoRequest, _context: CallContext) -> Result<ServerInfoAnswer, Fault> {
        Ok(self.server(request.level))
    }

    async fn time_of_day(self: Arc<Self>, _request: TimeOfDayRequest, _context: CallContext) -> Result<TimeOfDayAnswer, Fault> {
        Ok(TimeOfDayAnswer { time: Some(time_of_day()), status: STATUS_OK })
    }

    /// Everything that changes shares and server is for administrators, elsewhere.
    fn other(&self, opnum: u16) -> Fault {
        if (8..=59).contains(&opnum) { Fault::ACCESS_DENIED } else { Fault::OPNUM_OUT_OF_RANGE }
    }
}

impl Service {
    /// Who uses the server, for this caller.
    fn uses_for(&self, context: &CallContext) -> Option<&dyn UseProvider> {
        self.uses.as_deref().filter(|_| self.provider.is_administrator(context.identity.as_deref()))
    }

    fn list(&self, request: &ShareEnumRequest, caller: Option<&Identity>) -> Result<ShareEnumAnswer, Fault> {
        let level = request.list.level;
        if request.list.shares.tag() != level {
            return Err(Fault::INVALID_TAG);
        }
        if is_for_administrators(level) && !self.provider.is_administrator(caller) {
            let list = ShareEnum { level, shares: share_info::no_list(level) };
            return Ok(ShareEnumAnswer { list, total: 0, resume: request.resume, status: STATUS_ACCESS_DENIED });
        }
        let shares = self.provider.shares(caller);
        let start = usize::try_from(request.resume.unwrap_or(0)).unwrap_or(usize::MAX).min(shares.len());
        let rest = &shares[start..];
        let taken = fitting(rest, level, request.preferred_bytes_max);
        let Some(told) = share_info::list(level, &rest[..taken]) else {
            let list = ShareEnum { level, shares: share_info::no_list(level) };
            return Ok(ShareEnumAnswer { list, total: 0, resume: request.resume, status: STATUS_INVALID_LEVEL });
        };
        let is_complete = taken == rest.len();
        let next = if is_complete { 0 } else { start + taken };
        let number = |count: usize| u32::try_from(count).expect("there are not 2^32 shares");
        Ok(ShareEnumAnswer {
            list: ShareEnum { level, shares: told },
            total: number(rest.len()),
            resume: request.resume.map(|_| number(next)),
            status: if is_complete { STATUS_OK } else { STATUS_MORE_DATA },
        })
    }

    fn share(&self, request: &ShareInfoRequest, caller: Option<&Identity>) -> ShareInfoAnswer {
        let ShareInfoRequest { share_name, level, .. } = request;
        if is_for_administrators(*level) && !self.provider.is_administrator(caller) {
            let share = share_info::detail(*level, None).unwrap_or_else(|| share_info::no_detail(*level));
            return ShareInfoAnswer { share, status: STATUS_ACCESS_DENIED };
        }
        let share = self.provider.share(share_name, caller);
        match (share_info::detail(*level, share.as_ref()), share) {
            (None, _) => ShareInfoAnswer { share: share_info::no_detail(*level), status: STATUS_INVALID_LEVEL },
            (Some(share), None) => ShareInfoAnswer { share, status: STATUS_SHARE_NOT_FOUND },
            (Some(share), Some(_)) => ShareInfoAnswer { share, status: STATUS_OK },
        }
    }

    fn server(&self, level: u32) -> ServerInfoAnswer {
        let server = self.provider.server();
        let level_101 = ServerInfo101 {
            platform: PLATFORM_NT,
            name: Some(server.name),
            version_major: server.version.0,
            version_minor: server.version.1,
            server_type: SERVER_TYPE,
            comment: Some(server.comment),
        };
        let told = match level {
            100 => ServerDetail::Level100(Some(ServerInfo100 { platform: PLATFORM_NT, name: level_101.name })),
            101 => ServerDetail::Level101(Some(level_101)),
            102 => ServerDetail::Level102(Some(ServerInfo102 {
                server: level_101,
                users: u32::MAX,
                disconnect_min: 15,
                hidden: 0,
                announce_s: 240,
                announce_delta_ms: 3000,
                licences: 0,
                user_path: Some("C:\\".to_owned()),
            })),
            _ => return ServerInfoAnswer { server: no_server(level), status: STATUS_INVALID_LEVEL },
        };
        ServerInfoAnswer { server: told, status: STATUS_OK }
    }
}

/// Levels that tell paths, uses and descriptors.
// MS-SRVS 3.1.4.8, 3.1.4.10
fn is_for_administrators(level: u32) -> bool {
    matches!(level, 2 | 502 | 503)
}

/// What is said at a level that is not told: a null pointer if the declaration has an arm for it.
fn no_server(level: u32) -> ServerDetail {
    match level {
        103 => ServerDetail::Level103(None),
        502 => ServerDetail::Level502(None),
        503 => ServerDetail::Level503(None),
        599 => ServerDetail::Level599(None),
        unknown => ServerDetail::Unknown(unknown),
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

fn time_of_day() -> TimeOfDay {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = now.as_secs();
    let (year, month, day) = civil_from_days(seconds / 86_400);
    let of_day = seconds % 86_400;
    let low = |value: u64| u32::try_from(value & 0xFFFF_FFFF).expect("masked to 32 bits");
    TimeOfDay {
        elapsed_s: low(seconds),
        milliseconds: low(now.as_millis() as u64),
        hours: low(of_day / 3600),
        minutes: low(of_day / 60 % 60),
        seconds: low(of_day % 60),
        hundredths: now.subsec_millis() / 10,
        timezone_min: 0,
        tick: 310,
        day,
        month,
        year,
        weekday: low((seconds / 86_400 + 4) % 7),
    }
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
