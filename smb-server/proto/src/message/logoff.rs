//! LOGOFF (MS-SMB2 2.2.7): no content either way.

super::empty_message! {
    /// LOGOFF request.
    LogoffRequest
}

super::empty_message! {
    /// LOGOFF response.
    LogoffResponse
}
