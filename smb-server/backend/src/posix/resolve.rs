//! From a path as a client spells it to the path on disk, never leaving the share root.
//!
//! The kernel enforces the fence: every open goes through `openat2` with RESOLVE_BENEATH from the root descriptor. Links inside the
//! share are followed as long as they stay inside.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Statx};
use rustix::io::Errno;

use super::errno::{error, walk_error};
use super::names::{KnownNames, Names, STAMP};
use crate::{BackendError, RelPath, Result, name};

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);
/// The kernel answers EAGAIN when somebody renames a directory on the way; that cannot go on for ever.
const RESOLVE_TRIES: usize = 64;
const LIST_BUFFER_BYTES: usize = 32 * 1024;
/// Most entries a directory may have to be listed: a snapshot holds all names in memory.
pub(super) const DIRECTORY_NAMES_MAX: usize = 4_000_000;

/// Opens below the root with the path exactly as given.
pub(super) fn open_beneath(root: BorrowedFd<'_>, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { "." } else { path };
    let mut tries = 0;
    loop {
        match fs::openat2(root, path, flags | OFlags::CLOEXEC, mode, RESOLVE) {
            Err(Errno::AGAIN) if tries < RESOLVE_TRIES => tries += 1,
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

/// Where a path leads.
#[derive(Debug)]
pub(super) enum Place {
    /// There, in this spelling.
    Found(RelPath),
    /// Its directory is there, in this spelling, and has no such name.
    Missing(RelPath),
}

/// Finds the spelling on disk. Called when the exact spelling was not found, or to create.
pub(super) fn spell(root: BorrowedFd<'_>, known: &KnownNames, path: &RelPath) -> Result<Place> {
    let exists = |p: &RelPath| open_beneath(root, p.as_str(), OFlags::PATH, Mode::empty()).is_ok();
    if exists(path) {
        return Ok(Place::Found(path.clone()));
    }
    // Mostly the directory is spelled right and only its last name is new.
    let right = path.parent().filter(|parent| exists(parent));
    let mut components = path.components().skip(right.as_ref().map_or(0, |r| r.components().count())).peekable();
    let mut found = right.unwrap_or_default();
    while let Some(component) = components.next() {
        let exact = found.join(component).map_err(|e| BackendError::from_path(e, path.as_str()))?;
        match open_beneath(root, exact.as_str(), OFlags::PATH, Mode::empty()) {
            Ok(_) => {
                found = exact;
                continue;
            }
            Err(Errno::NOENT) => {}
            Err(e) => return Err(walk_error("openat2", path.as_str(), e)),
        }
        match find_in(root, known, &found, component)? {
            Some(spelling) => found = found.join(&spelling).map_err(|e| BackendError::from_path(e, path.as_str()))?,
            None if components.peek().is_none() => return Ok(Place::Missing(found)),
            None => return Err(BackendError::ParentNotFound { path: path.as_str().to_owned() }),
        }
    }
    Ok(Place::Found(found))
}

/// Looks through a directory for a name in any spelling; of several the first in byte order, so that all nodes choose alike.
fn find_in(root: BorrowedFd<'_>, known: &KnownNames, directory: &RelPath, wanted: &str) -> Result<Option<String>> {
    let fd = open_beneath(root, directory.as_str(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
        .map_err(|e| walk_error("openat2", directory.as_str(), e))?;
    let look = || fs::statx(&fd, "", AtFlags::EMPTY_PATH, STAMP).map_err(|e| error("statx", directory.as_str(), e));
    let by_short_name = name::may_be_short(wanted);
    let is_missing = |stat: &Statx| !by_short_name && known.lacks(stat, wanted);
    let mut stat = look()?;
    if is_missing(&stat) {
        return Ok(None);
    }
    // One reads it, and nobody of this process changes it meanwhile: the others know what it found.
    let _alone = known.alone(&stat);
    stat = look()?;
    if is_missing(&stat) {
        return Ok(None);
    }
    let mut names = Names::default();
    let mut best: Option<String> = None;
    let mut short: Option<String> = None;
    for_each_raw(fd.as_fd(), directory.as_str(), |raw, _| {
        names.add(raw);
        if by_short_name
            && let Ok(n) = std::str::from_utf8(raw)
            && name::is_speakable(n)
            && name::short_name(n).eq_ignore_ascii_case(wanted)
        {
            short = Some(n.to_owned()).filter(|n| short.as_deref().is_none_or(|s| n.as_str() < s)).or(short.take());
        }
        // The usual directory is long and ASCII: a name of one kind never equals one of the other.
        if raw.is_ascii() != wanted.is_ascii() || (raw.is_ascii() && !raw.eq_ignore_ascii_case(wanted.as_bytes())) {
            return true;
        }
        let Ok(n) = std::str::from_utf8(raw) else { return true };
        // A dangling link was already tried under its exact name.
        if n != wanted && name::eq_ignore_case(n, wanted) && best.as_deref().is_none_or(|b| n < b) {
            best = Some(n.to_owned());
        }
        true
    })?;
    known.learn(&stat, names);
    // The file that really has this name comes first.
    Ok(best.or(short))
}

/// Calls `each` with the names a client can speak until it returns false. `fd` must be open for reading and not be shared.
pub(super) fn for_each_name(fd: BorrowedFd<'_>, path: &str, mut each: impl FnMut(&str, FileType) -> bool) -> Result<()> {
    for_each_raw(fd, path, |raw, file_type| match std::str::from_utf8(raw) {
        Ok(n) if name::is_speakable(n) => each(n, file_type),
        _ => true,
    })
}

/// As `for_each_name` with every name that is not a dot name.
pub(super) fn for_each_raw(fd: BorrowedFd<'_>, path: &str, mut each: impl FnMut(&[u8], FileType) -> bool) -> Result<()> {
    let mut buffer = Vec::with_capacity(LIST_BUFFER_BYTES);
    let mut directory = RawDir::new(fd, buffer.spare_capacity_mut());
    while let Some(entry) = directory.next() {
        let entry = entry.map_err(|e| error("getdents", path, e))?;
        let raw = entry.file_name().to_bytes();
        if raw != b"." && raw != b".." && !each(raw, entry.file_type()) {
            break;
        }
    }
    Ok(())
}
