//! The transfer syntaxes NDR 2.0 and NDR64: a reader and a writer of aligned values, and on top of them values that are
//! declared once ([`Ndr`], [`Parameters`]) and then written and read in either syntax, pointees in their order.
//!
//! It knows nothing of any interface, of calls or of connections.

mod counted;
mod declare;
mod fixed;
mod reader;
mod value;
mod writer;

pub use counted::Counted;
pub use fixed::{FixedWide, Octets};
pub use reader::{NdrError, NdrReader};
pub use value::{Ndr, NoParameters, Parameters};
pub use writer::NdrWriter;
