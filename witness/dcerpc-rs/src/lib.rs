//! A DCE/RPC runtime of its own: PDUs, NDR 2.0 and NDR64, associations, security trailers, endpoint mapper, a server over TCP
//! and over SMB pipes, and a client.
//!
//! It knows nothing of SMB, of the witness, or of any security package: interfaces come in through [`Interface`],
//! authentication through [`SecurityProvider`] and [`SecurityContext`].
//!
//! An interface is declared once, with [`ndr_structures!`], [`ndr_unions!`], [`ndr_parameters!`] and [`interface!`]; the
//! server's trait, its stub and the client's calls follow from that.
//!
//! Reading order: `syntax` and `pdu` (bytes), `ndr` (stubs), `security` (the seam to the packages), `association`
//! (groups and context handles), `connection` (the sans-io state machine of one connection), then what drives it:
//! `server` (TCP), `pipe` (SMB named pipes), `client`; at last the interfaces that every RPC server has.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests stop at the first surprise"))]

pub mod fault;
pub mod limits;
pub mod ndr;
pub mod pdu;
pub mod syntax;

mod budget;

pub mod association;
pub mod connection;
pub mod interface;
pub mod interruption;
pub mod security;

pub mod client;
pub mod epm;
pub mod pipe;
pub mod server;

pub use association::{Association, AssociationGroups, ContextHandle};
pub use client::{Client, ClientConfig, ClientError, ClientSecurity};
pub use epm::EndpointMap;
pub use fault::Fault;
pub use interface::{CallContext, CallFuture, Interface, InterfaceSet};
pub use interruption::{Interrupter, Interruption, InterruptionWatch};
pub use limits::Limits;
pub use pipe::{PipeAssociation, PipeRead};
pub use security::{AuthLevel, Identity, SecurityContext, SecurityError, SecurityProvider, Step};
pub use server::serve;
pub use syntax::{SyntaxId, TransferSyntax};
pub use uuid::Uuid;
