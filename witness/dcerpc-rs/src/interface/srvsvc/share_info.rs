//! The shapes in which a share is told: SHARE_INFO of each level. Fixed parts of all entries first, then their strings.

use super::ShareInfo;
use crate::ndr::NdrWriter;

/// Levels of a list.
pub(super) const ENUM_LEVELS: [u32; 6] = [0, 1, 2, 501, 502, 503];
/// Levels of a single share.
pub(super) const LEVELS: [u32; 7] = [0, 1, 2, 501, 502, 503, 1005];

const PERMISSIONS_UNUSED: u32 = 0;

pub(super) fn write_array(out: &mut NdrWriter, level: u32, shares: &[ShareInfo]) {
    out.count(shares.len());
    for share in shares {
        write_fixed(out, level, share);
    }
    for share in shares {
        write_deferred(out, level, share);
    }
}

pub(super) fn write_one(out: &mut NdrWriter, level: u32, share: &ShareInfo) {
    write_fixed(out, level, share);
    write_deferred(out, level, share);
}

/// About how long an entry is, for the client's preferred length.
pub(super) fn bytes_of(share: &ShareInfo, level: u32) -> usize {
    let mut out = NdrWriter::new();
    write_one(&mut out, level, share);
    out.len()
}

// MS-SRVS 2.2.4.22 to 2.2.4.29
fn write_fixed(out: &mut NdrWriter, level: u32, share: &ShareInfo) {
    if level == 1005 {
        out.u32(share.flags);
        return;
    }
    out.referent();
    if level == 0 {
        return;
    }
    out.u32(share.share_type);
    out.referent();
    if level == 501 {
        out.u32(share.flags);
    }
    if matches!(level, 2 | 502 | 503) {
        out.u32(PERMISSIONS_UNUSED);
        out.u32(share.max_uses);
        out.u32(share.current_uses);
        out.referent();
        out.null();
    }
    if level == 503 {
        // The server name to which the share is bound; "*" means any.
        out.referent();
    }
    if matches!(level, 502 | 503) {
        let descriptor = share.security_descriptor.as_deref();
        out.count(descriptor.map_or(0, <[u8]>::len));
        out.pointer(descriptor.is_some());
    }
}

fn write_deferred(out: &mut NdrWriter, level: u32, share: &ShareInfo) {
    if level == 1005 {
        return;
    }
    out.wide_string(&share.name);
    if level == 0 {
        return;
    }
    out.wide_string(&share.remark);
    if matches!(level, 2 | 502 | 503) {
        out.wide_string(&share.path);
    }
    if level == 503 {
        out.wide_string("*");
    }
    if matches!(level, 502 | 503)
        && let Some(descriptor) = &share.security_descriptor
    {
        out.count(descriptor.len());
        out.bytes(descriptor);
    }
}
