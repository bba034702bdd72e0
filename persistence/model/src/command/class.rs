//! Which commit class a command needs. Ask: is it a promise (a forgotten open is a broken one) or a release (a forgotten close times out)?

use super::{Command, DisconnectReason, ReclaimKind, RequestedDurability};
use crate::class::Class;
use crate::id::OpenId;
use crate::state::State;

impl Command {
    /// The class of commit that the answer to this command must wait for.
    #[must_use]
    pub fn class(&self, state: &State) -> Class {
        let of_open = |id: &OpenId| state.open(*id).map_or(Class::Volatile, |o| o.class);
        match self {
            Self::ClusterInit { .. } | Self::NodeJoin { .. } | Self::NodeDown { .. } | Self::NodeDrain { .. } | Self::NodeRemove { .. } => {
                Class::Persistent
            }
            Self::ShareAdd { .. } | Self::ShareChange { .. } | Self::ShareRemove { .. } => Class::Persistent,
            Self::UserAdd { .. } | Self::UserSetPassword { .. } | Self::UserEnable { .. } | Self::UserRemove { .. } => Class::Persistent,
            Self::TokenAdd { .. } | Self::TokenUse { .. } => Class::Persistent,
            Self::OpenFile(r) | Self::ReserveOpen(r) => match r.durability {
                RequestedDurability::Persistent { .. } if state.share(r.share).is_some_and(|s| s.settings.ca) => Class::Persistent,
                RequestedDurability::None => Class::Volatile,
                RequestedDurability::V1 | RequestedDurability::V2 { .. } | RequestedDurability::Persistent { .. } => Class::Durable,
            },
            Self::ConfirmOpen { open, .. }
            | Self::Lock { open, .. }
            | Self::Unlock { open, .. }
            | Self::RenameIntent { open, .. }
            | Self::RenameDone { open, .. }
            | Self::SetOpenClass { open, .. }
            | Self::EndReplay { open, .. } => of_open(open),
            // A delete on a continuously available share is a change of the name space that its reply promises.
            Self::SetDeletePending { open, .. } => match state.open(*open).and_then(|o| state.share(o.share)) {
                Some(s) if s.settings.ca => Class::Persistent,
                _ => of_open(open),
            },
            // Forgotten, the handle's old timer would run on and end it too early.
            Self::ReclaimOpen(r) => match r.kind {
                ReclaimKind::V2 { create_guid, .. } => {
                    state.opens_by_create_guid(create_guid).map(|o| o.class).max().unwrap_or(Class::Volatile).max(of_open(&r.open))
                }
                ReclaimKind::V1 => of_open(&r.open),
            },
            Self::SetResilient { open, .. } => of_open(open).max(Class::Durable),
            Self::DisconnectOpens {
                why: DisconnectReason::ConnectionLost | DisconnectReason::Logoff | DisconnectReason::TreeDisconnect(_),
                ..
            } => Class::Volatile,
            Self::SessionOpen { .. } | Self::AbortOpen { .. } | Self::CloseOpen { .. } | Self::DeleteDone { .. } => Class::Volatile,
            Self::BreakForIo { .. } | Self::LeaseAck { .. } | Self::OplockAck { .. } | Self::BreakUndeliverable { .. } => Class::Volatile,
            Self::DirectoryChanged { .. } | Self::Expire => Class::Volatile,
        }
    }
}
