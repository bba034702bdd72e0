//! NDR 2.0, the transfer syntax: a reader and a writer of aligned values. They know nothing of any interface; who uses
//! them writes down the order of deferred pointers himself.

mod reader;
mod writer;

pub use reader::{NdrError, NdrReader};
pub use writer::NdrWriter;
