//! A named pipe opened over IPC$: messages in, messages out.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// One open pipe instance. The RPC server behind it is chosen by `name`.
#[derive(Debug, Default)]
pub struct Pipe {
    /// `srvsvc`, `wkssvc`.
    pub name: String,
    /// Bytes that the service has answered and the client has not read; one entry per message.
    pub output: Mutex<VecDeque<Vec<u8>>>,
    /// Wakes a READ that waits for `output`.
    pub readable: Notify,
    /// Bytes of a request that is not complete yet.
    pub input: Mutex<Vec<u8>>,
}

impl Pipe {
    /// A fresh instance.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}
