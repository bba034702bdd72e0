//! Who may do what to which object: every right that a request needs is decided here, from MS-FSA and MS-DTYP, for the object itself, for the
//! directory that holds it, and for what it replaces.
//!
//! The file system under a share is behind [`Names`], which takes no path: only what [`Asker`] has decided opens, makes, renames, links or
//! removes anything. An open file gives its descriptor to who names the right that its open must have ([`crate::state::Open::file_with`]).
//! Knows nothing of messages, share modes, leases and records; tokens are made from the records by [`token`].

mod ask;
mod descriptor;
mod identity;
mod inherit;
mod mask;
mod names;
mod posix;
mod share;
pub mod share_acl;
pub mod token;

pub(crate) use ask::{Asker, Intent, New, Occupant};
pub(crate) use descriptor::merge;
pub(crate) use identity::Accounts;
pub(crate) use mask::{map_generic, resolve};
pub(crate) use names::{Allowed, MayCreate, MayLink, MayRename, MayRenameStream, Names, Reached, Unproven};
pub(crate) use share::ShareRules;
pub use token::{Privileges, Token};
