//! The witness interface as MS-SWN declares it: the parameters of its six methods, in and out, and the two structures in
//! them. The trait of a server, its stub and the calls of a client follow from the table at the end.
//!
//! It knows nothing of what the values mean; `interface` turns them into what the rest of the crate speaks of.

use dcerpc_rs::ndr::{Counted, FixedWide, NoParameters, Octets};
use dcerpc_rs::{ContextHandle, SyntaxId, Uuid};

/// The witness interface. The specification says 1.0, clients bind 1.1; both are served.
pub const WITNESS: SyntaxId = SyntaxId::new(Uuid::from_u128(0xccd8_c074_d0e5_4a40_92b4_d074_faa6_ba28), 1, 1);

dcerpc_rs::ndr_structures! {
    /// WITNESS_INTERFACE_INFO: 552 bytes in either transfer syntax.
    // MS-SWN 2.2.2.5
    pub struct WitnessInterfaceInfo {
        /// InterfaceGroupName; cut to 259 units.
        pub group_name: FixedWide<260>,
        /// Version.
        pub version: u32,
        /// State: 0 unknown, 1 available, 0xFF unavailable.
        pub state: u16,
        /// The IPv4 address in network order, if valid.
        pub ipv4: Octets<4, 4>,
        /// The IPv6 address in network order, if valid.
        pub ipv6: Octets<16, 2>,
        /// INTERFACE_WITNESS and which addresses are valid.
        pub flags: u32,
    }

    /// RESP_ASYNC_NOTIFY.
    // MS-SWN 2.2.2.4
    pub struct ResponseAsyncNotify {
        /// MessageType.
        pub message_type: u32,
        /// Length: bytes of the buffer.
        pub length: u32,
        /// NumberOfMessages.
        pub number_of_messages: u32,
        /// MessageBuffer: packed, not NDR.
        pub buffer: Option<Vec<u8>>,
    }
}

dcerpc_rs::ndr_parameters! {
    /// WitnessrGetInterfaceList, out.
    // MS-SWN 3.1.4.1
    pub struct InterfaceListAnswer {
        /// InterfaceList: WITNESS_INTERFACE_LIST; null with an error.
        pub interfaces: Option<Counted<WitnessInterfaceInfo>>,
        /// The return value.
        pub status: u32,
    }

    /// WitnessrRegister, in.
    // MS-SWN 3.1.4.2
    pub struct RegisterRequest {
        /// Version.
        pub version: u32,
        /// NetName.
        pub net_name: Option<String>,
        /// IpAddress.
        pub ip_address: Option<String>,
        /// ClientComputerName.
        pub client_name: Option<String>,
    }

    /// WitnessrRegisterEx, in.
    // MS-SWN 3.1.4.5
    pub struct RegisterExRequest {
        /// Version.
        pub version: u32,
        /// NetName.
        pub net_name: Option<String>,
        /// ShareName.
        pub share_name: Option<String>,
        /// IpAddress.
        pub ip_address: Option<String>,
        /// ClientComputerName.
        pub client_name: Option<String>,
        /// Flags.
        pub flags: u32,
        /// KeepAliveTimeout in seconds.
        pub keep_alive_s: u32,
    }

    /// WitnessrUnRegister, WitnessrAsyncNotify and WitnessrUnRegisterEx, in.
    // MS-SWN 3.1.4.3, 3.1.4.4, 3.1.4.6
    pub struct HandleRequest {
        /// The registration's context handle.
        pub handle: ContextHandle,
    }

    /// WitnessrRegister, WitnessrRegisterEx and WitnessrUnRegisterEx, out.
    pub struct HandleAnswer {
        /// The registration's context handle; null if there is none (any more).
        pub handle: ContextHandle,
        /// The return value.
        pub status: u32,
    }

    /// WitnessrUnRegister, out.
    pub struct StatusAnswer {
        /// The return value.
        pub status: u32,
    }

    /// WitnessrAsyncNotify, out.
    pub struct NotifyAnswer {
        /// pResp: null with an error.
        pub response: Option<ResponseAsyncNotify>,
        /// The return value.
        pub status: u32,
    }
}

dcerpc_rs::interface! {
    syntax: WITNESS;
    /// What a witness answers.
    server: pub WitnessServer;
    /// A witness as an interface of an RPC server.
    stub: pub WitnessStub;
    /// The calls of a witness.
    client: pub WitnessCalls;
    /// WitnessrGetInterfaceList.
    0 => interface_list(NoParameters) -> InterfaceListAnswer;
    /// WitnessrRegister.
    1 => register(RegisterRequest) -> HandleAnswer;
    /// WitnessrUnRegister.
    2 => unregister(HandleRequest) -> StatusAnswer;
    /// WitnessrAsyncNotify: stays pending until there is something to tell.
    3 => async_notify(HandleRequest) -> NotifyAnswer;
    /// WitnessrRegisterEx.
    4 => register_ex(RegisterExRequest) -> HandleAnswer;
    /// WitnessrUnRegisterEx.
    5 => unregister_ex(HandleRequest) -> HandleAnswer;
}
