//! Who uses the server, and how an administrator ends it (MS-SRVS 3.1.4.1 to 3.1.4.6): lists in the shapes of each level.

use futures::future::BoxFuture;

use super::use_declaration::{
    ConnectionEnum, ConnectionEnumAnswer, ConnectionEnumRequest, ConnectionInfo0, ConnectionInfo1, ConnectionList, FileCloseRequest,
    FileDetail, FileEnum, FileEnumAnswer, FileEnumRequest, FileInfo2, FileInfo3, FileInfoAnswer, FileInfoRequest, FileList,
    SessionDelRequest, SessionEnum, SessionEnumAnswer, SessionEnumRequest, SessionInfo0, SessionInfo1, SessionInfo2, SessionInfo10,
    SessionInfo502, SessionList,
};
use super::{STATUS_ACCESS_DENIED, STATUS_INVALID_LEVEL, STATUS_MORE_DATA, STATUS_OK};
use crate::fault::Fault;
use crate::ndr::Counted;

const STATUS_INVALID_PARAMETER: u32 = 0x57;
const STATUS_CLIENT_NOT_FOUND: u32 = 0x908;
const STATUS_USER_NOT_FOUND: u32 = 0x8AD;
const STATUS_FILE_NOT_FOUND: u32 = 0x90A;
const STATUS_NOT_READY: u32 = 0x15;

/// Longest answer by entries, whatever length a client prefers; it goes on from there.
const ENTRIES_MAX: usize = 10_000;

/// A share in use by a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInUse {
    /// Its number.
    pub id: u32,
    /// The share.
    pub share: String,
    /// Its type.
    pub share_type: u32,
    /// The client, without backslashes.
    pub client: String,
    /// The user.
    pub user: String,
    /// Files open through it.
    pub opens: u32,
    /// Since it was made, s.
    pub age_s: u32,
}

/// A file that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInUse {
    /// The number by which it is closed.
    pub id: u32,
    /// It may be read.
    pub reads: bool,
    /// It may be written.
    pub writes: bool,
    /// Byte-range locks.
    pub locks: u32,
    /// Its path as clients would write it.
    pub path: String,
    /// Who has it open.
    pub user: String,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInUse {
    /// The client, without backslashes.
    pub client: String,
    /// The user.
    pub user: String,
    /// Files open.
    pub opens: u32,
    /// Since the logon, s.
    pub age_s: u32,
}

/// Which files, sessions or connections; nothing set: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InUseFilter {
    /// The client, without backslashes.
    pub client: Option<String>,
    /// The user, without regard to case.
    pub user: Option<String>,
    /// What the path begins with.
    pub base_path: Option<String>,
    /// The share, without regard to case.
    pub share: Option<String>,
}

/// Why something was not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotEnded {
    /// There is none.
    Unknown,
    /// It cannot be carried out at present.
    Unavailable,
}

/// Who uses the server. Asked for administrators only.
pub trait UseProvider: Send + Sync {
    /// Tree connects.
    fn connections(&self, filter: InUseFilter) -> BoxFuture<'static, Vec<ConnectionInUse>>;
    /// Open files.
    fn files(&self, filter: InUseFilter) -> BoxFuture<'static, Vec<FileInUse>>;
    /// An open file by its number.
    fn file(&self, id: u32) -> Option<FileInUse>;
    /// Closes a file for good.
    fn close_file(&self, id: u32) -> BoxFuture<'static, Result<(), NotEnded>>;
    /// Sessions.
    fn sessions(&self, filter: InUseFilter) -> BoxFuture<'static, Vec<SessionInUse>>;
    /// Ends sessions.
    fn end_sessions(&self, filter: InUseFilter) -> BoxFuture<'static, Result<(), NotEnded>>;
}

/// A client's name without the backslashes before it; none when it is empty.
fn client_of(name: Option<String>) -> Option<String> {
    name.map(|name| name.trim_start_matches('\\').to_owned()).filter(|name| !name.is_empty())
}

fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// The part of a list that is told, and where it goes on.
struct Page<T> {
    entries: Vec<T>,
    total: u32,
    next: u32,
    status: u32,
}

fn page<T>(mut all: Vec<T>, resume: Option<u32>, preferred_bytes_max: u32, bytes_of: impl Fn(&T) -> usize) -> Page<T> {
    let start = usize::try_from(resume.unwrap_or(0)).unwrap_or(usize::MAX).min(all.len());
    let mut entries = all.split_off(start);
    let total = entries.len();
    let room = usize::try_from(preferred_bytes_max).unwrap_or(usize::MAX);
    let mut used = 0_usize;
    let mut taken = 0;
    for entry in entries.iter().take(ENTRIES_MAX) {
        used = used.saturating_add(bytes_of(entry));
        // One at least, so that the client gets on.
        if used > room && taken > 0 {
            break;
        }
        taken += 1;
    }
    entries.truncate(taken);
    let is_complete = taken == total;
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Page {
        entries,
        total: number(total),
        next: if is_complete { 0 } else { number(start + taken) },
        status: if is_complete { STATUS_OK } else { STATUS_MORE_DATA },
    }
}

/// Bytes of a text on the wire, with its pointer and counts.
fn text_bytes(text: &str) -> usize {
    16 + 2 * (text.len() + 1)
}

fn all<T, R>(entries: Vec<T>, told: impl FnMut(T) -> R) -> Option<Counted<R>> {
    Some(entries.into_iter().map(told).collect::<Vec<R>>().into())
}

/// Answers NetrConnectionEnum; `None`: the caller is no administrator.
pub(super) async fn connections(provider: Option<&dyn UseProvider>, request: ConnectionEnumRequest) -> Result<ConnectionEnumAnswer, Fault> {
    let level = request.list.level;
    if request.list.connections.tag() != level {
        return Err(Fault::INVALID_TAG);
    }
    let empty = match level {
        0 => ConnectionList::Level0(None),
        1 => ConnectionList::Level1(None),
        unknown => ConnectionList::Unknown(unknown),
    };
    let refuse = |status| {
        let list = ConnectionEnum { level, connections: empty };
        Ok(ConnectionEnumAnswer { list, total: 0, resume: request.resume, status })
    };
    let Some(provider) = provider else { return refuse(STATUS_ACCESS_DENIED) };
    if !matches!(level, 0 | 1) {
        return refuse(STATUS_INVALID_LEVEL);
    }
    // MS-SRVS 3.1.4.1
    // A qualifier with backslashes is a client, one without is a share; one of them there must be.
    let Some(qualifier) = given(request.qualifier) else { return refuse(STATUS_INVALID_PARAMETER) };
    let by_client = qualifier.starts_with('\\');
    let filter = if by_client {
        InUseFilter { client: client_of(Some(qualifier)), ..InUseFilter::default() }
    } else {
        InUseFilter { share: Some(qualifier), ..InUseFilter::default() }
    };
    let found = provider.connections(filter).await;
    let page = page(found, request.resume, request.preferred_bytes_max, |c| 28 + text_bytes(&c.user) + text_bytes(&c.client));
    let told = |c: ConnectionInUse| ConnectionInfo1 {
        id: c.id,
        share_type: c.share_type,
        opens: c.opens,
        users: 1,
        age_s: c.age_s,
        user: Some(c.user),
        net_name: Some(if by_client { c.share } else { c.client }),
    };
    let connections = match level {
        0 => ConnectionList::Level0(all(page.entries, |c| ConnectionInfo0 { id: c.id })),
        _ => ConnectionList::Level1(all(page.entries, told)),
    };
    let list = ConnectionEnum { level, connections };
    Ok(ConnectionEnumAnswer { list, total: page.total, resume: request.resume.map(|_| page.next), status: page.status })
}

/// Answers NetrFileEnum.
pub(super) async fn files(provider: Option<&dyn UseProvider>, request: FileEnumRequest) -> Result<FileEnumAnswer, Fault> {
    let level = request.list.level;
    if request.list.files.tag() != level {
        return Err(Fault::INVALID_TAG);
    }
    let empty = match level {
        2 => FileList::Level2(None),
        3 => FileList::Level3(None),
        unknown => FileList::Unknown(unknown),
    };
    let refuse = |status| Ok(FileEnumAnswer { list: FileEnum { level, files: empty }, total: 0, resume: request.resume, status });
    let Some(provider) = provider else { return refuse(STATUS_ACCESS_DENIED) };
    if !matches!(level, 2 | 3) {
        return refuse(STATUS_INVALID_LEVEL);
    }
    let filter = InUseFilter { user: given(request.user), base_path: given(request.base_path), ..InUseFilter::default() };
    let found = provider.files(filter).await;
    let page = page(found, request.resume, request.preferred_bytes_max, |f| 20 + text_bytes(&f.path) + text_bytes(&f.user));
    let files = match level {
        2 => FileList::Level2(all(page.entries, |file| FileInfo2 { id: file.id })),
        _ => FileList::Level3(all(page.entries, level_3)),
    };
    let list = FileEnum { level, files };
    Ok(FileEnumAnswer { list, total: page.total, resume: request.resume.map(|_| page.next), status: page.status })
}

fn level_3(file: FileInUse) -> FileInfo3 {
    FileInfo3 {
        id: file.id,
        permissions: u32::from(file.reads) | u32::from(file.writes) << 1,
        locks: file.locks,
        path: Some(file.path),
        user: Some(file.user),
    }
}

/// Answers NetrFileGetInfo.
pub(super) fn file(provider: Option<&dyn UseProvider>, request: &FileInfoRequest) -> FileInfoAnswer {
    let empty = match request.level {
        2 => FileDetail::Level2(None),
        3 => FileDetail::Level3(None),
        unknown => FileDetail::Unknown(unknown),
    };
    let Some(provider) = provider else { return FileInfoAnswer { file: empty, status: STATUS_ACCESS_DENIED } };
    if !matches!(request.level, 2 | 3) {
        return FileInfoAnswer { file: empty, status: STATUS_INVALID_LEVEL };
    }
    let Some(found) = provider.file(request.id) else { return FileInfoAnswer { file: empty, status: STATUS_FILE_NOT_FOUND } };
    let file = match request.level {
        2 => FileDetail::Level2(Some(FileInfo2 { id: found.id })),
        _ => FileDetail::Level3(Some(level_3(found))),
    };
    FileInfoAnswer { file, status: STATUS_OK }
}

/// Answers NetrFileClose.
pub(super) async fn close_file(provider: Option<&dyn UseProvider>, request: FileCloseRequest) -> u32 {
    let Some(provider) = provider else { return STATUS_ACCESS_DENIED };
    ended(provider.close_file(request.id).await, STATUS_FILE_NOT_FOUND)
}

fn ended(result: Result<(), NotEnded>, unknown: u32) -> u32 {
    match result {
        Ok(()) => STATUS_OK,
        Err(NotEnded::Unknown) => unknown,
        Err(NotEnded::Unavailable) => STATUS_NOT_READY,
    }
}

/// Answers NetrSessionEnum.
pub(super) async fn sessions(provider: Option<&dyn UseProvider>, request: SessionEnumRequest) -> Result<SessionEnumAnswer, Fault> {
    let level = request.list.level;
    if request.list.sessions.tag() != level {
        return Err(Fault::INVALID_TAG);
    }
    let empty = match level {
        0 => SessionList::Level0(None),
        1 => SessionList::Level1(None),
        2 => SessionList::Level2(None),
        10 => SessionList::Level10(None),
        502 => SessionList::Level502(None),
        unknown => SessionList::Unknown(unknown),
    };
    let refuse = |status| Ok(SessionEnumAnswer { list: SessionEnum { level, sessions: empty }, total: 0, resume: request.resume, status });
    let Some(provider) = provider else { return refuse(STATUS_ACCESS_DENIED) };
    if !matches!(level, 0 | 1 | 2 | 10 | 502) {
        return refuse(STATUS_INVALID_LEVEL);
    }
    let filter = InUseFilter { client: client_of(request.client), user: given(request.user), ..InUseFilter::default() };
    // MS-SRVS 3.1.4.5
    let (wants_client, wants_user) = (filter.client.is_some(), filter.user.is_some());
    let found = provider.sessions(filter).await;
    if found.is_empty() && (wants_client || wants_user) {
        return refuse(if wants_client { STATUS_CLIENT_NOT_FOUND } else { STATUS_USER_NOT_FOUND });
    }
    let page = page(found, request.resume, request.preferred_bytes_max, |s| 36 + text_bytes(&s.client) + text_bytes(&s.user));
    let sessions = match level {
        0 => SessionList::Level0(all(page.entries, |session| SessionInfo0 { client: Some(session.client) })),
        1 => SessionList::Level1(all(page.entries, level_1)),
        2 => SessionList::Level2(all(page.entries, |session| SessionInfo2 { session: level_1(session), client_type: Some(String::new()) })),
        10 => SessionList::Level10(all(page.entries, |session| SessionInfo10 {
            client: Some(session.client),
            user: Some(session.user),
            age_s: session.age_s,
            idle_s: 0,
        })),
        _ => SessionList::Level502(all(page.entries, |session| SessionInfo502 {
            session: level_1(session),
            client_type: Some(String::new()),
            transport: Some("TCP".to_owned()),
        })),
    };
    let list = SessionEnum { level, sessions };
    Ok(SessionEnumAnswer { list, total: page.total, resume: request.resume.map(|_| page.next), status: page.status })
}

/// How long a session has been idle is known at its node only, and not told.
fn level_1(session: SessionInUse) -> SessionInfo1 {
    SessionInfo1 {
        client: Some(session.client),
        user: Some(session.user),
        opens: session.opens,
        age_s: session.age_s,
        idle_s: 0,
        user_flags: 0,
    }
}

/// Answers NetrSessionDel.
// MS-SRVS 3.1.4.6
// Without client and user it would end every session; Windows refuses that, too.
pub(super) async fn end_sessions(provider: Option<&dyn UseProvider>, request: SessionDelRequest) -> u32 {
    let Some(provider) = provider else { return STATUS_ACCESS_DENIED };
    let filter = InUseFilter { client: client_of(request.client), user: given(request.user), ..InUseFilter::default() };
    if filter.client.is_none() && filter.user.is_none() {
        return STATUS_INVALID_PARAMETER;
    }
    let unknown = if filter.client.is_some() { STATUS_CLIENT_NOT_FOUND } else { STATUS_USER_NOT_FOUND };
    ended(provider.end_sessions(filter).await, unknown)
}

#[cfg(test)]
mod tests;
