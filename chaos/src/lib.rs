//! Faults on real clusters, workloads, checkers: a client that behaves as a Windows client does.
//!
//! Knows no server internals: it speaks the wire, runs the program, and reads the admin API.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

pub mod client;
