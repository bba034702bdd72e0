//! The workstation service (MS-WKST), as far as clients of a file server ask it: who the server is.

use std::sync::Arc;

use futures::FutureExt;
use uuid::uuid;

use super::srvsvc::ShareProvider;
use super::{CallContext, CallFuture, Interface};
use crate::fault::Fault;
use crate::ndr::{NdrReader, NdrWriter};
use crate::syntax::SyntaxId;

/// The interface.
pub const WKSSVC: SyntaxId = SyntaxId::new(uuid!("6bffd098-a112-3610-9833-46c3f87e345a"), 1, 0);

const PLATFORM_NT: u32 = 500;
const STATUS_OK: u32 = 0;
const STATUS_INVALID_LEVEL: u32 = 0x7C;

/// The workstation service over the same provider as the server service.
pub struct Wkssvc {
    provider: Arc<dyn ShareProvider>,
}

impl Wkssvc {
    /// Serves what the provider tells.
    pub fn new(provider: Arc<dyn ShareProvider>) -> Self {
        Self { provider }
    }

    // MS-WKST 3.2.4.1 NetrWkstaGetInfo
    fn information(&self, stub: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut reader = NdrReader::new(stub);
        let _server = reader.unique_wide_string()?;
        let level = reader.u32()?;
        let server = self.provider.server();
        let mut out = NdrWriter::new();
        out.u32(level);
        if !(100..=102).contains(&level) {
            if level == 502 {
                out.null();
            }
            out.u32(STATUS_INVALID_LEVEL);
            return Ok(out.finish());
        }
        out.referent();
        out.u32(PLATFORM_NT);
        out.referent();
        out.referent();
        out.u32(server.version.0);
        out.u32(server.version.1);
        if level >= 101 {
            out.referent();
        }
        if level == 102 {
            out.u32(0);
        }
        out.wide_string(&server.name);
        out.wide_string(&server.domain);
        if level >= 101 {
            out.wide_string("");
        }
        out.u32(STATUS_OK);
        Ok(out.finish())
    }
}

impl Interface for Wkssvc {
    fn syntax(&self) -> SyntaxId {
        WKSSVC
    }

    fn call(&self, opnum: u16, stub: Vec<u8>, _context: CallContext) -> CallFuture {
        let result = match opnum {
            0 => self.information(&stub),
            1..=30 => Err(Fault::ACCESS_DENIED),
            _ => Err(Fault::OPNUM_OUT_OF_RANGE),
        };
        std::future::ready(result).boxed()
    }
}
