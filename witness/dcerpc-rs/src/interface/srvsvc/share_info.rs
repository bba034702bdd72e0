//! The shapes in which a share is told: a share of the provider as SHARE_INFO of each level.

use super::ShareInfo;
use super::declaration::{
    ShareDetail, ShareInfo0, ShareInfo1, ShareInfo2, ShareInfo501, ShareInfo502, ShareInfo503, ShareInfo1005, ShareList,
};
use crate::ndr::{Ndr, NdrWriter};
use crate::syntax::TransferSyntax;

/// The list at this level; `None` if there is no such level of a list.
pub(super) fn list(level: u32, shares: &[ShareInfo]) -> Option<ShareList> {
    fn all<T>(shares: &[ShareInfo], told: impl Fn(&ShareInfo) -> T) -> Option<crate::ndr::Counted<T>> {
        Some(shares.iter().map(told).collect::<Vec<T>>().into())
    }
    Some(match level {
        0 => ShareList::Level0(all(shares, level_0)),
        1 => ShareList::Level1(all(shares, level_1)),
        2 => ShareList::Level2(all(shares, level_2)),
        501 => ShareList::Level501(all(shares, level_501)),
        502 => ShareList::Level502(all(shares, level_502)),
        503 => ShareList::Level503(all(shares, level_503)),
        _ => return None,
    })
}

/// A container of this level without shares.
pub(super) fn no_list(level: u32) -> ShareList {
    match level {
        0 => ShareList::Level0(None),
        1 => ShareList::Level1(None),
        2 => ShareList::Level2(None),
        501 => ShareList::Level501(None),
        502 => ShareList::Level502(None),
        503 => ShareList::Level503(None),
        unknown => ShareList::Unknown(unknown),
    }
}

/// One share at this level, or nothing at this level; `None` if the level is not told.
pub(super) fn detail(level: u32, share: Option<&ShareInfo>) -> Option<ShareDetail> {
    Some(match level {
        0 => ShareDetail::Level0(share.map(level_0)),
        1 => ShareDetail::Level1(share.map(level_1)),
        2 => ShareDetail::Level2(share.map(level_2)),
        501 => ShareDetail::Level501(share.map(level_501)),
        502 => ShareDetail::Level502(share.map(level_502)),
        503 => ShareDetail::Level503(share.map(level_503)),
        1005 => ShareDetail::Level1005(share.map(|share| ShareInfo1005 { flags: share.flags })),
        _ => return None,
    })
}

/// What is said at a level that is not told: a null pointer if the declaration has an arm for it.
pub(super) fn no_detail(level: u32) -> ShareDetail {
    match level {
        1004 => ShareDetail::Level1004(None),
        1006 => ShareDetail::Level1006(None),
        1501 => ShareDetail::Level1501(None),
        unknown => ShareDetail::Unknown(unknown),
    }
}

/// About how long an entry is, for the client's preferred length.
pub(super) fn bytes_of(share: &ShareInfo, level: u32) -> usize {
    let Some(list) = list(level, std::slice::from_ref(share)) else { return 0 };
    let mut out = NdrWriter::new(TransferSyntax::Ndr20);
    list.encode_deferred(&mut out);
    out.len()
}

fn level_0(share: &ShareInfo) -> ShareInfo0 {
    ShareInfo0 { name: Some(share.name.clone()) }
}

fn level_1(share: &ShareInfo) -> ShareInfo1 {
    ShareInfo1 { name: Some(share.name.clone()), share_type: share.share_type, remark: Some(share.remark.clone()) }
}

fn level_2(share: &ShareInfo) -> ShareInfo2 {
    ShareInfo2 {
        name: Some(share.name.clone()),
        share_type: share.share_type,
        remark: Some(share.remark.clone()),
        permissions: 0,
        max_uses: share.max_uses,
        current_uses: share.current_uses,
        path: Some(share.path.clone()),
        password: None,
    }
}

fn level_501(share: &ShareInfo) -> ShareInfo501 {
    let ShareInfo1 { name, share_type, remark } = level_1(share);
    ShareInfo501 { name, share_type, remark, flags: share.flags }
}

fn level_502(share: &ShareInfo) -> ShareInfo502 {
    let (descriptor_bytes, descriptor) = descriptor(share);
    ShareInfo502 { share: level_2(share), descriptor_bytes, descriptor }
}

fn level_503(share: &ShareInfo) -> ShareInfo503 {
    let (descriptor_bytes, descriptor) = descriptor(share);
    ShareInfo503 { share: level_2(share), server_name: Some("*".to_owned()), descriptor_bytes, descriptor }
}

fn descriptor(share: &ShareInfo) -> (u32, Option<Vec<u8>>) {
    let length = share.security_descriptor.as_ref().map_or(0, Vec::len);
    (u32::try_from(length).expect("descriptors are short"), share.security_descriptor.clone())
}
