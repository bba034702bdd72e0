//! Share modes: may two opens of one file exist together (MS-FSA 2.1.5.1.2.2)?

use smb_types::{AccessMask, ShareAccess};

const READS: AccessMask = AccessMask(AccessMask::READ_DATA.0 | AccessMask::EXECUTE.0);
const WRITES: AccessMask = AccessMask(AccessMask::WRITE_DATA.0 | AccessMask::APPEND_DATA.0);
const COUNTED: AccessMask = AccessMask(READS.0 | WRITES.0 | AccessMask::DELETE.0);

/// Tells whether an access is one that `share` withholds.
fn denied(access: AccessMask, share: ShareAccess) -> bool {
    (access.intersects(READS) && !share.contains(ShareAccess::READ))
        || (access.intersects(WRITES) && !share.contains(ShareAccess::WRITE))
        || (access.contains(AccessMask::DELETE) && !share.contains(ShareAccess::DELETE))
}

/// Tells whether two opens exclude each other; symmetric.
// MS-FSA 2.1.5.1.2.2
// Opens that neither read, write nor delete are not counted at all.
pub(crate) fn conflict(a: (AccessMask, ShareAccess), b: (AccessMask, ShareAccess)) -> bool {
    a.0.intersects(COUNTED) && b.0.intersects(COUNTED) && (denied(a.0, b.1) || denied(b.0, a.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let (r, w, d) = (AccessMask::READ_DATA, AccessMask::WRITE_DATA, AccessMask::DELETE);
        assert!(!conflict((r, ShareAccess::READ), (r, ShareAccess::READ)));
        assert!(conflict((r, ShareAccess::READ), (w, ShareAccess::ALL)), "the old one does not share writing");
        assert!(conflict((w, ShareAccess::ALL), (r, ShareAccess::READ)), "and mirrored");
        assert!(conflict((d, ShareAccess::ALL), (r, ShareAccess(3))));
        assert!(!conflict((AccessMask::READ_ATTRIBUTES, ShareAccess::NONE), (w, ShareAccess::NONE)), "attribute access is not counted");
        assert!(conflict((AccessMask::EXECUTE, ShareAccess::ALL), (w, ShareAccess::WRITE)), "execute reads");
    }
}
