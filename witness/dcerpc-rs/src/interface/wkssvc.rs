//! The workstation service (MS-WKST), as far as clients of a file server ask it: who the server is.

use std::sync::Arc;

use uuid::uuid;

use super::srvsvc::ShareProvider;
use super::{CallContext, CallFuture, Interface};
use crate::fault::Fault;
use crate::syntax::{SyntaxId, TransferSyntax};

/// The interface.
pub const WKSSVC: SyntaxId = SyntaxId::new(uuid!("6bffd098-a112-3610-9833-46c3f87e345a"), 1, 0);

const PLATFORM_NT: u32 = 500;
const STATUS_OK: u32 = 0;
const STATUS_INVALID_LEVEL: u32 = 0x7C;

crate::ndr_structures! {
    /// WKSTA_INFO_100.
    // MS-WKST 2.2.5.1
    pub struct WorkstationInfo100 {
        /// Kind of platform.
        pub platform: u32,
        /// The computer's name.
        pub name: Option<String>,
        /// Its domain.
        pub domain: Option<String>,
        /// Major version.
        pub version_major: u32,
        /// Minor version.
        pub version_minor: u32,
    }

    /// WKSTA_INFO_101.
    // MS-WKST 2.2.5.2
    pub struct WorkstationInfo101 {
        /// All of level 100.
        pub workstation: WorkstationInfo100,
        /// Not used.
        pub lan_root: Option<String>,
    }

    /// WKSTA_INFO_102.
    // MS-WKST 2.2.5.3
    pub struct WorkstationInfo102 {
        /// All of level 101.
        pub workstation: WorkstationInfo101,
        /// How many users are logged on.
        pub logged_on_users: u32,
    }
}

crate::ndr_unions! {
    /// WKSTA_INFO.
    // MS-WKST 2.2.4.1
    pub enum WorkstationDetail(default: true) {
        /// See [`WorkstationInfo100`].
        100 => Level100(Option<WorkstationInfo100>),
        /// See [`WorkstationInfo101`].
        101 => Level101(Option<WorkstationInfo101>),
        /// See [`WorkstationInfo102`].
        102 => Level102(Option<WorkstationInfo102>),
        /// Not told.
        502 => Level502(Option<u32>),
    }
}

crate::ndr_parameters! {
    /// NetrWkstaGetInfo, in.
    // MS-WKST 3.2.4.1
    pub struct WorkstationInfoRequest {
        /// The server that is asked; not looked at.
        pub server_name: Option<String>,
        /// The level.
        pub level: u32,
    }

    /// NetrWkstaGetInfo, out.
    pub struct WorkstationInfoAnswer {
        /// The workstation.
        pub workstation: WorkstationDetail,
        /// A Win32 code.
        pub status: u32,
    }
}

crate::interface! {
    syntax: WKSSVC;
    /// What a workstation service answers.
    server: pub WkssvcServer;
    /// The workstation service as an interface.
    stub: pub WkssvcStub;
    /// Calls of the workstation service.
    client: pub WkssvcCalls;
    /// NetrWkstaGetInfo.
    0 => information(WorkstationInfoRequest) -> WorkstationInfoAnswer;
}

/// The workstation service over the same provider as the server service.
pub struct Wkssvc {
    stub: WkssvcStub<Service>,
}

impl Wkssvc {
    /// Serves what the provider tells.
    pub fn new(provider: Arc<dyn ShareProvider>) -> Self {
        Self { stub: WkssvcStub(Arc::new(Service { provider })) }
    }
}

impl Interface for Wkssvc {
    fn syntax(&self) -> SyntaxId {
        self.stub.syntax()
    }

    fn speaks(&self, transfer: TransferSyntax) -> bool {
        self.stub.speaks(transfer)
    }

    fn call(&self, opnum: u16, stub: Vec<u8>, context: CallContext) -> CallFuture {
        self.stub.call(opnum, stub, context)
    }
}

struct Service {
    provider: Arc<dyn ShareProvider>,
}

impl WkssvcServer for Service {
    async fn information(self: Arc<Self>, request: WorkstationInfoRequest, _context: CallContext) -> Result<WorkstationInfoAnswer, Fault> {
        let server = self.provider.server();
        let workstation = WorkstationInfo100 {
            platform: PLATFORM_NT,
            name: Some(server.name),
            domain: Some(server.domain),
            version_major: server.version.0,
            version_minor: server.version.1,
        };
        let level_101 = |workstation| WorkstationInfo101 { workstation, lan_root: Some(String::new()) };
        let workstation = match request.level {
            100 => WorkstationDetail::Level100(Some(workstation)),
            101 => WorkstationDetail::Level101(Some(level_101(workstation))),
            102 => {
                let workstation = level_101(workstation);
                WorkstationDetail::Level102(Some(WorkstationInfo102 { workstation, logged_on_users: 0 }))
            }
            502 => return Ok(not_told(WorkstationDetail::Level502(None))),
            unknown => return Ok(not_told(WorkstationDetail::Unknown(unknown))),
        };
        Ok(WorkstationInfoAnswer { workstation, status: STATUS_OK })
    }

    fn other(&self, opnum: u16) -> Fault {
        if (1..=30).contains(&opnum) { Fault::ACCESS_DENIED } else { Fault::OPNUM_OUT_OF_RANGE }
    }
}

fn not_told(workstation: WorkstationDetail) -> WorkstationInfoAnswer {
    WorkstationInfoAnswer { workstation, status: STATUS_INVALID_LEVEL }
}
