//! Messages captured from Windows, read and written back byte for byte.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use smb_proto::message::negotiate::{Capabilities, NegotiateContext, NegotiateRequest, NegotiateResponse};
use smb_proto::message::session_setup::{SessionSetupRequest, SessionSetupResponse};
use smb_proto::message::write::WriteRequest;
use smb_proto::{Command, Header, frame};
use smb_types::{Dialect, NtStatus};

fn unhex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|c| u8::from_str_radix(std::str::from_utf8(c).unwrap(), 16).unwrap()).collect::<Vec<u8>>().into()
}

macro_rules! vector {
    ($path:literal) => {
        unhex(include_str!(concat!("vectors/", $path, ".hex")))
    };
}

fn header(msg: &Bytes) -> Header {
    let elements = frame::split(msg).unwrap();
    assert_eq!(elements.len(), 1);
    elements[0].header.clone()
}

fn written(header: &Header, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    header.encode(&mut out);
    body(&mut out);
    out
}

#[test]
fn negotiate() {
    // MS-SMB2 2.2.3, 2.2.4
    let msg = vector!("negotiate/request_311");
    let (h, m) = (header(&msg), NegotiateRequest::decode(&msg).unwrap());
    assert_eq!(h.command, Command::Negotiate);
    assert_eq!(m.dialects, [0x0202, 0x0210, 0x0300, 0x0302, 0x0311]);
    assert_eq!(m.capabilities, Capabilities(0x3F));
    assert!(m.offers(Dialect::Smb311));
    assert_eq!(m.contexts[1], NegotiateContext::Encryption { ciphers: vec![2, 1] });
    assert_eq!(written(&h, |o| m.encode(o)), msg);

    let msg = vector!("negotiate/response_311");
    let (h, m) = (header(&msg), NegotiateResponse::decode(&msg).unwrap());
    assert_eq!((m.dialect_revision, m.max_read_size, m.contexts.len()), (0x0311, 0x80_0000, 2));
    assert_eq!(written(&h, |o| m.encode(o)), msg);
}

#[test]
fn session_setup() {
    // MS-SMB2 2.2.5, 2.2.6
    for msg in [vector!("session_setup/request_1"), vector!("session_setup/request_2")] {
        let (h, m) = (header(&msg), SessionSetupRequest::decode(&msg).unwrap());
        assert!(!m.is_binding() && m.previous_session_id == 0);
        assert_eq!(written(&h, |o| m.encode(o)), msg);
    }
    for (msg, status) in [
        (vector!("session_setup/response_1"), NtStatus::MORE_PROCESSING_REQUIRED),
        (vector!("session_setup/response_2"), NtStatus::SUCCESS),
    ] {
        let (h, m) = (header(&msg), SessionSetupResponse::decode(&msg).unwrap());
        assert_eq!(h.status(), status);
        assert_eq!(written(&h, |o| m.encode(o)), msg);
    }
}

#[test]
fn write() {
    // MS-SMB2 2.2.21. This client sets RemainingBytes and a channel-info offset, which a server must bear.
    for msg in [vector!("write/request_300"), vector!("write/request_311")] {
        let m = WriteRequest::decode(&msg).unwrap();
        assert_eq!(header(&msg).command, Command::Write);
        assert_eq!(&m.data[..], b"Smb3 encryption testing");
        assert_eq!(m.data.as_ptr(), msg[0x70..].as_ptr(), "the data must not be copied");
        let again = written(&header(&msg), |o| m.encode(o));
        assert_eq!(WriteRequest::decode(&again.clone().into()).unwrap(), m);
        assert_eq!(again.len(), msg.len());
    }
}
