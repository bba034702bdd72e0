//! Byte-range locks against locks and against I/O (MS-FSA 2.1.4.10).

use crate::arbiter::close;
use crate::id::{FileKey, OpenId};
use crate::record::ByteRangeLock;
use crate::state::State;

/// Tells whether a wished lock meets one that is held. `own`: the locks the open has, with those of the same request.
// MS-SMB2 3.3.5.14, MS-FSA 2.1.4.10
// Exclusive meets every lock, one's own too; shared meets the exclusive locks of others only.
pub(crate) fn lock_conflict(state: &State, file: &FileKey, open: OpenId, own: &[ByteRangeLock], wish: &ByteRangeLock) -> bool {
    if wish.exclusive && own.iter().any(|l| l.overlaps(wish.offset, wish.length)) {
        return true;
    }
    others(state, file, open).any(|l| (wish.exclusive || l.exclusive) && l.overlaps(wish.offset, wish.length))
}

/// Tells whether I/O meets a lock.
// MS-FSA 2.1.4.10
// Reading meets others' exclusive locks; writing meets those and every shared lock, one's own too.
pub(crate) fn io_conflict(state: &State, file: &FileKey, open: OpenId, offset: u64, length: u64, write: bool) -> bool {
    if length == 0 {
        return false;
    }
    let own = state.open(open).map_or(&[][..], |o| &o.locks);
    if write && own.iter().any(|l| !l.exclusive && l.overlaps(offset, length)) {
        return true;
    }
    others(state, file, open).any(|l| (write || l.exclusive) && l.overlaps(offset, length))
}

fn others<'a>(state: &'a State, file: &FileKey, open: OpenId) -> impl Iterator<Item = &'a ByteRangeLock> {
    state
        .file(file)
        .into_iter()
        .flat_map(|f| &f.opens)
        .filter(move |id| **id != open)
        .filter_map(|id| state.open(*id))
        .filter(|o| !o.locks.is_empty() && !close::goes_with_its_node(state, o))
        .flat_map(|o| &o.locks)
}
