//! What a server offers: interfaces and their calls. It knows nothing of connections; a call gets what it may know of
//! its connection as [`CallContext`]. The sub-modules are interfaces that file servers have besides their own.

mod declare;
pub mod mgmt;
pub mod srvsvc;
pub mod wkssvc;

use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use uuid::Uuid;

use crate::association::Association;
use crate::fault::Fault;
use crate::interruption::InterruptionWatch;
use crate::security::{AuthLevel, Identity};
use crate::syntax::{SyntaxId, TransferSyntax};

#[doc(hidden)]
pub use declare::dispatch;

/// What a call may know of its caller.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// Who calls; `None` if nobody was asked.
    pub identity: Option<Arc<Identity>>,
    /// How this very request was protected.
    pub auth_level: AuthLevel,
    /// The association group, with its context handles.
    pub association: Arc<Association>,
    /// In which transfer syntax the stubs of this call are.
    pub transfer: TransferSyntax,
    /// Tells when the client cancels or abandons the call, or the server goes away. The runtime then drops the call's
    /// future, unless the call says that it wants to answer itself.
    pub interruption: InterruptionWatch,
    /// The object that the request names.
    pub object: Option<Uuid>,
    /// Where the client comes from.
    pub peer: Option<SocketAddr>,
    /// Which of our addresses it came to.
    pub local: Option<SocketAddr>,
}

#[cfg(test)]
impl CallContext {
    /// A call of nobody, alone in its association, and what interrupts it.
    pub(crate) fn for_test(transfer: TransferSyntax) -> (Self, crate::interruption::Interrupter) {
        let groups = crate::association::AssociationGroups::new();
        let membership = groups.join(0, None, &crate::Limits::default()).unwrap();
        let (interrupter, interruption) = crate::interruption::Interrupter::new();
        let association = Arc::clone(&membership.association);
        let context = Self {
            identity: None,
            auth_level: AuthLevel::None,
            association,
            transfer,
            interruption,
            object: None,
            peer: None,
            local: None,
        };
        (context, interrupter)
    }
}

/// A call under way: it may stay pending for hours, and is dropped when it is cancelled or its connection ends.
pub type CallFuture = BoxFuture<'static, Result<Vec<u8>, Fault>>;

/// One interface of a server.
pub trait Interface: Send + Sync {
    /// Its UUID and version.
    fn syntax(&self) -> SyntaxId;

    /// True if its stubs may be in this transfer syntax.
    fn speaks(&self, transfer: TransferSyntax) -> bool {
        transfer == TransferSyntax::Ndr20
    }

    /// Executes one operation: request stub in, response stub out, both in the transfer syntax of the context.
    fn call(&self, opnum: u16, stub: Vec<u8>, context: CallContext) -> CallFuture;
}

/// The interfaces of one endpoint.
#[derive(Clone, Default)]
pub struct InterfaceSet {
    interfaces: Arc<[Arc<dyn Interface>]>,
    preferred: TransferSyntax,
}

impl InterfaceSet {
    /// No interface.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this one too.
    #[must_use]
    pub fn with(mut self, interface: Arc<dyn Interface>) -> Self {
        self.interfaces = self.interfaces.iter().cloned().chain([interface]).collect();
        self
    }

    /// With this transfer syntax wherever a client leaves the choice; without it NDR 2.0.
    #[must_use]
    pub fn preferring(mut self, transfer: TransferSyntax) -> Self {
        self.preferred = transfer;
        self
    }

    /// The transfer syntax for a client that leaves the choice.
    pub fn preferred(&self) -> TransferSyntax {
        self.preferred
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
