//! Direct TCP (MS-SMB2 2.1): accepting connections and reading messages off them.

pub mod listener;
pub(crate) mod reader;

pub use listener::{listen, serve};
pub use reader::SMALL_BYTES;
