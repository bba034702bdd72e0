//! A DCE/RPC runtime of its own: PDUs, NDR 2.0 and NDR64, associations, security trailers, endpoint mapper, a server over TCP
//! and over SMB pipes, and a client.
//!
//! It knows nothing of SMB, of the witness, or of any security package: interfaces come in through [`Interface`],
//! authentication through [`SecurityProvider`] and [`SecurityContext`].
//!
//! An interface is declared once, with [`ndr_structures!`], [`ndr_unions!`], [`ndr_parameters!`] and [`interface!`]; the
//! server's trait, its stub and the client's calls follow from that:
//!
//! ```
//! use std::sync::Arc;
//! use dcerpc_rs::{CallContext, Client, Fault, InterfaceSet, Limits, SyntaxId, Uuid, serve};
//!
//! const GREETER: SyntaxId = SyntaxId::new(Uuid::from_u128(0x6772_6565_7465_7200), 1, 0);
//!
//! dcerpc_rs::ndr_parameters! {
//!     /// Whom to greet.
//!     pub struct Name {
//!         /// His name; a unique pointer to a wide string.
//!         pub name: Option<String>,
//!     }
//!
//!     /// What to say.
//!     pub struct Greeting {
//!         /// The text.
//!         pub text: Option<String>,
//!         /// A Win32 code.
//!         pub status: u32,
//!     }
//! }
//!
//! dcerpc_rs::interface! {
//!     syntax: GREETER;
//!     /// Who greets.
//!     server: pub GreeterServer;
//!     /// Who greets, as an interface.
//!     stub: pub GreeterStub;
//!     /// Calls of who greets.
//!     client: pub GreeterCalls;
//!     /// Greets somebody.
//!     0 => greet(Name) -> Greeting;
//! }
//!
//! struct Polite;
//!
//! impl GreeterServer for Polite {
//!     async fn greet(self: Arc<Self>, request: Name, _context: CallContext) -> Result<Greeting, Fault> {
//!         let name = request.name.ok_or(Fault::BAD_STUB_DATA)?;
//!         Ok(Greeting { text: Some(format!("Good morning, {name}")), status: 0 })
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let address = listener.local_addr()?;
//! let interfaces = InterfaceSet::from(GreeterStub(Arc::new(Polite)));
//! let cancel = tokio_util::sync::CancellationToken::new();
//! tokio::spawn(serve(listener, interfaces, None, Limits::default(), cancel));
//!
//! let calls = GreeterCalls(Client::connect(address, GREETER, None).await?);
//! let greeting = calls.greet(&Name { name: Some("Ada".into()) }).await?;
//! assert_eq!(greeting.text.as_deref(), Some("Good morning, Ada"));
//! # Ok(())
//! # }
//! ```
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
mod few;

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
