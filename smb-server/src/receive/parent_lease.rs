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
    entries_changed(server, share, &[path], by);
}

/// The same for several entries that one operation has changed: their directories' leases are broken in this order.
pub fn entries_changed(server: &Arc<Server>, share: &Share, paths: &[&RelPath], by: Option<LeaseId>) {
    // A directory that nobody has open cannot be cached: most changes end here, without a look at the disk.
    let mut cached: Vec<FileKey> = Vec::new();
    server.store.with_state(|state| {
        for parent in paths.iter().filter_map(|path| path.parent()) {
            let parent = parent.to_smb();
            let opens = state.opens_of_path(share.share_id, &parent);
            let leased = opens.filter(|open| open.lease.is_some_and(|lease| by.is_none_or(|by| by.key != lease.key)));
            let mut keys: Vec<FileKey> = leased.filter_map(|open| open.file).collect();
            keys.sort_unstable();
            keys.retain(|key| !cached.contains(key));
            keys.dedup();
            cached.extend(keys);
        }
    });
    if cached.is_empty() {
        return;
    }
    let server = Arc::clone(server);
    tokio::spawn(async move {
        for parent in cached {
            if let Err(refusal) = server.propose(Command::DirectoryChanged { parent, by }).await {
                tracing::debug!(because = refusal.because, "a directory lease is not broken");
            }
        }
    });
}
