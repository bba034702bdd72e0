//! Stubs of the server and workstation services as a foreign implementation encodes them, and what its endpoint mapper
//! says: read and written back.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod vectors;

use std::fmt::Debug;

use dcerpc_rs::TransferSyntax;
use dcerpc_rs::epm::{Tower, Transport};
use dcerpc_rs::interface::srvsvc::declaration::{
    ServerDetail, ServerInfoAnswer, ShareDetail, ShareEnumAnswer, ShareEnumRequest, ShareInfo1, ShareInfo1005, ShareInfoAnswer,
    ShareInfoRequest, ShareList, TimeOfDayAnswer,
};
use dcerpc_rs::interface::wkssvc::{WorkstationDetail, WorkstationInfoAnswer};
use dcerpc_rs::ndr::Parameters;
use dcerpc_rs::pdu::{Bind, BindAck, Frame, PacketType, Request, Response, encode};

const SAMBA: &str = include_str!("vectors/srvsvc-stubs.hex");

/// Reads the stub of either syntax; both mean the same, and what we write is the same bytes.
fn read<P: Parameters + PartialEq + Debug>(name: &str) -> P {
    let vectors = vectors::named(SAMBA);
    let [first, second] = TransferSyntax::ALL.map(|syntax| {
        let stub = &vectors[format!("{name} {}", if syntax == TransferSyntax::Ndr64 { "ndr64" } else { "ndr20" }).as_str()];
        let parameters = P::from_stub(stub, syntax).unwrap();
        assert_eq!(&parameters.to_stub(syntax), stub, "{name} {syntax:?}");
        parameters
    });
    assert_eq!(first, second, "{name}");
    first
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn lists_of_shares_are_encoded_as_samba_does() {
    for level in [0, 1, 2, 501] {
        let answer: ShareEnumAnswer = read(&format!("share_enum_answer {level}"));
        assert_eq!((answer.list.level, answer.list.shares.tag(), answer.total, answer.status), (level, level, 2, 0));
    }
    let ShareList::Level1(Some(shares)) = read::<ShareEnumAnswer>("share_enum_answer 1").list.shares else { panic!("not level 1") };
    let expected = ShareInfo1 { name: text("data"), share_type: 0, remark: text("about data") };
    assert_eq!(shares.elements()[0], expected);
    let request: ShareEnumRequest = read("share_enum_request");
    assert_eq!((request.server_name, request.preferred_bytes_max, request.resume), (text("\\\\fs1"), u32::MAX, Some(0)));
}

#[test]
fn one_share_is_encoded_as_samba_does() {
    for level in [0, 1, 2, 501] {
        let answer: ShareInfoAnswer = read(&format!("share_info_answer {level}"));
        assert_eq!((answer.share.tag(), answer.status), (level, 0));
    }
    let flags = ShareDetail::Level1005(Some(ShareInfo1005 { flags: 0x4000 }));
    assert_eq!(read::<ShareInfoAnswer>("share_info_answer 1005"), ShareInfoAnswer { share: flags, status: 0 });
    assert_eq!(read::<ShareInfoRequest>("share_info_request").share_name, "data");
}

#[test]
fn what_a_server_says_of_itself_is_encoded_as_samba_does() {
    let ServerDetail::Level101(Some(server)) = read::<ServerInfoAnswer>("server_info_answer 101").server else { panic!("not level 101") };
    assert_eq!((server.name, server.version_major, server.comment), (text("FS1"), 10, text("here")));
    let ServerDetail::Level102(Some(server)) = read::<ServerInfoAnswer>("server_info_answer 102").server else { panic!("not level 102") };
    assert_eq!((server.disconnect_min, server.announce_s, server.user_path), (15, 240, text("C:\\")));
    for level in [100, 101, 102] {
        let answer: WorkstationInfoAnswer = read(&format!("workstation_info_answer {level}"));
        assert_eq!(answer.workstation.tag(), level);
    }
    let answer: WorkstationInfoAnswer = read("workstation_info_answer 100");
    let WorkstationDetail::Level100(Some(workstation)) = answer.workstation else { panic!("not level 100") };
    assert_eq!((workstation.name, workstation.domain), (text("FS1"), text("WORKGROUP")));
    let time = read::<TimeOfDayAnswer>("time_of_day_answer").time.unwrap();
    assert_eq!((time.year, time.month, time.day, time.elapsed_s), (2023, 11, 14, 1_700_000_000));
}

#[test]
fn sambas_endpoint_mapper_answers_as_ours_does() {
    let capture = vectors::in_order(include_str!("vectors/rpcd-epm.hex"));
    let frames: Vec<Frame> = capture.into_iter().map(|(_, pdu)| Frame::parse(pdu).unwrap()).collect();
    let [bind, ack, request, response] = &frames[..] else { panic!("four PDUs") };
    assert_eq!(encode(PacketType::Bind, bind.header.flags, 1, &Bind::decode(bind.body()).unwrap().encode(), None).unwrap(), bind.bytes);
    let acknowledged = BindAck::decode(ack.body()).unwrap();
    assert_eq!(acknowledged.secondary_address, "135");
    assert_eq!(encode(PacketType::BindAck, ack.header.flags, 1, &acknowledged.encode(), None).unwrap(), ack.bytes);
    let asked = Request::decode(request.body(), false).unwrap();
    assert_eq!((asked.opnum, asked.encode()), (3, request.body().to_vec()));
    // The tower of the answer stands behind the handle, the counts and its own lengths.
    let answer = Response::decode(response.body()).unwrap().stub;
    let start = answer.windows(4).rposition(|window| window == [75, 0, 0, 0]).unwrap() + 4;
    let tower = Tower::decode(&answer[start..start + 75]).unwrap();
    assert_eq!((tower.interface.minor, &tower.transport), (1, &Transport::Tcp { port: 49_154, address: [127, 0, 1, 1].into() }));
    assert_eq!(tower.encode(), answer[start..start + 75]);
}
