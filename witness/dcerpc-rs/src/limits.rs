//! Every limit of the runtime in one place. It decides nothing; the places that apply a limit name it.

use std::time::Duration;

/// Limits of one server: what a peer may make us keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections that one listener holds at the same time.
    pub connections_max: usize,
    /// Connections of one client address; more are closed as soon as they are accepted.
    pub connections_per_peer_max: usize,
    /// Connections that have not finished their bind; beyond it the oldest such connection is dropped.
    pub half_open_max: usize,
    /// How long a connection may take until its bind (with its security legs) is complete.
    pub bind_timeout: Duration,
    /// How long a connection may stay silent on which nobody has authenticated, no call waits and no context handle is
    /// open: such connections are worth nothing to their client and would fill the server up.
    pub idle_timeout: Duration,
    /// How long a request may take from its first fragment to its last.
    pub request_timeout: Duration,
    /// How long calls may take to end when the server shuts down, and again how long their answers may take to go out.
    pub shutdown_timeout: Duration,
    /// How long a peer may refuse to take bytes that are waiting for it.
    pub write_timeout: Duration,
    /// Calls of one connection that may be unanswered at the same time.
    pub calls_max: usize,
    /// Bytes of one request's stub after reassembly.
    pub stub_bytes_max: usize,
    /// Fragments of one request, so that empty ones have an end too.
    pub fragments_max: usize,
    /// Bytes of the stubs of all requests of a server that are being received or executed. Callers that have not
    /// authenticated get half of it.
    pub stub_bytes_total_max: usize,
    /// Security contexts of one connection.
    pub security_contexts_max: usize,
    /// Presentation contexts of one connection.
    pub contexts_max: usize,
    /// Context handles of one association group.
    pub context_handles_max: usize,
    /// Association groups of one server.
    pub association_groups_max: usize,
    /// Bytes waiting for a slow reader before we stop reading from it.
    pub output_bytes_max: usize,
    /// Our own fragment size, offered in the bind.
    pub fragment_bytes: u16,
}

/// Fragment size on TCP, as Windows and Samba offer it.
pub const FRAGMENT_BYTES_TCP: u16 = 5840;
/// Fragment size on pipes.
pub const FRAGMENT_BYTES_PIPE: u16 = 4280;
/// The smallest fragment size that a peer may insist on.
pub const FRAGMENT_BYTES_MIN: u16 = 2048;

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            connections_per_peer_max: 4_096,
            half_open_max: 1_024,
            bind_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(300),
            request_timeout: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(1),
            write_timeout: Duration::from_secs(60),
            calls_max: 64,
            stub_bytes_max: 4 << 20,
            fragments_max: 16_384,
            stub_bytes_total_max: 256 << 20,
            security_contexts_max: 16,
            contexts_max: 64,
            context_handles_max: 1_024,
            association_groups_max: 32_768,
            output_bytes_max: 1 << 20,
            fragment_bytes: FRAGMENT_BYTES_TCP,
        }
    }
}

impl Limits {
    /// The limits for a named pipe: the same, with the pipe's smaller fragments and fewer calls.
    pub fn for_pipe() -> Self {
        Self { fragment_bytes: FRAGMENT_BYTES_PIPE, calls_max: 16, ..Self::default() }
    }
}
