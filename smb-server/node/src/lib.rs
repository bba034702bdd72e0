//! The Holdfast program as a library: daemon, demo cluster, operator's commands, admin API.
//!
//! Binds the rooms together: records (`persistence`), SMB service (`smb-server`), witness, file systems. Decides nothing about opens, locks or leases.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

pub mod admin;
pub mod audit;
pub mod bind;
pub mod cli;
pub mod client;
pub mod cluster_view;
pub mod command;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod descriptors;
pub mod doors;
pub mod failure;
pub mod identity;
pub mod kerberos;
pub mod life;
pub mod peer;
pub mod principal;
pub mod registrations;
pub mod replication;
pub mod rpc_logons;
pub mod secret;
pub mod store_adapter;
pub mod words;

pub use failure::Failure;
pub use smb_server::rate_limit;
