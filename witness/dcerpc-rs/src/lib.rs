//! A DCE/RPC runtime: PDUs, NDR, associations, endpoint mapper, async server and client.
