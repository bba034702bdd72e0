//! CANCEL (MS-SMB2 2.2.30): no content, and never a response.

super::empty_message! {
    /// CANCEL request.
    CancelRequest
}
