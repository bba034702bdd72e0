//! The witness service (MS-SWN): tells clients at once that their node died or that they should move.
//!
//! It is fed from outside: a [`ClusterView`] says what the cluster looks like, [`WitnessService::raise`] says what has
//! happened. It knows nothing of SMB, of the store, or of how a node's death is found out.
//!
//! Reading order: `cluster` (what it is told), `status` and `message` (the words of the protocol), `declaration` (the
//! interface as it travels), `interface` (between the two), `table` (pure: who is told what, and when), `service` (the table with clocks and waiting calls),
//! `server` and `client` (both ends of the wire), `security` (NTLM for dcerpc-rs), `kerberos` (the same; with the feature `krb5`).
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests stop at the first surprise"))]

pub mod cluster;
pub mod message;
pub mod status;

pub mod declaration;
pub mod interface;
pub mod table;

pub mod client;
#[cfg(feature = "krb5")]
pub mod kerberos;
pub mod security;
pub mod server;
pub mod service;

pub use client::{WitnessClient, WitnessError};
pub use cluster::{ClusterEvent, ClusterView, Interface, InterfaceState, Share};
#[cfg(feature = "krb5")]
pub use kerberos::{KerberosContext, KerberosSecurity};
pub use message::{Address, Notification, ResourceChange, ResourceState};
pub use security::{LogonWatch, NtlmInitiator, NtlmSecurity};
pub use server::{WITNESS, serve, serve_mapper};
pub use service::WitnessService;
pub use status::Status;
