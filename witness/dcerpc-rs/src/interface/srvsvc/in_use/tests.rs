use std::sync::{Arc, Mutex};

use futures::FutureExt;

use super::super::use_declaration::StatusAnswer;
use super::super::{CallContext, Identity, ServerIdentity, ShareInfo, ShareProvider, Srvsvc};
use super::*;
use crate::interface::Interface as _;
use crate::ndr::Parameters;
use crate::syntax::TransferSyntax;

struct NoShares;

impl ShareProvider for NoShares {
    fn server(&self) -> ServerIdentity {
        ServerIdentity { name: "FS1".into(), domain: "WORKGROUP".into(), comment: String::new(), version: (10, 0) }
    }

    fn shares(&self, _caller: Option<&Identity>) -> Vec<ShareInfo> {
        Vec::new()
    }
}

/// Two of everything; notes what was asked for.
#[derive(Default)]
struct Two {
    asked: Mutex<Vec<InUseFilter>>,
    ended: Mutex<Vec<u32>>,
}

impl Two {
    fn note(&self, filter: InUseFilter) {
        self.asked.lock().unwrap().push(filter);
    }
}

fn file(id: u32) -> FileInUse {
    FileInUse { id, reads: true, writes: id > 1, locks: id, path: format!("C:\\data\\f{id}"), user: "ann".into() }
}

fn session(client: &str) -> SessionInUse {
    SessionInUse { client: client.into(), user: "ann".into(), opens: 3, age_s: 60 }
}

impl UseProvider for Two {
    fn connections(&self, filter: InUseFilter) -> BoxFuture<'static, Vec<ConnectionInUse>> {
        self.note(filter);
        let (share, client, user) = ("data".into(), "192.0.2.1".into(), "ann".into());
        async move { vec![ConnectionInUse { id: 7, share, share_type: 0, client, user, opens: 2, age_s: 5 }] }.boxed()
    }

    fn files(&self, filter: InUseFilter) -> BoxFuture<'static, Vec<FileInUse>> {
        self.note(filter);
        async { vec![file(1), file(2)] }.boxed()
    }

    fn file(&self, id: u32) -> Option<FileInUse> {
        (id < 3).then(|| file(id))
    }

    fn close_file(&self, id: u32) -> BoxFuture<'static, Result<(), NotEnded>> {
        self.ended.lock().unwrap().push(id);
        async move { if id < 3 { Ok(()) } else { Err(NotEnded::Unknown) } }.boxed()
    }

    fn sessions(&self, filter: InUseFilter) -> BoxFuture<'static, Vec<SessionInUse>> {
        let found = if filter.user.as_deref() == Some("nobody") { vec![] } else { vec![session("192.0.2.1"), session("192.0.2.2")] };
        self.note(filter);
        async move { found }.boxed()
    }

    fn end_sessions(&self, filter: InUseFilter) -> BoxFuture<'static, Result<(), NotEnded>> {
        let result = if filter.user.as_deref() == Some("nobody") { Err(NotEnded::Unknown) } else { Ok(()) };
        self.note(filter);
        async move { result }.boxed()
    }
}

/// Asks with the bytes of both transfer syntaxes; both answers must come to the same.
fn ask<Q: Parameters, A: Parameters + PartialEq + std::fmt::Debug>(uses: &Arc<Two>, is_administrator: bool, opnum: u16, request: &Q) -> A {
    let [first, second] = TransferSyntax::ALL.map(|transfer| {
        let (mut context, _interrupter) = CallContext::for_test(transfer);
        context.identity = Some(Arc::new(Identity { is_administrator, ..Identity::default() }));
        let uses = Arc::clone(uses) as Arc<dyn UseProvider>;
        let answer = Srvsvc::with_uses(Arc::new(NoShares), uses).call(opnum, request.to_stub(transfer), context);
        A::from_stub(&answer.now_or_never().expect("nothing waits").unwrap(), transfer).unwrap()
    });
    assert_eq!(first, second);
    first
}

fn files_request(level: u32, files: FileList, preferred_bytes_max: u32, resume: Option<u32>) -> FileEnumRequest {
    let list = FileEnum { level, files };
    FileEnumRequest { server_name: None, base_path: Some("C:\\data".into()), user: Some(String::new()), list, preferred_bytes_max, resume }
}

fn sessions_request(level: u32, sessions: SessionList, client: Option<&str>, user: Option<&str>) -> SessionEnumRequest {
    let list = SessionEnum { level, sessions };
    let (client, user) = (client.map(Into::into), user.map(Into::into));
    SessionEnumRequest { server_name: None, client, user, list, preferred_bytes_max: u32::MAX, resume: None }
}

#[test]
fn files_are_told_with_what_they_may_do() {
    let uses = Arc::default();
    let answer: FileEnumAnswer = ask(&uses, true, 9, &files_request(3, FileList::Level3(None), u32::MAX, Some(0)));
    let told = |id, permissions| FileInfo3 { id, permissions, locks: id, path: Some(format!("C:\\data\\f{id}")), user: Some("ann".into()) };
    let files = FileList::Level3(Some(vec![told(1, 1), told(2, 3)].into()));
    assert_eq!(answer, FileEnumAnswer { list: FileEnum { level: 3, files }, total: 2, resume: Some(0), status: STATUS_OK });
    let filter = InUseFilter { base_path: Some("C:\\data".into()), ..InUseFilter::default() };
    assert_eq!(uses.asked.lock().unwrap().first(), Some(&filter), "an empty user is none");
    let short: FileEnumAnswer = ask(&uses, true, 9, &files_request(2, FileList::Level2(None), 1, Some(0)));
    assert_eq!((short.total, short.resume, short.status), (2, Some(1), STATUS_MORE_DATA));
    let rest: FileEnumAnswer = ask(&uses, true, 9, &files_request(2, FileList::Level2(None), 1, Some(1)));
    assert_eq!(rest.list.files, FileList::Level2(Some(vec![FileInfo2 { id: 2 }].into())));
    assert_eq!((rest.total, rest.resume, rest.status), (1, Some(0), STATUS_OK));
}

#[test]
fn one_file_is_told_and_closed_by_its_number() {
    let uses = Arc::default();
    let info = |id, level| -> FileInfoAnswer { ask(&uses, true, 10, &FileInfoRequest { server_name: None, id, level }) };
    assert_eq!(info(1, 2), FileInfoAnswer { file: FileDetail::Level2(Some(FileInfo2 { id: 1 })), status: STATUS_OK });
    assert_eq!(info(9, 3), FileInfoAnswer { file: FileDetail::Level3(None), status: STATUS_FILE_NOT_FOUND });
    assert_eq!(info(1, 50).status, STATUS_INVALID_LEVEL);
    let close = |id| -> StatusAnswer { ask(&uses, true, 11, &FileCloseRequest { server_name: None, id }) };
    assert_eq!((close(2).status, close(9).status), (STATUS_OK, STATUS_FILE_NOT_FOUND));
}

#[test]
fn sessions_are_told_at_every_level() {
    let uses = Arc::default();
    let empty = [
        SessionList::Level0(None),
        SessionList::Level1(None),
        SessionList::Level2(None),
        SessionList::Level10(None),
        SessionList::Level502(None),
    ];
    for (level, list) in [0, 1, 2, 10, 502].into_iter().zip(empty) {
        let answer: SessionEnumAnswer = ask(&uses, true, 12, &sessions_request(level, list, None, None));
        assert_eq!((answer.list.sessions.tag(), answer.total, answer.status), (level, 2, STATUS_OK));
    }
    let answer: SessionEnumAnswer = ask(&uses, true, 12, &sessions_request(10, SessionList::Level10(None), Some("\\\\192.0.2.1"), None));
    let told = |client: &str| SessionInfo10 { client: Some(client.into()), user: Some("ann".into()), age_s: 60, idle_s: 0 };
    assert_eq!(answer.list.sessions, SessionList::Level10(Some(vec![told("192.0.2.1"), told("192.0.2.2")].into())));
    assert_eq!(uses.asked.lock().unwrap().last().unwrap().client.as_deref(), Some("192.0.2.1"));
    let nobody: SessionEnumAnswer = ask(&uses, true, 12, &sessions_request(1, SessionList::Level1(None), None, Some("nobody")));
    assert_eq!((nobody.total, nobody.status), (0, STATUS_USER_NOT_FOUND));
    let odd: SessionEnumAnswer = ask(&uses, true, 12, &sessions_request(3, SessionList::Unknown(3), None, None));
    assert_eq!(odd.status, STATUS_INVALID_LEVEL);
}

// MS-SRVS 3.1.4.6
#[test]
fn all_sessions_are_not_ended_for_want_of_a_name() {
    let uses = Arc::default();
    let del = |client: Option<&str>, user: Option<&str>| -> StatusAnswer {
        let request = SessionDelRequest { server_name: None, client: client.map(Into::into), user: user.map(Into::into) };
        ask(&uses, true, 13, &request)
    };
    assert_eq!(del(None, None).status, STATUS_INVALID_PARAMETER);
    assert_eq!(del(Some("\\\\"), Some("")).status, STATUS_INVALID_PARAMETER);
    assert!(uses.asked.lock().unwrap().is_empty());
    assert_eq!(del(Some("\\\\192.0.2.1"), None).status, STATUS_OK);
    assert_eq!(del(Some("192.0.2.9"), Some("nobody")).status, STATUS_CLIENT_NOT_FOUND);
    assert_eq!(del(None, Some("nobody")).status, STATUS_USER_NOT_FOUND);
}

#[test]
fn connections_are_of_a_share_or_of_a_client() {
    let uses = Arc::default();
    let list = |qualifier: Option<&str>| -> ConnectionEnumAnswer {
        let list = ConnectionEnum { level: 1, connections: ConnectionList::Level1(None) };
        let request = ConnectionEnumRequest {
            server_name: None,
            qualifier: qualifier.map(Into::into),
            list,
            preferred_bytes_max: u32::MAX,
            resume: None,
        };
        ask(&uses, true, 8, &request)
    };
    let told = |net_name: &str| {
        let (user, net_name) = (Some("ann".into()), Some(net_name.into()));
        ConnectionList::Level1(Some(vec![ConnectionInfo1 { id: 7, share_type: 0, opens: 2, users: 1, age_s: 5, user, net_name }].into()))
    };
    assert_eq!(list(Some("data")).list.connections, told("192.0.2.1"));
    assert_eq!(list(Some("\\\\192.0.2.1")).list.connections, told("data"));
    assert_eq!(list(None).status, STATUS_INVALID_PARAMETER);
}

#[test]
fn nobody_but_administrators_is_told_or_ends_anything() {
    let uses: Arc<Two> = Arc::default();
    let files: FileEnumAnswer = ask(&uses, false, 9, &files_request(3, FileList::Level3(None), u32::MAX, None));
    assert_eq!((files.total, files.status), (0, STATUS_ACCESS_DENIED));
    let one: FileInfoAnswer = ask(&uses, false, 10, &FileInfoRequest { server_name: None, id: 1, level: 3 });
    assert_eq!(one, FileInfoAnswer { file: FileDetail::Level3(None), status: STATUS_ACCESS_DENIED });
    let sessions: SessionEnumAnswer = ask(&uses, false, 12, &sessions_request(10, SessionList::Level10(None), None, None));
    assert_eq!((sessions.total, sessions.status), (0, STATUS_ACCESS_DENIED));
    let close: StatusAnswer = ask(&uses, false, 11, &FileCloseRequest { server_name: None, id: 1 });
    let request = SessionDelRequest { server_name: None, client: None, user: Some("ann".into()) };
    let del: StatusAnswer = ask(&uses, false, 13, &request);
    assert_eq!((close.status, del.status), (STATUS_ACCESS_DENIED, STATUS_ACCESS_DENIED));
    assert!(uses.asked.lock().unwrap().is_empty() && uses.ended.lock().unwrap().is_empty());
}
