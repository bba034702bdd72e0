//! Whether the last run of this node may have lost something: the mark that outlives it.
//!
//! A node that runs leaves the id of the machine's boot behind; a clean stop leaves the log's end. A mark of another boot without a clean
//! stop means that the power went: what was acknowledged from memory may be missing. Such a node is *in doubt* until it holds again
//! everything that it may have acknowledged; docs/decisions/0007 says why that is enough.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::log::record::Place;
use crate::codec::{self, Kind};
use crate::environment::{Disk, OpenFile};

/// Name of the mark's file.
const FILE: &str = "life";

/// Why a node is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Doubt {
    /// The machine lost power, or its kernel died, under the running node.
    PowerLost,
    /// Files were repaired: the log may be shorter than what was acknowledged, and the vote may be forgotten.
    Repaired,
    /// The others went on without entries that this node had applied: everything it holds is void.
    Superseded,
}

/// What the last run left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mark {
    /// It runs, or was killed.
    Running { boot_id: String },
    /// It stopped with a log that ends here.
    Clean { end: u64 },
    /// It runs, or was killed, in doubt.
    InDoubt { boot_id: String, because: Doubt },
}

/// What a start has to know about the last run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastRun {
    /// Nothing that was written to a file can be missing: at most the process was killed.
    pub(crate) pages_kept: bool,
    /// Where the log ended at a clean stop.
    pub(crate) end: Option<Place>,
    /// Why the node is in doubt.
    pub(crate) doubt: Option<Doubt>,
}

/// Where the mark is.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// Reads the mark. `None`: there was no run yet.
pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Mark>> {
    let path = dir.join(FILE);
    if !disk.list(dir)?.contains(&path) {
        return Ok(None);
    }
    let file = disk.open(&path, OpenFile::Read)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    let mark = codec::decode(Kind::Life, &bytes).map_err(|err| {
        let text = format!("{} is damaged: {err}; run `holdfast store repair` on the directory", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    })?;
    Ok(Some(mark))
}

/// Replaces the mark; it is on stable storage when this returns.
pub(crate) fn write(disk: &dyn Disk, dir: &Path, mark: &Mark) -> io::Result<()> {
    let (path, part): (PathBuf, PathBuf) = (dir.join(FILE), dir.join(format!("{FILE}.part")));
    let file = disk.open(&part, OpenFile::CreateEmpty)?;
    file.write_all_at(&codec::encode(Kind::Life, mark).map_err(io::Error::other)?, 0)?;
    file.sync()?;
    disk.rename(&part, &path)?;
    disk.sync_dir(dir)
}

/// What the mark means in this boot of the machine.
pub(crate) fn judge(mark: Option<&Mark>, boot_id: &str) -> LastRun {
    // Without a boot id nobody can tell: a stop without a mark counts as a loss of power.
    let same = |boot: &String| !boot.is_empty() && boot == boot_id;
    match mark {
        None => LastRun { pages_kept: true, end: None, doubt: None },
        Some(Mark::Clean { end }) => LastRun { pages_kept: true, end: Some(Place(*end)), doubt: None },
        Some(Mark::Running { boot_id: boot }) if same(boot) => LastRun { pages_kept: true, end: None, doubt: None },
        Some(Mark::Running { .. }) => LastRun { pages_kept: false, end: None, doubt: Some(Doubt::PowerLost) },
        Some(Mark::InDoubt { boot_id: boot, because }) => LastRun { pages_kept: same(boot), end: None, doubt: Some(*because) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lost_boot_or_a_mark_in_doubt_brings_doubt() {
        let running = |boot: &str| Mark::Running { boot_id: boot.to_owned() };
        let doubt = |mark: Option<&Mark>, boot: &str| judge(mark, boot).doubt;
        assert_eq!(doubt(None, "a"), None);
        assert_eq!(doubt(Some(&running("a")), "a"), None);
        assert_eq!(doubt(Some(&running("a")), "b"), Some(Doubt::PowerLost));
        assert_eq!(doubt(Some(&running("")), ""), Some(Doubt::PowerLost));
        assert_eq!(judge(Some(&Mark::Clean { end: 9 }), "b"), LastRun { pages_kept: true, end: Some(Place(9)), doubt: None });
        let repaired = Mark::InDoubt { boot_id: "a".to_owned(), because: Doubt::Repaired };
        assert_eq!(judge(Some(&repaired), "a"), LastRun { pages_kept: true, end: None, doubt: Some(Doubt::Repaired) });
        assert!(!judge(Some(&repaired), "b").pages_kept);
    }
}
