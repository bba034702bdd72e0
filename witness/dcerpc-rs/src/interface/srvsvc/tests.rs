use futures::FutureExt;

use super::declaration::{ShareDetail, ShareInfo1, ShareInfo1005, ShareList};
use super::*;
use crate::ndr::{Counted, Parameters};

struct TwoShares;

impl ShareProvider for TwoShares {
    fn server(&self) -> ServerIdentity {
        ServerIdentity { name: "FS1".into(), domain: "WORKGROUP".into(), comment: "here".into(), version: (10, 0) }
    }

    fn shares(&self, _caller: Option<&Identity>) -> Vec<ShareInfo> {
        let share = |name: &str, share_type, flags| ShareInfo {
            name: name.into(),
            share_type,
            remark: format!("about {name}"),
            path: format!("C:\\{name}"),
            max_uses: u32::MAX,
            flags,
            security_descriptor: Some(vec![1, 2, 3]),
            ..ShareInfo::default()
        };
        vec![share("data", SHARE_TYPE_DISK, SHARE_FLAG_CONTINUOUS_AVAILABILITY), share("IPC$", SHARE_TYPE_IPC, 0)]
    }
}

/// Asks with the bytes of both transfer syntaxes; both answers must come to the same.
fn ask<Q: Parameters, A: Parameters + PartialEq + std::fmt::Debug>(opnum: u16, request: &Q) -> Result<A, Fault> {
    ask_as(true, opnum, request)
}

fn ask_as<Q: Parameters, A: Parameters + PartialEq + std::fmt::Debug>(is_administrator: bool, opnum: u16, request: &Q) -> Result<A, Fault> {
    let [first, second] = TransferSyntax::ALL.map(|transfer| {
        let (mut context, _interrupter) = CallContext::for_test(transfer);
        context.identity = Some(Arc::new(Identity { is_administrator, ..Identity::default() }));
        let answer = Srvsvc::new(Arc::new(TwoShares)).call(opnum, request.to_stub(transfer), context);
        answer.now_or_never().expect("nothing waits").map(|stub| A::from_stub(&stub, transfer).unwrap())
    });
    assert_eq!(first, second);
    first
}

fn enumerate(level: u32, preferred_bytes_max: u32, resume: Option<u32>) -> ShareEnumAnswer {
    let list = ShareEnum { level, shares: share_info::list(level, &[]).unwrap_or(ShareList::Unknown(level)) };
    ask(15, &ShareEnumRequest { server_name: Some("\\\\fs1".into()), list, preferred_bytes_max, resume }).unwrap()
}

#[test]
fn level_1_lists_names_types_and_remarks() {
    let answer = enumerate(1, u32::MAX, Some(0));
    assert_eq!((answer.total, answer.resume, answer.status), (2, Some(0), STATUS_OK));
    let share = |name: &str, share_type| ShareInfo1 { name: Some(name.into()), share_type, remark: Some(format!("about {name}")) };
    let shares = vec![share("data", SHARE_TYPE_DISK), share("IPC$", SHARE_TYPE_IPC)];
    assert_eq!(answer.list, ShareEnum { level: 1, shares: ShareList::Level1(Some(shares.into())) });
}

#[test]
fn every_level_of_a_list_is_told_alike_in_both_syntaxes() {
    for level in [0, 1, 2, 501, 502, 503] {
        let answer = enumerate(level, u32::MAX, None);
        assert_eq!((answer.list.shares.tag(), answer.total, answer.status), (level, 2, STATUS_OK), "{level}");
    }
}

// MS-SRVS 3.1.4.8, 3.1.4.10
#[test]
fn paths_uses_and_descriptors_are_for_administrators() {
    for (level, is_secret) in [(0, false), (1, false), (2, true), (501, false), (502, true), (503, true)] {
        let list = ShareEnum { level, shares: share_info::list(level, &[]).unwrap() };
        let request = ShareEnumRequest { server_name: None, list, preferred_bytes_max: u32::MAX, resume: None };
        let answer: ShareEnumAnswer = ask_as(false, 15, &request).unwrap();
        let expected = if is_secret { (STATUS_ACCESS_DENIED, 0) } else { (STATUS_OK, 2) };
        assert_eq!((answer.status, answer.total), expected, "list at level {level}");
        let request = ShareInfoRequest { server_name: None, share_name: "data".into(), level };
        let answer: ShareInfoAnswer = ask_as(false, 16, &request).unwrap();
        assert_eq!(answer.status, expected.0, "share at level {level}");
        assert_eq!(answer.share == share_info::detail(level, None).unwrap(), is_secret, "nothing is told with a refusal");
    }
    let flags: ShareInfoAnswer =
        ask_as(false, 16, &ShareInfoRequest { server_name: None, share_name: "data".into(), level: 1005 }).unwrap();
    assert_eq!(flags.status, STATUS_OK, "clients learn there whether a share is continuously available");
}

#[test]
fn a_short_preferred_length_gives_one_entry_and_a_resume_handle() {
    let answer = enumerate(0, 1, Some(0));
    assert_eq!((answer.resume, answer.status), (Some(1), STATUS_MORE_DATA));
    assert_eq!(enumerate(0, 1, Some(1)).status, STATUS_OK);
}

#[test]
fn unknown_levels_and_shares_have_their_codes() {
    let answer = enumerate(77, 0, None);
    assert_eq!(answer.to_stub(TransferSyntax::Ndr20), [77, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x7C, 0, 0, 0]);
    let share = |name: &str, level| -> ShareInfoAnswer {
        ask(16, &ShareInfoRequest { server_name: None, share_name: name.into(), level }).unwrap()
    };
    assert_eq!(share("nobody", 1), ShareInfoAnswer { share: ShareDetail::Level1(None), status: STATUS_SHARE_NOT_FOUND });
    let flags = ShareDetail::Level1005(Some(ShareInfo1005 { flags: SHARE_FLAG_CONTINUOUS_AVAILABILITY }));
    assert_eq!(share("DATA", 1005), ShareInfoAnswer { share: flags, status: STATUS_OK });
    assert_eq!(share("data", 1004), ShareInfoAnswer { share: ShareDetail::Level1004(None), status: STATUS_INVALID_LEVEL });
    assert_eq!(share("data", 99), ShareInfoAnswer { share: ShareDetail::Unknown(99), status: STATUS_INVALID_LEVEL });
}

#[test]
fn the_server_tells_of_itself_at_every_level() {
    for level in [100, 101, 102] {
        let answer: ServerInfoAnswer = ask(21, &ServerInfoRequest { server_name: None, level }).unwrap();
        assert_eq!((answer.server.tag(), answer.status), (level, STATUS_OK));
    }
    let answer: ServerInfoAnswer = ask(21, &ServerInfoRequest { server_name: None, level: 599 }).unwrap();
    assert_eq!(answer, ServerInfoAnswer { server: ServerDetail::Level599(None), status: STATUS_INVALID_LEVEL });
}

#[test]
fn what_is_not_served_and_what_contradicts_itself_is_a_fault() {
    let nothing = crate::ndr::NoParameters;
    assert_eq!(ask::<_, crate::ndr::NoParameters>(14, &nothing), Err(Fault::ACCESS_DENIED));
    assert_eq!(ask::<_, crate::ndr::NoParameters>(77, &nothing), Err(Fault::OPNUM_OUT_OF_RANGE));
    assert_eq!(ask::<_, ShareEnumAnswer>(15, &nothing), Err(Fault::BAD_STUB_DATA));
    let list = ShareEnum { level: 1, shares: ShareList::Level0(Some(Counted::null())) };
    let request = ShareEnumRequest { server_name: None, list, preferred_bytes_max: 0, resume: None };
    assert_eq!(ask::<_, ShareEnumAnswer>(15, &request), Err(Fault::INVALID_TAG));
}

#[test]
fn days_become_dates() {
    assert_eq!(civil_from_days(0), (1970, 1, 1));
    assert_eq!(civil_from_days(19_782), (2024, 2, 29));
    assert_eq!(civil_from_days(20_777), (2026, 11, 20));
}
