//! TREE_DISCONNECT (MS-SMB2 2.2.11): no content either way.

super::empty_message! {
    /// TREE_DISCONNECT request.
    TreeDisconnectRequest
}

super::empty_message! {
    /// TREE_DISCONNECT response.
    TreeDisconnectResponse
}
