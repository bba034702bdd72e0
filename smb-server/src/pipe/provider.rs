//! What the RPC services tell of shares and server: the records, as clients may see them.

use std::sync::Arc;

use dcerpc_rs::{
    Identity,
    interface::srvsvc::{
        SHARE_FLAG_ACCESS_BASED_ENUMERATION, SHARE_FLAG_CONTINUOUS_AVAILABILITY, SHARE_FLAG_ENCRYPT_DATA, SHARE_TYPE_DISK, SHARE_TYPE_IPC,
        ServerIdentity, ShareInfo, ShareProvider,
    },
};

use crate::{
    access::share_acl::ShareAcl,
    state::Server,
    store::{Store, StoreExt as _},
};

/// The version of Windows that clients take us for.
const VERSION: (u32, u32) = (10, 0);

/// Shares and names.
pub(super) struct Provider {
    store: Arc<dyn Store>,
    name: String,
    domain: String,
}

impl Provider {
    /// What this server tells.
    pub(super) fn new(server: &Server) -> Self {
        Self {
            store: Arc::clone(&server.store),
            name: server.config.server_name.to_uppercase(),
            domain: server.config.domain_name.to_uppercase(),
        }
    }
}

impl ShareProvider for Provider {
    fn server(&self) -> ServerIdentity {
        ServerIdentity { name: self.name.clone(), domain: self.domain.clone(), comment: "Holdfast".to_owned(), version: VERSION }
    }

    fn shares(&self, _caller: Option<&Identity>) -> Vec<ShareInfo> {
        let mut shares: Vec<ShareInfo> = self.store.with_state(|state| state.shares().map(info).collect());
        shares.sort_by_key(|share| share.name.to_uppercase());
        shares.push(ShareInfo {
            name: "IPC$".to_owned(),
            share_type: SHARE_TYPE_IPC,
            remark: "IPC Service (Holdfast)".to_owned(),
            path: String::new(),
            max_uses: u32::MAX,
            ..ShareInfo::default()
        });
        shares
    }
}

fn info(share: &persistence_model::Share) -> ShareInfo {
    let mut flags = 0;
    if share.settings.ca {
        flags |= SHARE_FLAG_CONTINUOUS_AVAILABILITY;
    }
    if share.settings.encrypt {
        flags |= SHARE_FLAG_ENCRYPT_DATA;
    }
    if share.settings.access_based_enumeration {
        flags |= SHARE_FLAG_ACCESS_BASED_ENUMERATION;
    }
    // What makes no sense is told as it is stored.
    let stored = share.settings.security.clone();
    let descriptor = ShareAcl::decode(stored.as_deref()).map_or(stored, |acl| Some(acl.to_bytes()));
    ShareInfo {
        name: share.name.clone(),
        share_type: SHARE_TYPE_DISK,
        remark: share.settings.comment.clone(),
        // Where the directory really is does not concern clients.
        path: format!("C:\\{}", share.name),
        max_uses: u32::MAX,
        current_uses: 0,
        flags,
        security_descriptor: descriptor,
    }
}
