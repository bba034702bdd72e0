//! FileFullEaInformation: sets extended attributes (MS-FSA 2.1.5.15.5).

use std::sync::Arc;

use smb_backend::Ea;
use smb_proto::{info::full_ea, message::change_notify::CompletionFilter};
use smb_types::{AccessMask, NtStatus};

use crate::{
    blocking::blocking,
    error::Refusal,
    notify,
    receive::{RequestContext, io},
    state::Open,
};

/// STATUS_INVALID_EA_NAME.
const INVALID_EA_NAME: NtStatus = NtStatus(0x8000_0013);

/// Sets each attribute of the list; an empty value removes it.
pub(super) fn set(ctx: &RequestContext, open: &Arc<Open>, buffer: &[u8]) -> Result<(), Refusal> {
    let file = open.file_with(AccessMask::WRITE_EA)?;
    let eas = full_ea::decode_list(buffer)?.into_iter().map(backend_ea).collect::<Result<Vec<_>, _>>()?;
    io::still_ours(ctx, open)?;
    blocking(|| -> Result<(), Refusal> {
        file.set_eas(&eas)?;
        io::settle(open, file)
    })?;
    io::still_ours(ctx, open)?;
    notify::changed(&ctx.server, open, CompletionFilter::EA);
    Ok(())
}

// MS-FSCC 2.4.16
// Names are ASCII without control characters and separators.
fn backend_ea(ea: full_ea::FullEa) -> Result<Ea, Refusal> {
    let bad = |c: &u8| *c < 0x20 || *c > 0x7E || b"\"*+,/:;<=>?[\\]|".contains(c);
    if ea.name.is_empty() || ea.name.iter().any(bad) {
        return Err(Refusal::new(INVALID_EA_NAME, "not a name of an extended attribute"));
    }
    let name = String::from_utf8(ea.name).map_err(|_| Refusal::new(INVALID_EA_NAME, "not a name of an extended attribute"))?;
    Ok(Ea { name, value: ea.value })
}
