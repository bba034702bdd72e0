//! Self-relative security descriptors (MS-DTYP 2.4). Bytes only: who may do what is decided elsewhere.

pub mod ace;
pub mod acl;
pub mod descriptor;

pub use ace::{Ace, AceFlags, AceKind};
pub use acl::Acl;
pub use descriptor::{SecurityControl, SecurityDescriptor, SecurityInformation};
