//! ECHO (MS-SMB2 2.2.28): no content either way.

super::empty_message! {
    /// ECHO request.
    EchoRequest
}

super::empty_message! {
    /// ECHO response.
    EchoResponse
}
