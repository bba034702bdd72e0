//! Faults on real clusters, workloads, checkers: a client that behaves as a Windows client does.
//!
//! Reading order: `client` (SMB and witness), `cluster` (real processes), `checker` (pure: what must hold), then the programs made of them.
//! Knows no server internals: it speaks the wire, runs the program, and reads the admin API.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

pub mod cli;
pub mod rng;
pub mod stats;

pub mod client;
pub mod cluster;

pub mod checker;
pub mod simulation;

pub mod bench;
pub mod conformance;
pub mod failover;
pub mod garbage;
pub mod probe;
pub mod storm;
