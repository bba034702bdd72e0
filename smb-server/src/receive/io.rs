//! What READ, WRITE, SET_INFO and IOCTL have in common: locks of others, caches of others, whether this node still has the open.
//!
//! Knows nothing of the messages.

use std::sync::Arc;

use persistence_model::{Command, IoKind, Outcome, State};
use smb_backend::{BackendFile, Metadata, RelPath, SetBasic};
use smb_types::NtStatus;

use super::{RequestContext, create::target::Target, parent_lease, wait::propose_and_wait};
use crate::{
    blocking::blocking,
    error::Refusal,
    state::{Open, Server},
    store::{Flight, StoreExt as _},
};

/// Bits of [`Open::frozen_times`].
pub(crate) mod frozen {
    /// CreationTime.
    pub(crate) const CREATION: u64 = 1;
    /// LastAccessTime.
    pub(crate) const ACCESS: u64 = 2;
    /// LastWriteTime.
    pub(crate) const WRITE: u64 = 4;
    /// ChangeTime.
    pub(crate) const CHANGE: u64 = 8;
}

/// Bytes that an operation is about to touch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Touch {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Rounds of telling others to give up their caches; in each of them somebody new began to cache.
const BREAK_ROUNDS_MAX: u32 = 100;

/// Makes sure that an operation may go on: no byte-range lock in its way, nobody caching what it makes untrue. One look at the local replica;
/// the log is asked only when somebody must be told.
///
/// Keep the result until the file system has answered, and propose nothing before: what takes rights to the file waits for it, on every node.
///
/// # Errors
/// FILE_LOCK_CONFLICT; FILE_CLOSED when the open is gone; what waiting can end with; FILE_NOT_AVAILABLE when others begin to cache faster
/// than they can be told.
// MS-SMB2 3.3.5.12, 3.3.5.13; MS-FSA 2.1.4.10, 2.1.4.12
pub(crate) async fn clear(ctx: &mut RequestContext, open: &Open, kind: IoKind, touch: Option<Touch>) -> Result<Flight, Refusal> {
    let write = !matches!(kind, IoKind::Read);
    for _ in 0..BREAK_ROUNDS_MAX {
        // Before the records are looked at, or what they say could change unnoticed before the file system is asked.
        let flight = ctx.server.store.begin_io(open.file, open.open_id);
        let (locked, cached) = ctx.server.store.with_state(|state| {
            let locked = touch.is_some_and(|touch| state.lock_conflict(&open.file, open.open_id, touch.offset, touch.length, write));
            (locked, state.must_break_for(&open.file, open.open_id, kind))
        });
        if locked {
            return Err(Refusal::new(NtStatus::FILE_LOCK_CONFLICT, "a byte-range lock is in the way"));
        }
        if !cached {
            still_ours(ctx, open)?;
            return Ok(flight);
        }
        drop(flight);
        let (file, by_open) = (open.file, Some(open.open_id));
        let ended = Some((open.ended.clone(), NtStatus::FILE_CLOSED));
        let outcome = propose_and_wait(ctx, || Command::BreakForIo { file, by_open, kind }, ended).await?;
        done(&outcome)?;
        // Before the answer says that what others have cached is no longer so.
        ctx.server.telling.told(open.file).await;
    }
    Err(Refusal::new(NtStatus::FILE_NOT_AVAILABLE, "others begin to cache the file faster than they can be told not to"))
}

/// Announces that a file is read for an operation on another one, and makes sure that no byte-range lock is in the way. Nobody's cache is
/// broken: it is for what is not a READ.
///
/// # Errors
/// FILE_LOCK_CONFLICT.
pub(crate) fn clear_source(ctx: &RequestContext, source: &Open, touch: Touch) -> Result<Flight, Refusal> {
    let flight = ctx.server.store.begin_io(source.file, source.open_id);
    let conflict = |state: &State| state.lock_conflict(&source.file, source.open_id, touch.offset, touch.length, false);
    if ctx.server.store.with_state(conflict) {
        return Err(Refusal::new(NtStatus::FILE_LOCK_CONFLICT, "the source is locked there"));
    }
    Ok(flight)
}

/// Makes sure that no other node may speak for this open by now.
///
/// # Errors
/// FILE_CLOSED; FILE_NOT_AVAILABLE while this node has lost its right to answer.
pub(crate) fn still_ours(ctx: &RequestContext, open: &Open) -> Result<(), Refusal> {
    if open.is_revoked() {
        return Err(Refusal::new(NtStatus::FILE_CLOSED, "the open was taken away"));
    }
    if !ctx.server.store.lease_valid() {
        return Err(Refusal::new(NtStatus::FILE_NOT_AVAILABLE, "this node may not answer clients now"));
    }
    Ok(())
}

/// What the records say to a command that has no grant.
///
/// # Errors
/// The status of a refusal; FILE_NOT_AVAILABLE for a rejection, which only a stale node gets.
pub(crate) fn done(outcome: &Outcome) -> Result<(), Refusal> {
    match outcome {
        Outcome::Refused(status) => Err(Refusal::new(*status, "the records refuse")),
        Outcome::Rejected(_) => Err(Refusal::new(NtStatus::FILE_NOT_AVAILABLE, "the records reject this node's command")),
        _ => Ok(()),
    }
}

/// Where the open's file is now: another open, on this or another node, may have renamed it or a directory above it.
pub(crate) fn current_path(server: &Server, open: &Open) -> RelPath {
    let recorded = server.store.with_state(|state| {
        let record = state.open(open.open_id)?;
        let known = open.path.read();
        let is_known = open.stream.is_none() && same_path(&record.path, known.as_str());
        (!is_known).then(|| record.path.clone())
    });
    if let Some(path) = recorded.and_then(|path| Target::of_record(&path)) {
        *open.path.write() = path.path.clone();
        return path.path;
    }
    open.path.read().clone()
}

/// What the open's stream is called now: it may have been renamed, too.
pub(crate) fn current_stream(server: &Server, open: &Open) -> Option<String> {
    let opened_as = open.stream.clone()?;
    let record = server.store.with_state(|state| state.open(open.open_id).map(|record| record.path.clone()));
    record.and_then(|path| Target::of_record(&path)?.stream).or(Some(opened_as))
}

fn same_path(record: &str, known: &str) -> bool {
    record.len() == known.len() && record.bytes().zip(known.bytes()).all(|(a, b)| a == b || (a == b'\\' && b == b'/'))
}

/// Puts changes that take no stability of their own on disk, where the open promises that.
///
/// # Errors
/// What the disk says.
pub(crate) fn settle(open: &Open, file: &Arc<dyn BackendFile>) -> Result<(), Refusal> {
    if open.write_through {
        file.flush()?;
    }
    Ok(())
}

/// Does something that changes a file's times and puts back those that this open has frozen.
///
/// # Errors
/// What `change` says, or the file system.
// MS-FSA 2.1.4.17
// A time that an open has set, or frozen with −1, is not touched by what goes on through that open.
pub(crate) fn keeping_times<R>(
    open: &Open,
    file: &Arc<dyn BackendFile>,
    change: impl FnOnce() -> Result<R, Refusal>,
) -> Result<R, Refusal> {
    let bits = open.frozen_times.load(std::sync::atomic::Ordering::Acquire);
    if bits & (frozen::WRITE | frozen::ACCESS) == 0 {
        return change();
    }
    let before = file.metadata()?;
    let result = change()?;
    let set = SetBasic {
        last_write: (bits & frozen::WRITE != 0).then_some(before.last_write),
        last_access: (bits & frozen::ACCESS != 0).then_some(before.last_access),
        ..SetBasic::default()
    };
    file.set_basic(&set)?;
    Ok(result)
}

/// The file's metadata as the open's client may see them: of a stream, never a directory's.
///
/// # Errors
/// What the file system says.
pub(crate) fn metadata(open: &Open, file: &Arc<dyn BackendFile>) -> Result<Metadata, Refusal> {
    let mut metadata = blocking(|| file.metadata())?;
    if !open.is_directory {
        metadata.attributes = metadata.attributes.without(smb_types::FileAttributes::DIRECTORY);
        if metadata.attributes.is_empty() {
            metadata.attributes = smb_types::FileAttributes::NORMAL;
        }
    }
    Ok(metadata)
}

/// Tells the holders of leases on the directory that holds `path` that an entry of it has changed, but for the client that did it under its
/// own lease.
// MS-FSA 2.1.4.12
pub(crate) fn entry_changed(server: &Arc<Server>, open: &Open, path: &RelPath) {
    parent_lease::entry_changed(server, &open.tree.share, path, open.parent_lease());
}
