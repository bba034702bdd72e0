//! What a server offers: interfaces and their calls. It knows nothing of connections; a call gets what it may know of
//! its connection as [`CallContext`]. The sub-modules are interfaces that file servers have besides their own.

pub mod srvsvc;
pub mod wkssvc;

use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::association::Association;
use crate::fault::Fault;
use crate::security::{AuthLevel, Identity};
use crate::syntax::SyntaxId;

/// What a call may know of its caller.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// Who calls; `None` if nobody was asked.
    pub identity: Option<Arc<Identity>>,
    /// How this very request was protected.
    pub auth_level: AuthLevel,
    /// The association group, with its context handles.
    pub association: Arc<Association>,
    /// Set when the caller cancelled or abandoned the call. The runtime also drops the call's future then, so only
    /// calls that hand work to others need to look at it.
    pub cancelled: CancellationToken,
    /// The object that the request names.
    pub object: Option<Uuid>,
    /// Where the client comes from.
    pub peer: Option<SocketAddr>,
    /// Which of our addresses it came to.
    pub local: Option<SocketAddr>,
}

/// A call under way: it may stay pending for hours, and is dropped when it is cancelled or its connection ends.
pub type CallFuture = BoxFuture<'static, Result<Vec<u8>, Fault>>;

/// One interface of a server.
pub trait Interface: Send + Sync {
    /// Its UUID and version.
    fn syntax(&self) -> SyntaxId;

    /// Executes one operation: request stub in, response stub out, both NDR 2.0.
    fn call(&self, opnum: u16, stub: Vec<u8>, context: CallContext) -> CallFuture;
}

/// The interfaces of one endpoint.
#[derive(Clone, Default)]
pub struct InterfaceSet {
    interfaces: Vec<Arc<dyn Interface>>,
}

impl InterfaceSet {
    /// No interface.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this one too.
    #[must_use]
    pub fn with(mut self, interface: Arc<dyn Interface>) -> Self {
        self.interfaces.push(interface);
        self
    }

    /// The interface that serves this syntax.
    pub fn find(&self, wanted: &SyntaxId) -> Option<Arc<dyn Interface>> {
        self.interfaces.iter().find(|interface| interface.syntax().serves(wanted)).cloned()
    }

    /// All syntaxes, in order.
    pub fn syntaxes(&self) -> impl Iterator<Item = SyntaxId> {
        self.interfaces.iter().map(|interface| interface.syntax())
    }
}

impl<T: Interface + 'static> From<T> for InterfaceSet {
    fn from(interface: T) -> Self {
        Self::new().with(Arc::new(interface))
    }
}
