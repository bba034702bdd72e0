//! Presentation contexts: which interfaces a client may call on this connection, and in which transfer syntax.

use super::{Connection, Presentation};
use crate::interface::Interface;
use crate::pdu::{ContextElement, ContextResult, Reason};
use crate::syntax::TransferSyntax;

/// Bind-time feature: several security contexts on one connection.
// MS-RPCE 2.2.2.14
const SECURITY_CONTEXT_MULTIPLEXING: u16 = 1;
/// Bind-time feature: an orphaned call does not end its connection.
const KEEP_CONNECTION_ON_ORPHAN: u16 = 2;
/// The features that we have.
const FEATURES: u16 = SECURITY_CONTEXT_MULTIPLEXING | KEEP_CONNECTION_ON_ORPHAN;

/// True if no answer could make sense of these elements: none, one without a transfer syntax, or bind-time features twice.
pub(super) fn are_contradictory(elements: &[ContextElement]) -> bool {
    let features = elements.iter().filter(|element| features_of(element).is_some()).count();
    features > 1 || elements.iter().any(|element| element.transfer_syntaxes.is_empty())
}

impl Connection {
    // MS-RPCE 3.3.1.5.6: one result per element, in order; one transfer syntax of each is chosen.
    pub(super) fn negotiate_contexts(&mut self, elements: &[ContextElement]) -> Vec<ContextResult> {
        (0..elements.len()).map(|index| self.negotiate_context(index, elements)).collect()
    }

    /// True if a context that exists is asked for with another interface, or with another syntax that we speak and not
    /// with its own.
    pub(super) fn redefines_contexts(&self, elements: &[ContextElement]) -> bool {
        elements.iter().any(|element| {
            let known = self.contexts.get(&element.context_id);
            let speaks_other = TransferSyntax::ALL.into_iter().any(|transfer| offers(element, transfer));
            known.is_some_and(|known| {
                let same = known.interface.syntax().serves(&element.abstract_syntax);
                !same || (!offers(element, known.transfer) && speaks_other)
            })
        })
    }

    fn negotiate_context(&mut self, index: usize, elements: &[ContextElement]) -> ContextResult {
        let element = &elements[index];
        if let Some(features) = features_of(element) {
            return ContextResult::features(features & FEATURES);
        }
        let Some(interface) = self.config.interfaces.find(&element.abstract_syntax) else {
            return ContextResult::refused(Reason::ABSTRACT_SYNTAX);
        };
        let Some(transfer) = self.choose_transfer(index, elements, interface.as_ref()) else {
            return ContextResult::refused(Reason::TRANSFER_SYNTAXES);
        };
        if let Some(known) = self.contexts.get(&element.context_id) {
            let same = known.interface.syntax() == interface.syntax() && offers(element, known.transfer);
            return if same { ContextResult::accepted(known.transfer.id()) } else { ContextResult::refused(Reason::NONE) };
        }
        if self.contexts.len() >= self.config.limits.contexts_max {
            return ContextResult::refused(Reason::LOCAL_LIMIT);
        }
        self.contexts.insert(element.context_id, Presentation { interface, transfer });
        ContextResult::accepted(transfer.id())
    }

    /// Clients offer the transfer syntaxes of one interface as several elements and want one of them accepted: the one
    /// that we prefer if it is offered anywhere, the first one otherwise.
    fn choose_transfer(&self, index: usize, elements: &[ContextElement], interface: &dyn Interface) -> Option<TransferSyntax> {
        let element = &elements[index];
        let siblings = || elements.iter().filter(|other| other.abstract_syntax == element.abstract_syntax);
        let spoken = |transfer: &TransferSyntax| interface.speaks(*transfer) && siblings().any(|other| offers(other, *transfer));
        let preferred = Some(self.config.interfaces.preferred()).filter(spoken);
        let transfer = preferred.or_else(|| TransferSyntax::ALL.into_iter().find(spoken))?;
        let first = elements.iter().position(|other| other.abstract_syntax == element.abstract_syntax && offers(other, transfer));
        (first == Some(index)).then_some(transfer)
    }
}

fn offers(element: &ContextElement, transfer: TransferSyntax) -> bool {
    element.transfer_syntaxes.contains(&transfer.id())
}

/// The bind-time features that this element asks for, if it is not about an interface.
// MS-RPCE 3.3.1.5.3
fn features_of(element: &ContextElement) -> Option<u16> {
    let bits = element.transfer_syntaxes.first()?.bind_time_features()?;
    Some(u16::try_from(bits & u64::from(u16::MAX)).expect("masked to 16 bits"))
}
