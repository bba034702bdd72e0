//! Every decoder on arbitrary bytes: it may refuse them, it must not panic.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use proptest::prelude::*;
use smb_proto::info::{self, DirectoryClass, DirectoryEntry};
use smb_proto::message as m;
use smb_proto::{Header, context, frame, fsctl, name, security, smb1, transform, wildcard};

/// A message with a sound structure size and arbitrary bytes behind it.
fn message(size: u16, body: &[u8]) -> Bytes {
    let mut b = Vec::new();
    Header::request(smb_proto::Command::Echo, 1).encode(&mut b);
    b.extend_from_slice(&size.to_le_bytes());
    b.extend_from_slice(body);
    b.into()
}

macro_rules! all {
    ($body:expr; $($size:literal => $t:path),* $(,)?) => {$( let _ = $t(&message($size, $body)); )*};
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn messages(mut body in prop::collection::vec(any::<u8>(), 0..400), small in any::<bool>()) {
        if small {
            // Small offsets and lengths reach deeper than random ones.
            body.iter_mut().enumerate().for_each(|(i, b)| if i % 2 == 1 { *b = 0 });
        }
        all!(&body;
            36 => m::negotiate::NegotiateRequest::decode, 65 => m::negotiate::NegotiateResponse::decode,
            25 => m::session_setup::SessionSetupRequest::decode, 9 => m::session_setup::SessionSetupResponse::decode,
            4 => m::logoff::LogoffRequest::decode, 4 => m::echo::EchoResponse::decode, 4 => m::cancel::CancelRequest::decode,
            9 => m::tree_connect::TreeConnectRequest::decode, 16 => m::tree_connect::TreeConnectResponse::decode,
            57 => m::create::CreateRequest::decode, 89 => m::create::CreateResponse::decode,
            24 => m::close::CloseRequest::decode, 60 => m::close::CloseResponse::decode, 24 => m::flush::FlushRequest::decode,
            49 => m::read::ReadRequest::decode, 17 => m::read::ReadResponse::decode,
            49 => m::write::WriteRequest::decode, 17 => m::write::WriteResponse::decode, 48 => m::lock::LockRequest::decode,
            57 => m::ioctl::IoctlRequest::decode, 49 => m::ioctl::IoctlResponse::decode,
            33 => m::query_directory::QueryDirectoryRequest::decode, 32 => m::change_notify::ChangeNotifyRequest::decode,
            41 => m::query_info::QueryInfoRequest::decode, 9 => m::query_info::QueryInfoResponse::decode,
            33 => m::set_info::SetInfoRequest::decode, 2 => m::set_info::SetInfoResponse::decode,
            24 => m::oplock_break::OplockBreakRequest::decode, 36 => m::oplock_break::OplockBreakRequest::decode,
            44 => m::oplock_break::OplockBreakResponse::decode, 9 => m::error_response::ErrorResponse::decode,
        );
    }

    #[test]
    fn frames(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0usize..4) {
        let mut b = bytes;
        if let Some(head) = b.get_mut(..6) {
            head.copy_from_slice(&[[0xFEu8, 0xFD, 0xFC, 0xFF][kind], b'S', b'M', b'B', 64, 0]);
        }
        let _ = frame::MessageKind::of(&b);
        let _ = frame::split(&Bytes::from(b.clone()));
        let _ = transform::TransformHeader::decode(&b);
        let _ = smb1::Smb1Negotiate::decode(&b);
    }

    #[test]
    fn buffers(mut b in prop::collection::vec(any::<u8>(), 0..300), small in any::<bool>()) {
        if small {
            b.iter_mut().enumerate().for_each(|(i, x)| if i % 4 != 0 { *x = 0 });
        }
        let _ = context::chain::decode_requests(&b);
        let _ = context::chain::decode_responses(&b);
        let _ = security::SecurityDescriptor::decode(&b);
        let _ = m::error_response::SymlinkError::decode(&b);
        for class in DirectoryClass::ALL {
            let _ = DirectoryEntry::decode_list(class, &b);
        }
        let _ = info::full_ea::decode_list(&b);
        let _ = info::full_ea::decode_names(&b);
        let _ = info::FileAllInformation::decode(&b);
        let _ = info::FileBasicInformation::decode(&b);
        let _ = info::FileNameInformation::decode(&b);
        let _ = info::FileRenameInformation::decode(&b);
        let _ = info::FileRenameInformation::decode_ex(&b);
        let _ = info::FileLinkInformation::decode(&b);
        let _ = info::FileStreamInformation::decode_list(&b);
        let _ = info::FileNotifyInformation::decode_list(&b);
        let _ = info::fs::FileFsVolumeInformation::decode(&b);
        let _ = info::fs::FileFsAttributeInformation::decode(&b);
        let _ = fsctl::ValidateNegotiateRequest::decode(&b);
        let _ = fsctl::NetworkInterface::decode_list(&b);
        let _ = fsctl::CopychunkRequest::decode(&b);
        let _ = fsctl::Snapshots::decode(&b);
        let _ = fsctl::DfsReferralRequest::decode(&b);
        let _ = fsctl::DfsReferralRequest::decode_ex(&b);
        let _ = fsctl::DuplicateExtentsEx::decode(&b);
        let _ = fsctl::TrimRequest::decode(&b);
        let _ = fsctl::PipeWaitRequest::decode(&b);
        let _ = fsctl::ReparseData::decode(&b);
    }

    #[test]
    fn names_and_patterns(pattern in ".{0,40}", text in ".{0,80}") {
        let _ = wildcard::matches(&pattern, &text);
        let _ = name::ParsedName::parse(&text);
        prop_assert!(wildcard::matches("*", &text));
    }
}
