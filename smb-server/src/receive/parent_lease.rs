//! Directory leases: whoever caches a directory learns that an entry of it has changed (MS-SMB2 3.3.4.7).

use std::sync::Arc;

use persistence_model::{Command, FileKey, LeaseId};
use smb_backend::RelPath;

use crate::{
    state::{Server, Share},
    store::StoreExt as _,
};

/// Breaks the leases on the directory that holds `path`: an entry was added, removed, renamed or changed.
///
/// `by` is the client and the ParentLeaseKey of the open that did it; that lease stays. The change has happened already, so nobody waits: the
/// breaks are proposed behind the caller's back.
pub fn entry_changed(server: &Arc<Server>, share: &Share, path: &RelPath, by: Option<LeaseId>) {
    let Some(parent) = path.parent() else { return };
    let parent = parent.to_smb();
    // A directory that nobody has open cannot be cached: most changes end here, without a look at the disk.
    let cached: Vec<FileKey> = server.store.with_state(|state| {
        let mut keys: Vec<FileKey> = state
            .opens_of_path(share.share_id, &parent)
            .filter(|open| open.lease.is_some() && open.lease != by)
            .filter_map(|open| open.file)
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    });
    for parent in cached {
        let server = Arc::clone(server);
        tokio::spawn(async move {
            if let Err(refusal) = server.propose(Command::DirectoryChanged { parent, by }).await {
                tracing::debug!(because = refusal.because, "a directory lease is not broken");
            }
        });
    }
}
