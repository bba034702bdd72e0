//! A named pipe opened over IPC$. What is behind it is made when it is first used: see `crate::pipe`.

use std::{fmt, sync::OnceLock};

use dcerpc_rs::PipeAssociation;

/// One open pipe instance. The RPC service behind it is chosen by `name`.
#[derive(Default)]
pub struct Pipe {
    /// `srvsvc`, `wkssvc`, `epmapper`.
    pub name: String,
    /// Bytes in, bytes out.
    pub(crate) association: OnceLock<PipeAssociation>,
}

impl Pipe {
    /// A fresh instance.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), association: OnceLock::new() }
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe").field("name", &self.name).finish_non_exhaustive()
    }
}
