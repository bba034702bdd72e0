//! Removes from the file system what the records say is to be deleted, then tells them (delete-on-close, delete disposition).
//!
//! Whether a file is to be deleted is the records' decision; paths of streams are written `directory\file:stream`.

use std::sync::Arc;

use persistence_model::{Command, FileKey, LeaseId, PendingDelete};
use smb_backend::{BackendError, RelPath, Stability};
use smb_proto::{info::NotifyAction, message::change_notify::CompletionFilter};
use smb_types::NtStatus;

use crate::{
    access::Names,
    blocking::blocking,
    notify::{self, Change},
    receive::parent_lease,
    state::{Server, Share},
};

/// The backend's name of a file that the records know.
#[must_use]
pub fn backend_key(file: FileKey) -> smb_backend::FileKey {
    smb_backend::FileKey { inode: file.inode, generation: file.generation, stream: file.stream }
}

/// Removes the file, if it is still the one that was meant, and reports. What cannot be removed is reported too: the name stays, the record goes.
pub async fn perform(server: &Arc<Server>, delete: &PendingDelete) {
    remove_and_tell(server, delete, None);
    done(server, delete.file).await;
}

/// The same for a client that waits for its CLOSE, which is answered when the file is gone: the records are told behind the answer, and
/// whoever wants the name meanwhile waits for that. Only one party knows of the deletion: whoever holds the directory lease `by` need not
/// be told.
pub fn perform_for_close(server: &Arc<Server>, delete: &PendingDelete, by: Option<LeaseId>) {
    remove_and_tell(server, delete, by);
    let (server, file) = (Arc::clone(server), delete.file);
    tokio::spawn(async move { done(&server, file).await });
}

fn remove_and_tell(server: &Arc<Server>, delete: &PendingDelete, by: Option<LeaseId>) {
    if let Some(share) = server.share_by_id(delete.share)
        && let Some(names) = share.names()
    {
        let stability = if share.is_ca { Stability::Stable } else { Stability::Cached };
        let removed = blocking(|| remove(names, delete, stability));
        if removed.is_ok() {
            report(server, &share, delete, by);
        }
        if let Err(error) = removed {
            let gone = matches!(error.status(), NtStatus::OBJECT_NAME_NOT_FOUND | NtStatus::OBJECT_PATH_NOT_FOUND);
            if gone {
                tracing::debug!(%error, "a file to be deleted is gone already");
            } else {
                tracing::warn!(%error, "a file to be deleted stays");
            }
        }
    }
}

async fn done(server: &Server, file: FileKey) {
    if let Err(refusal) = server.propose(Command::DeleteDone { file }).await {
        // The record stays, and with it the order to delete: the next round finds nothing to remove and reports again.
        tracing::debug!(because = refusal.because, "a deletion is not reported yet");
    }
}

/// Tells those who watch the directory, and those who cache it.
fn report(server: &Arc<Server>, share: &Share, delete: &PendingDelete, by: Option<LeaseId>) {
    let (path, stream) = split_stream(&delete.path);
    let Ok(path) = RelPath::parse_smb(&path.replace('/', "\\")) else { return };
    let (action, filter) = match stream {
        Some(_) => (NotifyAction::RemovedStream, CompletionFilter::STREAM_NAME),
        None if delete.is_directory => (NotifyAction::Removed, CompletionFilter::DIR_NAME),
        None => (NotifyAction::Removed, CompletionFilter::FILE_NAME),
    };
    notify::report_all(server, delete.share, &[Change { path: &path, stream, action, filter }]);
    if stream.is_none() {
        parent_lease::entry_changed(server, share, &path, by);
    }
}

fn remove(names: &Names, delete: &PendingDelete, stability: Stability) -> Result<(), BackendError> {
    let (path, stream) = split_stream(&delete.path);
    let folded = path.replace('/', "\\");
    let path = RelPath::parse_smb(&folded).map_err(|error| BackendError::from_path(error, path))?;
    names.remove(delete, &path, stream, backend_key(delete.file), stability)
}

/// Splits `directory\file:stream` (a trailing `:$DATA` is dropped).
fn split_stream(path: &str) -> (&str, Option<&str>) {
    match path.split_once(':') {
        Some((path, stream)) => {
            let stream = stream.split_once(':').map_or(stream, |(name, _)| name);
            (path, Some(stream).filter(|name| !name.is_empty()))
        }
        None => (path, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_told_from_files() {
        assert_eq!(split_stream("a\\b"), ("a\\b", None));
        assert_eq!(split_stream("a\\b:s"), ("a\\b", Some("s")));
        assert_eq!(split_stream("b:s:$DATA"), ("b", Some("s")));
        assert_eq!(split_stream("b::$DATA"), ("b", None));
    }
}
