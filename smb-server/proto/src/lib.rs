//! SMB2/3 messages: bytes to structs and back, both roles; pure.
