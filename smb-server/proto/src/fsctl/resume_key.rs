//! FSCTL_SRV_REQUEST_RESUME_KEY (MS-SMB2 2.2.32.3).

use crate::wire::record;

record! {
    /// A key that names an open as the source of a copy.
    ResumeKeyResponse [32] {
        /// ResumeKey; ContextLength and context behind it are zero.
        resume_key: [u8; 24], pad 8;
    }
}
