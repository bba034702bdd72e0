//! Receiving (MS-SMB2 3.3.5): a file per message. This one only dispatches; `message` takes a whole message through the checks of 3.3.5.2.

pub mod cancel;
pub mod change_notify;
pub mod close;
pub mod context;
pub mod create;
pub mod echo;
pub mod flush;
mod io;
pub mod ioctl;
pub mod lock;
pub mod logoff;
pub mod message;
pub mod negotiate;
pub mod oplock_break;
pub mod parent_lease;
pub mod query_directory;
pub mod query_info;
pub mod read;
pub mod session_setup;
pub mod set_info;
pub mod tree_connect;
pub mod tree_disconnect;
pub mod wait;
pub mod write;

use smb_proto::Command;

pub use context::RequestContext;

use crate::{error::Refusal, send::Response};

/// Hands a request that has passed all checks to its handler.
pub(crate) async fn dispatch(ctx: &mut RequestContext) -> Result<Response, Refusal> {
    match ctx.header.command {
        Command::SessionSetup => session_setup::handle(ctx).await,
        Command::Logoff => logoff::handle(ctx).await,
        Command::TreeConnect => tree_connect::handle(ctx).await,
        Command::TreeDisconnect => tree_disconnect::handle(ctx).await,
        Command::Create => create::handle(ctx).await,
        Command::Close => close::handle(ctx).await,
        Command::Flush => flush::handle(ctx).await,
        Command::Read => read::handle(ctx).await,
        Command::Write => write::handle(ctx).await,
        Command::Lock => lock::handle(ctx).await,
        Command::Ioctl => ioctl::handle(ctx).await,
        Command::Echo => echo::handle(ctx).await,
        Command::QueryDirectory => query_directory::handle(ctx).await,
        Command::ChangeNotify => change_notify::handle(ctx).await,
        Command::QueryInfo => query_info::handle(ctx).await,
        Command::SetInfo => set_info::handle(ctx).await,
        Command::OplockBreak => oplock_break::handle(ctx).await,
        Command::Negotiate => Err(ctx.disconnect("a second NEGOTIATE")),
        Command::Cancel => Err(ctx.disconnect("CANCEL inside a compound")),
        Command::ServerToClientNotification | Command::Unknown => Err(Refusal::invalid("not a client's command")),
    }
}
