//! Access masks: what is legal to ask, and what generic rights mean for files. Pure.

use smb_types::{AccessMask, NtStatus};

use crate::error::Refusal;

/// Bits that mean nothing in a DesiredAccess.
const UNDEFINED: AccessMask = AccessMask(0x0CE0_FE00);
/// GENERIC_READ of a file.
pub(super) const FILE_GENERIC_READ: AccessMask = AccessMask(0x0012_0089);
/// GENERIC_WRITE of a file.
pub(super) const FILE_GENERIC_WRITE: AccessMask = AccessMask(0x0012_0116);
/// GENERIC_EXECUTE of a file.
pub(super) const FILE_GENERIC_EXECUTE: AccessMask = AccessMask(0x0012_00A0);

/// Checks a DesiredAccess and replaces its generic rights. MAXIMUM_ALLOWED stays.
///
/// # Errors
/// ACCESS_DENIED.
// MS-SMB2 3.3.5.9
// A mask without a defined bit is refused.
pub(crate) fn resolve(desired: AccessMask) -> Result<AccessMask, Refusal> {
    if desired.is_empty() || desired.intersects(UNDEFINED) {
        return Err(Refusal::new(NtStatus::ACCESS_DENIED, "DesiredAccess has no, or undefined, bits"));
    }
    Ok(map_generic(desired))
}

/// Replaces generic rights by what they mean for files.
#[must_use]
pub(crate) fn map_generic(mask: AccessMask) -> AccessMask {
    let mut mapped =
        mask.without(AccessMask::GENERIC_ALL | AccessMask::GENERIC_EXECUTE | AccessMask::GENERIC_WRITE | AccessMask::GENERIC_READ);
    for (generic, specific) in [
        (AccessMask::GENERIC_READ, FILE_GENERIC_READ),
        (AccessMask::GENERIC_WRITE, FILE_GENERIC_WRITE),
        (AccessMask::GENERIC_EXECUTE, FILE_GENERIC_EXECUTE),
        (AccessMask::GENERIC_ALL, AccessMask::FILE_ALL),
    ] {
        if mask.contains(generic) {
            mapped |= specific;
        }
    }
    mapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_that_mean_nothing_are_refused() {
        for bad in [0, 0x200, 0x8000, 0x0020_0000, 0x0400_0000] {
            assert_eq!(resolve(AccessMask(bad)).unwrap_err().status, NtStatus::ACCESS_DENIED, "{bad:#x}");
        }
        assert_eq!(resolve(AccessMask::GENERIC_READ).unwrap(), FILE_GENERIC_READ);
        assert_eq!(resolve(AccessMask::MAXIMUM_ALLOWED).unwrap(), AccessMask::MAXIMUM_ALLOWED);
    }
}
