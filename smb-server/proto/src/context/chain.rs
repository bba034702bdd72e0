//! The chain that contexts travel in (MS-SMB2 2.2.13.2).

use super::{
    AllocationSize, AppInstanceId, AppInstanceVersion, DurableReconnect, DurableReconnectV2, DurableRequest, DurableRequestV2,
    DurableResponse, DurableResponseV2, EaBuffer, LeaseContext, MaximalAccessRequest, MaximalAccessResponse, OnDiskIdRequest,
    OnDiskIdResponse, RequestContext, ResponseContext, SecurityDescriptorContext, TimeWarp, UnknownContext, alsi, app_instance_id,
    app_instance_version, dh2c, dh2q, dhnc, dhnq, exta, mxac, qfid, rqls, secd, twrp,
};
use crate::error::DecodeError;
use crate::wire::{Put, Reader, align, len_u16, len_u32, part, patch_u32};

/// Most contexts in one chain.
pub const CONTEXTS_MAX: usize = 64;
/// Length of an entry before its name.
const ENTRY_FIXED: usize = 16;
/// Shortest name of a context.
const NAME_MIN: usize = 4;

/// Name and data of one entry.
type RawContext<'a> = (&'a [u8], &'a [u8]);

/// Splits a chain into its entries.
fn split(area: &[u8]) -> Result<Vec<RawContext<'_>>, DecodeError> {
    let mut entries = Vec::new();
    let mut rest = area;
    while !rest.is_empty() {
        if entries.len() >= CONTEXTS_MAX {
            return Err(DecodeError::malformed("too many create contexts"));
        }
        let mut r = Reader::new(rest);
        let next = r.len32()?;
        let (name_offset, name_length) = (r.len16()?, r.len16()?);
        r.skip(2)?;
        let (data_offset, data_length) = (r.len16()?, r.len32()?);
        let entry = if next == 0 { rest } else { part(rest, 0, next, "create context Next")? };
        // MS-SMB2 3.3.5.9: names shorter than four bytes and parts outside the entry are refused.
        if next % 8 != 0 || (next != 0 && next < ENTRY_FIXED) || name_length < NAME_MIN || name_offset < ENTRY_FIXED {
            return Err(DecodeError::malformed("create context"));
        }
        if data_length != 0 && data_offset < name_offset.saturating_add(name_length) {
            return Err(DecodeError::malformed("create context data"));
        }
        entries.push((part(entry, name_offset, name_length, "context name")?, part(entry, data_offset, data_length, "context data")?));
        if next == 0 {
            break;
        }
        rest = rest.get(next..).unwrap_or_default();
        if rest.is_empty() {
            return Err(DecodeError::malformed("create context Next"));
        }
    }
    Ok(entries)
}

/// Appends one entry and links the one before.
fn push(out: &mut Vec<u8>, previous: &mut Option<usize>, name: &[u8], data: &[u8]) {
    let start = match *previous {
        Some(p) => {
            align(out, p, 8);
            let next = len_u32(out.len().saturating_sub(p));
            patch_u32(out, p, next);
            out.len()
        }
        None => out.len(),
    };
    let data_offset = (ENTRY_FIXED.saturating_add(name.len())).next_multiple_of(8);
    out.put_u32(0);
    out.put_u16(len_u16(ENTRY_FIXED));
    out.put_u16(len_u16(name.len()));
    out.put_u16(0);
    out.put_u16(if data.is_empty() { 0 } else { len_u16(data_offset) });
    out.put_u32(len_u32(data.len()));
    out.put_bytes(name);
    align(out, start, 8);
    out.put_bytes(data);
    *previous = Some(start);
}

/// Decodes the contexts of a request.
pub fn decode_requests(area: &[u8]) -> Result<Vec<RequestContext>, DecodeError> {
    split(area)?.into_iter().map(|(name, data)| decode_request(name, data)).collect()
}

fn decode_request(name: &[u8], data: &[u8]) -> Result<RequestContext, DecodeError> {
    Ok(match name {
        exta::NAME => RequestContext::EaBuffer(EaBuffer::decode(data)?),
        secd::NAME => RequestContext::SecurityDescriptor(SecurityDescriptorContext::decode(data)?),
        dhnq::NAME => RequestContext::DurableRequest(DurableRequest::decode(data)?),
        dhnc::NAME => RequestContext::DurableReconnect(DurableReconnect::decode(data)?),
        alsi::NAME => RequestContext::AllocationSize(AllocationSize::decode(data)?),
        mxac::NAME => RequestContext::MaximalAccess(MaximalAccessRequest::decode(data)?),
        twrp::NAME => RequestContext::TimeWarp(TimeWarp::decode(data)?),
        qfid::NAME => RequestContext::OnDiskId(OnDiskIdRequest::decode(data)?),
        rqls::NAME => RequestContext::Lease(LeaseContext::decode(data)?),
        dh2q::NAME => RequestContext::DurableRequestV2(DurableRequestV2::decode(data)?),
        dh2c::NAME => RequestContext::DurableReconnectV2(DurableReconnectV2::decode(data)?),
        app_instance_id::NAME => RequestContext::AppInstanceId(AppInstanceId::decode(data)?),
        app_instance_version::NAME => RequestContext::AppInstanceVersion(AppInstanceVersion::decode(data)?),
        _ => RequestContext::Unknown(UnknownContext { name: name.to_vec(), data: data.to_vec() }),
    })
}

/// Appends the contexts of a request; the caller has aligned `out` to 8.
pub fn encode_requests(contexts: &[RequestContext], out: &mut Vec<u8>) {
    let mut previous = None;
    for c in contexts {
        let (name, data): (&[u8], Vec<u8>) = match c {
            RequestContext::EaBuffer(x) => (exta::NAME, x.to_bytes()),
            RequestContext::SecurityDescriptor(x) => (secd::NAME, x.to_bytes()),
            RequestContext::DurableRequest(x) => (dhnq::NAME, x.to_bytes()),
            RequestContext::DurableReconnect(x) => (dhnc::NAME, x.to_bytes()),
            RequestContext::AllocationSize(x) => (alsi::NAME, x.to_bytes()),
            RequestContext::MaximalAccess(x) => (mxac::NAME, x.to_bytes()),
            RequestContext::TimeWarp(x) => (twrp::NAME, x.to_bytes()),
            RequestContext::OnDiskId(x) => (qfid::NAME, x.to_bytes()),
            RequestContext::Lease(x) => (rqls::NAME, x.to_bytes()),
            RequestContext::DurableRequestV2(x) => (dh2q::NAME, x.to_bytes()),
            RequestContext::DurableReconnectV2(x) => (dh2c::NAME, x.to_bytes()),
            RequestContext::AppInstanceId(x) => (app_instance_id::NAME, x.to_bytes()),
            RequestContext::AppInstanceVersion(x) => (app_instance_version::NAME, x.to_bytes()),
            RequestContext::Unknown(x) => (&x.name, x.data.clone()),
        };
        push(out, &mut previous, name, &data);
    }
}

/// Decodes the contexts of a response.
pub fn decode_responses(area: &[u8]) -> Result<Vec<ResponseContext>, DecodeError> {
    split(area)?
        .into_iter()
        .map(|(name, data)| {
            Ok(match name {
                dhnq::NAME => ResponseContext::Durable(DurableResponse::decode(data)?),
                mxac::NAME => ResponseContext::MaximalAccess(MaximalAccessResponse::decode(data)?),
                qfid::NAME => ResponseContext::OnDiskId(OnDiskIdResponse::decode(data)?),
                rqls::NAME => ResponseContext::Lease(LeaseContext::decode(data)?),
                dh2q::NAME => ResponseContext::DurableV2(DurableResponseV2::decode(data)?),
                _ => ResponseContext::Unknown(UnknownContext { name: name.to_vec(), data: data.to_vec() }),
            })
        })
        .collect()
}

/// Appends the contexts of a response; the caller has aligned `out` to 8.
pub fn encode_responses(contexts: &[ResponseContext], out: &mut Vec<u8>) {
    let mut previous = None;
    for c in contexts {
        let (name, data): (&[u8], Vec<u8>) = match c {
            ResponseContext::Durable(x) => (dhnq::NAME, x.to_bytes()),
            ResponseContext::MaximalAccess(x) => (mxac::NAME, x.to_bytes()),
            ResponseContext::OnDiskId(x) => (qfid::NAME, x.to_bytes()),
            ResponseContext::Lease(x) => (rqls::NAME, x.to_bytes()),
            ResponseContext::DurableV2(x) => (dh2q::NAME, x.to_bytes()),
            ResponseContext::Unknown(x) => (&x.name, x.data.clone()),
        };
        push(out, &mut previous, name, &data);
    }
}

#[cfg(test)]
mod tests {
    use smb_types::{FileId, FileTime, Guid, LeaseState, NtStatus};

    use super::*;
    use crate::context::{LeaseFlags, LeaseV2};

    fn all() -> Vec<RequestContext> {
        let g = Guid([7; 16]);
        let lease = LeaseContext { key: g, state: LeaseState::RWH, flags: LeaseFlags::NONE, v2: None };
        vec![
            RequestContext::DurableRequest(DurableRequest),
            RequestContext::DurableReconnect(DurableReconnect { file_id: FileId { persistent: 1, volatile: 2 } }),
            RequestContext::AllocationSize(AllocationSize { bytes: 4096 }),
            RequestContext::MaximalAccess(MaximalAccessRequest { timestamp: None }),
            RequestContext::MaximalAccess(MaximalAccessRequest { timestamp: Some(FileTime(9)) }),
            RequestContext::TimeWarp(TimeWarp { timestamp: FileTime(5) }),
            RequestContext::OnDiskId(OnDiskIdRequest),
            RequestContext::Lease(lease),
            RequestContext::Lease(LeaseContext { v2: Some(LeaseV2 { parent_key: g, epoch: 3 }), ..lease }),
            RequestContext::DurableRequestV2(DurableRequestV2 { timeout_ms: 60_000, flags: dh2q::FLAG_PERSISTENT, create_guid: g }),
            RequestContext::DurableReconnectV2(DurableReconnectV2 { file_id: FileId::default(), create_guid: g, flags: 2 }),
            RequestContext::AppInstanceId(AppInstanceId { id: g }),
            RequestContext::AppInstanceVersion(AppInstanceVersion { high: 1, low: 2 }),
            RequestContext::Unknown(UnknownContext { name: b"AAPL".to_vec(), data: vec![1, 2, 3] }),
        ]
    }

    #[test]
    fn request_chain_there_and_back() {
        let mut b = Vec::new();
        encode_requests(&all(), &mut b);
        assert_eq!(decode_requests(&b).unwrap(), all());
        assert_eq!(decode_requests(&[]).unwrap(), vec![]);
    }

    #[test]
    fn response_chain_there_and_back() {
        let c = vec![
            ResponseContext::Durable(DurableResponse),
            ResponseContext::MaximalAccess(MaximalAccessResponse {
                query_status: NtStatus::SUCCESS,
                maximal_access: smb_types::AccessMask::FILE_ALL,
            }),
            ResponseContext::OnDiskId(OnDiskIdResponse { disk_file_id: 1, volume_id: 2 }),
            ResponseContext::DurableV2(DurableResponseV2 { timeout_ms: 1, flags: 2 }),
        ];
        let mut b = Vec::new();
        encode_responses(&c, &mut b);
        assert_eq!(decode_responses(&b).unwrap(), c);
    }

    #[test]
    fn wrong_size_of_a_known_context_is_malformed() {
        for name in [dhnq::NAME, dhnc::NAME, alsi::NAME, twrp::NAME, rqls::NAME, dh2q::NAME, dh2c::NAME, app_instance_id::NAME] {
            let mut b = Vec::new();
            push(&mut b, &mut None, name, &[0; 7]);
            assert!(matches!(decode_requests(&b), Err(DecodeError::Malformed { .. })), "{name:?}");
        }
    }

    #[test]
    fn broken_chains_are_malformed() {
        let mut good = Vec::new();
        encode_requests(&all(), &mut good);
        for (at, v) in [(0, 7u8), (0, 8), (4, 4), (6, 3), (10, 17)] {
            let mut b = good.clone();
            b[at] = v;
            assert!(decode_requests(&b).is_err(), "byte {at} = {v}");
        }
        let mut long = Vec::new();
        let many = vec![RequestContext::OnDiskId(OnDiskIdRequest); CONTEXTS_MAX + 1];
        encode_requests(&many, &mut long);
        assert!(decode_requests(&long).is_err(), "limit of contexts");
    }
}
