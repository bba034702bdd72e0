//! Which names large directories have, in any spelling: a name that is not there is known to be missing without reading all of it.
//!
//! Knows hashes only, never where a name leads: a name that may be there is looked for on disk as before. Other nodes and programs change the
//! same directories, so what is known counts for the directory as it was when it was read, told by its times, and for some seconds at most
//! (docs/decisions/0023-names-of-large-directories.md).

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, MutexGuard};
use rustix::fs::{self, AtFlags, Statx, StatxFlags, StatxTimestamp};

use crate::key::fnv1a;
use crate::name::fold;

/// What statx is asked for.
pub(super) const STAMP: StatxFlags = StatxFlags::INO.union(StatxFlags::CTIME).union(StatxFlags::MTIME).union(StatxFlags::BTIME);
/// Smaller directories are read: that takes less than a tenth of a millisecond.
const NAMES_MIN: usize = 256;
/// Names of all directories together; about 18 bytes each.
const NAMES_MAX: usize = 1 << 20;
/// A directory that nobody had changed for so long when it was read shows every later change in its times.
const SETTLED_AFTER: Duration = Duration::from_millis(50);
/// How long what is known of a settled directory counts; and of one that this process goes on changing, whose times another may hide behind.
const TRUST: Duration = Duration::from_secs(10);
const TRUST_CHANGING: Duration = Duration::from_secs(1);
/// Locks of directories: who reads one, or changes one that is known, does it alone in this process.
const STRIPES: usize = 256;

/// Directories by identity, and what was read in them.
#[derive(Debug)]
pub(super) struct KnownNames {
    known: Mutex<Known>,
    /// Directories known: read without the lock, because mostly there are none.
    count: AtomicUsize,
    stripes: [Mutex<()>; STRIPES],
    trust: Duration,
    trust_changing: Duration,
    /// How often a directory was read.
    #[cfg(test)]
    learned: AtomicUsize,
}

#[derive(Debug, Default)]
struct Known {
    directories: HashMap<Identity, Directory>,
    names: usize,
    uses: u64,
}

#[derive(Debug)]
struct Directory {
    stamp: Stamp,
    hashes: HashSet<u64>,
    until: Instant,
    last_used: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Identity {
    device: (u32, u32),
    inode: u64,
}

/// The times of a directory: equal as long as nothing in it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    changed: (i64, u32),
    modified: (i64, u32),
    born: (i64, u32),
}

impl Identity {
    fn of(stat: &Statx) -> Self {
        Self { device: (stat.stx_dev_major, stat.stx_dev_minor), inode: stat.stx_ino }
    }
}

impl Stamp {
    fn of(stat: &Statx) -> Self {
        let time = |t: &StatxTimestamp| (t.tv_sec, t.tv_nsec);
        Self { changed: time(&stat.stx_ctime), modified: time(&stat.stx_mtime), born: time(&stat.stx_btime) }
    }

    /// Whether the last change was long ago by the clock of this machine.
    fn is_settled(&self) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let Ok(seconds) = u64::try_from(seconds) else { return false };
        let changed = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
        SystemTime::now().duration_since(changed).is_ok_and(|since| since >= SETTLED_AFTER)
    }
}

/// The number of a name in any spelling.
fn hash(name: &str) -> u64 {
    if name.is_ascii() { fnv1a(name.bytes().map(|b| b.to_ascii_uppercase())) } else { fnv1a(fold(name).bytes()) }
}

/// The names of a directory, while it is read.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<u64>);

impl Names {
    /// One of them as it is on disk.
    pub(super) fn add(&mut self, raw: &[u8]) {
        // A name that is no text is never asked for; of too many none is kept.
        if self.0.len() <= NAMES_MAX
            && let Ok(name) = std::str::from_utf8(raw)
        {
            self.0.push(hash(name));
        }
    }
}

fn look(directory: &OwnedFd) -> Option<Statx> {
    fs::statx(directory, "", AtFlags::EMPTY_PATH, STAMP).ok()
}

impl KnownNames {
    pub(super) fn new() -> Self {
        Self::trusting(TRUST, TRUST_CHANGING)
    }

    fn trusting(trust: Duration, trust_changing: Duration) -> Self {
        let stripes = std::array::from_fn(|_| Mutex::new(()));
        Self {
            known: Mutex::default(),
            count: AtomicUsize::new(0),
            stripes,
            trust,
            trust_changing,
            #[cfg(test)]
            learned: AtomicUsize::new(0),
        }
    }

    /// Whether a directory is known to have this name in no spelling. `stat` is what statx says of it now.
    pub(super) fn lacks(&self, stat: &Statx, name: &str) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut known = self.known.lock();
        let uses = known.uses + 1;
        known.uses = uses;
        let Some(directory) = known.directories.get_mut(&Identity::of(stat)) else { return false };
        if directory.stamp != Stamp::of(stat) || Instant::now() >= directory.until {
            return false;
        }
        directory.last_used = uses;
        !directory.hashes.contains(&hash(name))
    }

    /// Takes note of all names of a directory. `before` is what statx said of it before it was read.
    pub(super) fn learn(&self, before: &Statx, Names(names): Names) {
        #[cfg(test)]
        self.learned.fetch_add(1, Ordering::Relaxed);
        let worth_it = (NAMES_MIN..=NAMES_MAX).contains(&names.len());
        let hashes: HashSet<u64> = if worth_it { names.into_iter().collect() } else { HashSet::new() };
        let identity = Identity::of(before);
        let mut known = self.known.lock();
        known.forget(identity);
        let count = hashes.len();
        if worth_it {
            while known.names + count > NAMES_MAX {
                let Some(oldest) = known.directories.iter().min_by_key(|(_, d)| d.last_used).map(|(i, _)| *i) else { break };
                known.forget(oldest);
            }
            let stamp = Stamp::of(before);
            let until = Instant::now() + if stamp.is_settled() { self.trust } else { self.trust_changing };
            let last_used = known.uses;
            known.directories.insert(identity, Directory { stamp, hashes, until, last_used });
            known.names += count;
        }
        self.count.store(known.directories.len(), Ordering::Release);
    }

    /// Keeps this process's other readers and changers of a directory waiting.
    pub(super) fn alone(&self, stat: &Statx) -> MutexGuard<'_, ()> {
        let stripe = usize::try_from(stat.stx_ino % STRIPES as u64).expect("less than STRIPES");
        self.stripes[stripe].lock()
    }

    /// Before this process adds or removes a name in a directory; after it, tell what was done. Dropped, it says nothing.
    pub(super) fn changing(&self, directory: &OwnedFd) -> Option<Change<'_>> {
        let stat = look(directory)?;
        let alone = self.alone(&stat);
        let identity = Identity::of(&stat);
        let is_known = self.count.load(Ordering::Acquire) > 0 && self.known.lock().directories.contains_key(&identity);
        // Anew: it may have changed while others were waited for.
        let before = if is_known { Some(Stamp::of(&look(directory)?)) } else { None };
        Some(Change { names: self, identity, before, _alone: alone })
    }
}

impl Known {
    fn forget(&mut self, identity: Identity) {
        if let Some(directory) = self.directories.remove(&identity) {
            self.names -= directory.hashes.len();
        }
    }
}

/// A change that this process makes in a directory, while it makes no other one there.
#[must_use]
pub(super) struct Change<'a> {
    names: &'a KnownNames,
    identity: Identity,
    /// Of one that is known.
    before: Option<Stamp>,
    _alone: MutexGuard<'a, ()>,
}

impl Change<'_> {
    /// A name was added or removed: what is known of the directory goes on counting, if it counted before. What was removed is looked for on
    /// disk until the directory is read again.
    pub(super) fn made(self, directory: &OwnedFd, added: Option<&str>) {
        let (Some(before), Some(after)) = (self.before, look(directory)) else { return };
        let mut known = self.names.known.lock();
        let Some(entry) = known.directories.get_mut(&self.identity).filter(|entry| entry.stamp == before) else { return };
        let is_new = added.is_some_and(|name| entry.hashes.insert(hash(name)));
        entry.stamp = Stamp::of(&after);
        entry.until = entry.until.min(Instant::now() + self.names.trust_changing);
        known.names += usize::from(is_new);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::path::Path;

    use rustix::fs::{Mode, OFlags};

    use super::*;
    use crate::RelPath;
    use crate::posix::resolve::{Place, spell};

    /// A directory, and what this process knows of it.
    struct Rig {
        dir: tempfile::TempDir,
        root: OwnedFd,
        known: KnownNames,
    }

    impl Rig {
        fn new(known: KnownNames, files: usize) -> Self {
            let dir = tempfile::tempdir().unwrap();
            (0..files).for_each(|n| drop(std::fs::File::create(dir.path().join(format!("File {n}"))).unwrap()));
            let root = fs::open(dir.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
            Self { dir, root, known }
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.dir.path().join(name)
        }

        fn finds(&self, name: &str) -> Option<String> {
            match spell(self.root.as_fd(), &self.known, &RelPath::parse_smb(name).unwrap()).unwrap() {
                Place::Found(found) => Some(found.as_str().to_owned()),
                Place::Missing(_) => None,
            }
        }

        /// How often the directory is read meanwhile.
        fn reads(&self, work: impl FnOnce()) -> usize {
            let before = self.known.learned.load(Ordering::Relaxed);
            work();
            self.known.learned.load(Ordering::Relaxed) - before
        }

        /// As this process creates and removes.
        fn own(&self, change: impl FnOnce(&Path), added: Option<&str>) {
            let begun = self.known.changing(&self.root);
            change(self.dir.path());
            begun.unwrap().made(&self.root, added);
        }

        fn create(&self, name: &str) {
            self.own(|dir| drop(std::fs::File::create_new(dir.join(name)).unwrap()), Some(name));
        }

        /// A change of somebody else. Where the clock of the file system is coarse it is repeated until the times show it.
        fn foreign(&self, change: impl Fn()) {
            let before = Stamp::of(&look(&self.root).unwrap());
            loop {
                change();
                if Stamp::of(&look(&self.root).unwrap()) != before {
                    return;
                }
            }
        }
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_large_directory_is_read_once_for_names_that_it_lacks() {
        let rig = Rig::new(KnownNames::trusting(LONG, LONG), 1000);
        assert_eq!(rig.reads(|| assert_eq!(rig.finds("missing"), None)), 1);
        assert_eq!(rig.reads(|| (0..100).for_each(|n| assert_eq!(rig.finds(&format!("missing {n}")), None))), 0);
        assert_eq!(rig.finds("fILE 7").as_deref(), Some("File 7"), "another spelling");
        // While this process goes on changing it.
        let reads = rig.reads(|| {
            for n in 0..100 {
                let name = format!("Neü {n}");
                assert_eq!(rig.finds(&name), None);
                rig.create(&name);
            }
        });
        assert_eq!(reads, 0);
        for n in 0..100 {
            assert_eq!(rig.finds(&format!("nEÜ {n}")), Some(format!("Neü {n}")));
        }
        rig.own(|dir| std::fs::remove_file(dir.join("Neü 5")).unwrap(), None);
        assert_eq!(rig.reads(|| assert_eq!(rig.finds("missing"), None)), 0);
        assert_eq!(rig.finds("neü 5"), None, "looked for on disk");
    }

    #[test]
    fn threads_that_create_at_once_do_not_make_each_other_read() {
        let rig = Rig::new(KnownNames::trusting(LONG, LONG), 1000);
        let reads = rig.reads(|| {
            std::thread::scope(|scope| {
                for thread in 0..8 {
                    let rig = &rig;
                    scope.spawn(move || {
                        for n in 0..50 {
                            let name = format!("of {thread} {n}");
                            assert_eq!(rig.finds(&name), None);
                            rig.create(&name);
                        }
                    });
                }
            });
        });
        assert_eq!(reads, 1);
        for (thread, n) in (0..8).flat_map(|thread| (0..50).map(move |n| (thread, n))) {
            assert_eq!(rig.finds(&format!("OF {thread} {n}")), Some(format!("of {thread} {n}")));
        }
    }

    #[test]
    fn what_others_change_is_seen_at_once() {
        let rig = Rig::new(KnownNames::trusting(LONG, LONG), 1000);
        assert_eq!(rig.finds("missing"), None);
        for n in 0..20 {
            let (theirs, own) = (format!("Theirs {n}"), format!("Own {n}"));
            rig.create(&own);
            rig.foreign(|| {
                std::fs::write(rig.path("passing"), b"").unwrap();
                std::fs::remove_file(rig.path("passing")).unwrap();
                std::fs::write(rig.path(&theirs), b"").unwrap();
            });
            rig.create(&format!("{own} more"));
            assert_eq!(rig.finds(&theirs.to_uppercase()), Some(theirs.clone()));
            rig.foreign(|| {
                std::fs::rename(rig.path(&theirs), rig.path("renamed"))
                    .or_else(|_| std::fs::rename(rig.path("renamed"), rig.path(&theirs)))
                    .unwrap();
            });
            let now = if rig.path("renamed").exists() { "renamed".to_owned() } else { theirs };
            assert_eq!(rig.finds(&now.to_uppercase()), Some(now.clone()));
            std::fs::remove_file(rig.path(&now)).unwrap();
        }
    }

    #[test]
    fn nothing_counts_for_ever_and_small_directories_are_not_remembered() {
        let rig = Rig::new(KnownNames::trusting(Duration::ZERO, Duration::ZERO), 1000);
        assert_eq!(rig.reads(|| (0..3).for_each(|_| assert_eq!(rig.finds("missing"), None))), 3);
        let rig = Rig::new(KnownNames::trusting(LONG, LONG), NAMES_MIN - 1);
        assert_eq!(rig.reads(|| (0..3).for_each(|_| assert_eq!(rig.finds("missing"), None))), 3);
        assert_eq!(rig.known.count.load(Ordering::Relaxed), 0);
        // One that this process goes on changing counts no longer than such a one does.
        let rig = Rig::new(KnownNames::trusting(LONG, Duration::ZERO), 1000);
        rig.known.known.lock().directories.values_mut().for_each(|directory| directory.until = Instant::now() + LONG);
        rig.create("new");
        assert_eq!(rig.reads(|| assert_eq!(rig.finds("missing"), None)), 1);
    }

    #[test]
    fn the_number_of_names_is_bounded_and_the_directory_used_last_stays() {
        let known = KnownNames::trusting(LONG, LONG);
        let directory = |inode: u64| {
            let mut stat = look(&fs::open("/", OFlags::PATH, Mode::empty()).unwrap()).unwrap();
            stat.stx_ino = inode;
            stat
        };
        let names = |count: usize| Names((0..count as u64).collect());
        known.learn(&directory(1), names(NAMES_MAX / 2));
        known.learn(&directory(2), names(NAMES_MAX / 2));
        assert!(known.lacks(&directory(1), "a") && known.lacks(&directory(2), "a") && known.lacks(&directory(1), "a"));
        known.learn(&directory(3), names(NAMES_MAX / 2));
        assert!(known.lacks(&directory(1), "a") && !known.lacks(&directory(2), "a") && known.lacks(&directory(3), "a"));
        known.learn(&directory(3), names(NAMES_MAX + 1));
        assert!(!known.lacks(&directory(3), "a"));
        assert_eq!(known.known.lock().names, NAMES_MAX / 2);
    }
}
