use dcerpc_rs::ndr::Parameters;
use dcerpc_rs::{ContextHandle, TransferSyntax, Uuid};
use proptest::prelude::*;

use super::*;
use crate::declaration::{HandleRequest, StatusAnswer};
use crate::message::{ResourceChange, ResourceState};

const NDR20: TransferSyntax = TransferSyntax::Ndr20;

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn alike_in_both_syntaxes<P: Parameters + PartialEq + std::fmt::Debug>(parameters: &P) -> Result<(), TestCaseError> {
    for syntax in TransferSyntax::ALL {
        prop_assert_eq!(&P::from_stub(&parameters.to_stub(syntax), syntax).unwrap(), parameters);
    }
    Ok(())
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
    let answer = NotifyAnswer::from(&notification);
    assert_eq!(answer.to_stub(NDR20), golden);
    assert_eq!(notification_of(answer), Ok(notification));
    let silence = NotifyAnswer::from(&Err(Status::TIMEOUT));
    assert_eq!(silence.to_stub(NDR20), [0, 0, 0, 0, 0xB4, 5, 0, 0]);
    assert_eq!(notification_of(silence), Ok(Err(Status::TIMEOUT)));
    let nothing = NotifyAnswer { response: None, status: 0 };
    assert!(notification_of(nothing).is_err(), "success has to tell something");
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
    let answer = InterfaceListAnswer::from(Ok(vec![info.clone()]));
    let stub = answer.to_stub(NDR20);
    assert_eq!(stub.len(), 16 + 552 + 4);
    let element = &stub[16..];
    assert_eq!(element[..4], [b'N', 0, b'O', 0]);
    assert_eq!(element[520..532], [0, 0, 2, 0, 1, 0, 0, 0, 192, 0, 2, 1]);
    assert_eq!(element[548..552], [5, 0, 0, 0]);
    // Referents and counts have eight bytes in NDR64, the entry is the same.
    assert_eq!(answer.to_stub(TransferSyntax::Ndr64)[32..32 + 552], element[..552]);
    assert_eq!(Result::from(answer), Ok(vec![info]));
    let refused = InterfaceListAnswer::from(Err(Status::NO_MORE_ITEMS));
    assert_eq!(Result::<Vec<InterfaceInfo>, Status>::from(refused), Err(Status::NO_MORE_ITEMS));
}

proptest! {
    #[test]
    fn all_twelve_structures_are_the_same_in_both_syntaxes(
        version in any::<u32>(), names in proptest::array::uniform4(proptest::option::of("[^\0]{0,20}")),
        flags in any::<u32>(), status in any::<u32>(), handle in any::<u128>(), buffer in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..50)),
        addresses in proptest::collection::vec((any::<[u8; 4]>(), any::<[u8; 16]>(), any::<u16>(), "[a-z]{0,30}"), 0..4),
    ) {
        let handle = ContextHandle { attributes: 0, uuid: Uuid::from_u128(handle) };
        let [net_name, share_name, ip_address, client_name] = names;
        let list: Vec<WitnessInterfaceInfo> = addresses.into_iter().map(|(ipv4, ipv6, state, name)| WitnessInterfaceInfo {
            group_name: FixedWide(name), version, state, ipv4: Octets(ipv4), ipv6: Octets(ipv6), flags,
        }).collect();
        let length = u32::try_from(buffer.as_ref().map_or(0, Vec::len)).unwrap();
        let response = ResponseAsyncNotify { message_type: version, length, number_of_messages: flags, buffer };
        let register = RegisterRequest { version, net_name, ip_address, client_name };
        alike_in_both_syntaxes(&InterfaceListAnswer { interfaces: Some(list.into()), status })?;
        alike_in_both_syntaxes(&RegisterExRequest { share_name, flags, keep_alive_s: status, ..register.clone().into() })?;
        alike_in_both_syntaxes(&register)?;
        alike_in_both_syntaxes(&HandleRequest { handle })?;
        alike_in_both_syntaxes(&HandleAnswer { handle, status })?;
        alike_in_both_syntaxes(&StatusAnswer { status })?;
        alike_in_both_syntaxes(&NotifyAnswer { response: Some(response), status })?;
    }

    #[test]
    fn garbage_never_panics(stub in proptest::collection::vec(any::<u8>(), 0..100)) {
        for syntax in TransferSyntax::ALL {
            _ = InterfaceListAnswer::from_stub(&stub, syntax).map(Result::<Vec<InterfaceInfo>, Status>::from);
            _ = RegisterExRequest::from_stub(&stub, syntax);
            _ = NotifyAnswer::from_stub(&stub, syntax).and_then(notification_of);
        }
    }
}

#[test]
fn a_cut_request_is_refused_wherever_it_was_cut() {
    let request = RegisterRequest {
        version: VERSION_1,
        net_name: Some("fs1".into()),
        ip_address: Some("127.0.0.11".into()),
        client_name: Some("CLIENT1".into()),
    };
    for syntax in TransferSyntax::ALL {
        let stub = request.to_stub(syntax);
        for length in 0..stub.len() {
            assert!(RegisterRequest::from_stub(&stub[..length], syntax).is_err(), "{length}");
        }
    }
}
