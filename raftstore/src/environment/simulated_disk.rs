//! A disk in memory that forgets what was not synced, for simulations and crash tests.
//!
//! ```text
//! let disk = SimulatedDisk::new(seed);     the device. Clones are the same device.
//! let process = disk.boot();               Arc<dyn Disk> for one process (Environment::disk)
//!
//! disk.kill()                              the processes end: all they wrote stays (page cache), claims are free, old handles are void
//! disk.power_loss()                        as kill, and what was not synced is lost, kept or torn as the seed has it
//! disk.stop_after(n)                       n more changes succeed, then everything fails with ENDED until kill() or power_loss()
//! disk.changes()                           how many changes there were: run once to count, then once for each number to stop at
//! disk.fail(Operation::Sync, nth)          the nth sync from now fails with EIO, and what it was to write is gone for good (as on Linux)
//! disk.set_capacity(Some(bytes))           more than so many bytes: StorageFull
//! disk.flip(path, offset, bit), disk.truncate(path, len)     the medium is damaged
//! ```
//! A *change* is a write, a new length, a sync, a new file, a rename, a removal, or the sync of a directory. The change that meets the end
//! set by `stop_after` fails, but a write may have happened up to some byte, as when a process is killed inside the call.
//!
//! What is lost with the power: of the pages (4 KiB) written since the last sync of their file, each survives whole, not at all, or sector
//! by sector (512 bytes); a length that was not synced is the old one, the new one, or between. Names that were made, changed or removed
//! since the last sync of their directory: each such step survives or not by itself, a rename as a whole. Directories themselves are
//! never lost. Knows nothing of what is written.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;

use super::disk::{Disk, DiskFile, OpenFile};
use super::random::Random;

const PAGE_BYTES: usize = 4096;
const SECTOR_BYTES: usize = 512;

/// The kind of error that everything gets whose process has ended, or whose world was stopped by [`SimulatedDisk::stop_after`].
pub const ENDED: io::ErrorKind = io::ErrorKind::BrokenPipe;

type Page = Arc<[u8; PAGE_BYTES]>;

static ZEROS: LazyLock<Page> = LazyLock::new(|| Arc::new([0; PAGE_BYTES]));

/// What can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A read.
    Read,
    /// A write, or a new length.
    Write,
    /// The sync of a file or a directory.
    Sync,
}

/// What has happened to a disk so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Reads.
    pub reads: u64,
    /// Writes and new lengths.
    pub writes: u64,
    /// Syncs of files and directories.
    pub syncs: u64,
    /// Operations that failed because somebody had asked for it.
    pub failed: u64,
    /// Pages that were written but not synced when the power was lost.
    pub pages_at_risk: u64,
    /// Those of them that were lost or torn.
    pub pages_lost: u64,
    /// Steps on names that were lost.
    pub names_lost: u64,
}

/// A simulated disk. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimulatedDisk {
    world: Arc<Mutex<World>>,
}

#[derive(Debug)]
struct World {
    random: Random,
    /// Counts the lives of processes: handles of an earlier one are void.
    life: u64,
    changes: u64,
    stop_at: Option<u64>,
    stopped: bool,
    counts: DiskCounts,
    /// For each operation: how many more of them until which fails.
    failures: BTreeSet<(Operation, u64)>,
    capacity: Option<u64>,
    allocated_pages: u64,
    sync_time: (Duration, Duration),
    owed: Duration,
    directories: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, Inode>,
    stable_names: BTreeMap<PathBuf, Inode>,
    /// Steps on names since the last sync of their directories, in order.
    steps: Vec<Step>,
    claims: BTreeMap<PathBuf, u64>,
    next_claim: u64,
}

type Inode = Arc<Mutex<Content>>;

#[derive(Debug, Clone)]
enum Step {
    Made { path: PathBuf, inode: Inode },
    Renamed { from: PathBuf, to: PathBuf, inode: Inode },
    Removed { path: PathBuf },
}

/// A file: as processes see it, and as it is on stable storage. Missing pages are zeros.
#[derive(Debug, Default)]
struct Content {
    len: u64,
    pages: BTreeMap<u64, Page>,
    stable_len: u64,
    stable_pages: BTreeMap<u64, Page>,
    /// Pages that differ from stable storage and that the next sync writes.
    dirty: BTreeSet<u64>,
    /// Pages that a failed sync has given up: no sync writes them any more.
    forsaken: BTreeSet<u64>,
}

impl SimulatedDisk {
    /// An empty disk. The seed decides what a loss of power leaves.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let world = World {
            random: Random::new(seed),
            life: 1,
            changes: 0,
            stop_at: None,
            stopped: false,
            counts: DiskCounts::default(),
            failures: BTreeSet::new(),
            capacity: None,
            allocated_pages: 0,
            sync_time: (Duration::ZERO, Duration::ZERO),
            owed: Duration::ZERO,
            directories: BTreeSet::new(),
            names: BTreeMap::new(),
            stable_names: BTreeMap::new(),
            steps: Vec::new(),
            claims: BTreeMap::new(),
            next_claim: 1,
        };
        Self { world: Arc::new(Mutex::new(world)) }
    }

    /// The disk as a process sees it, until [`SimulatedDisk::kill`] or [`SimulatedDisk::power_loss`].
    #[must_use]
    pub fn boot(&self) -> Arc<dyn Disk> {
        Arc::new(Process { world: self.world.clone(), life: self.world.lock().life })
    }

    /// Ends the processes. What they wrote is still there.
    pub fn kill(&self) {
        self.world.lock().end();
    }

    /// Ends the processes and takes the power away: see the head of this file for what remains.
    pub fn power_loss(&self) {
        let mut world = self.world.lock();
        world.end();
        world.lose_unsynced();
    }

    /// Lets `n` more changes happen; every later operation, reads too, fails with [`ENDED`] until the processes end.
    pub fn stop_after(&self, n: u64) {
        let mut world = self.world.lock();
        world.stop_at = Some(world.changes + n);
    }

    /// Tells whether an operation has met the end set by [`SimulatedDisk::stop_after`].
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.world.lock().stopped
    }

    /// How many changes there have been.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.world.lock().changes
    }

    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> DiskCounts {
        self.world.lock().counts
    }

    /// Makes the `nth` such operation from now fail (1: the next one), with an error that has no special kind, as EIO.
    pub fn fail(&self, operation: Operation, nth: u64) {
        let mut world = self.world.lock();
        let done = world.count(operation);
        world.failures.insert((operation, done + nth));
    }

    /// Limits the bytes that files may take up together.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.world.lock().capacity = bytes;
    }

    /// How many bytes files take up together.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        self.world.lock().allocated_pages * PAGE_BYTES as u64
    }

    /// How long a sync takes, from and to. It is owed, not waited for: see [`SimulatedDisk::take_owed`].
    pub fn set_sync_time(&self, shortest: Duration, longest: Duration) {
        self.world.lock().sync_time = (shortest, longest.max(shortest));
    }

    /// The time that syncs would have taken since the last call. Who simulates time waits it out.
    #[must_use]
    pub fn take_owed(&self) -> Duration {
        std::mem::take(&mut self.world.lock().owed)
    }

    /// The files, with their lengths.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.world.lock().names.iter().map(|(path, inode)| (path.clone(), inode.lock().len)).collect()
    }

    /// Turns one bit of a file over, on the medium and in the cache. Says whether there was such a byte.
    pub fn flip(&self, path: &Path, offset: u64, bit: u8) -> bool {
        let world = self.world.lock();
        let Some(inode) = world.names.get(path) else { return false };
        let content = &mut *inode.lock();
        if offset >= content.len {
            return false;
        }
        let (page, at) = place(offset);
        for pages in [&mut content.pages, &mut content.stable_pages] {
            Arc::make_mut(pages.entry(page).or_insert_with(|| ZEROS.clone()))[at] ^= 1 << (bit % 8);
        }
        true
    }

    /// Cuts a file off, on the medium and in the cache. Says whether there is such a file.
    pub fn truncate(&self, path: &Path, len: u64) -> bool {
        let mut world = self.world.lock();
        let Some(inode) = world.names.get(path).cloned() else { return false };
        let content = &mut *inode.lock();
        world.free(content.set_len(len));
        content.make_stable();
        true
    }
}

impl World {
    fn end(&mut self) {
        self.life += 1;
        self.stop_at = None;
        self.stopped = false;
        self.failures.clear();
        self.claims.clear();
        self.owed = Duration::ZERO;
    }

    fn check(&self, life: u64) -> io::Result<()> {
        if life != self.life || self.stopped {
            return Err(io::Error::new(ENDED, "the simulated process has ended"));
        }
        Ok(())
    }

    fn count(&mut self, operation: Operation) -> u64 {
        match operation {
            Operation::Read => self.counts.reads,
            Operation::Write => self.counts.writes,
            Operation::Sync => self.counts.syncs,
        }
    }

    /// Counts an operation, and fails it when that was asked for.
    fn begin(&mut self, life: u64, operation: Operation) -> io::Result<()> {
        self.check(life)?;
        match operation {
            Operation::Read => self.counts.reads += 1,
            Operation::Write => self.counts.writes += 1,
            Operation::Sync => self.counts.syncs += 1,
        }
        let number = self.count(operation);
        if self.failures.remove(&(operation, number)) {
            self.counts.failed += 1;
            return Err(io::Error::other("input/output error (simulated)"));
        }
        Ok(())
    }

    /// Counts a change, and fails it when the world is to end before it.
    fn change(&mut self, life: u64) -> io::Result<()> {
        self.check(life)?;
        if self.stop_at.is_some_and(|stop_at| self.changes >= stop_at) {
            self.stopped = true;
            return self.check(life);
        }
        self.changes += 1;
        Ok(())
    }

    fn room_for(&mut self, content: &Content, offset: u64, bytes: usize) -> io::Result<()> {
        let new = pages_of(offset, bytes).filter(|page| !content.pages.contains_key(page)).count() as u64;
        if self.capacity.is_some_and(|capacity| (self.allocated_pages + new) * PAGE_BYTES as u64 > capacity) {
            self.counts.failed += 1;
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on the simulated disk"));
        }
        self.allocated_pages += new;
        Ok(())
    }

    fn step(&mut self, step: Step) {
        apply(&mut self.names, &step);
        self.steps.push(step);
    }

    fn owe_sync(&mut self) {
        let (shortest, longest) = self.sync_time;
        let spread = u64::try_from((longest - shortest).as_micros()).unwrap_or(u64::MAX);
        if !longest.is_zero() {
            self.owed += shortest + Duration::from_micros(self.random.below(spread.saturating_add(1)));
        }
    }

    fn lose_unsynced(&mut self) {
        // Sometimes everything got through, sometimes nothing did, mostly something in between.
        let mood = self.random.below(4);
        let steps = std::mem::take(&mut self.steps);
        for step in &steps {
            if survives(mood, &mut self.random) {
                apply(&mut self.stable_names, step);
            } else {
                self.counts.names_lost += 1;
            }
        }
        self.names.clone_from(&self.stable_names);
        for inode in self.stable_names.values() {
            let (risked, lost) = inode.lock().lose_unsynced(mood, &mut self.random);
            self.counts.pages_at_risk += risked;
            self.counts.pages_lost += lost;
        }
        self.recount();
    }

    fn free(&mut self, pages: u64) {
        // The pages of a file without a name are not counted any more.
        self.allocated_pages = self.allocated_pages.saturating_sub(pages);
    }

    fn recount(&mut self) {
        self.allocated_pages = self.names.values().map(|inode| inode.lock().pages.len() as u64).sum();
    }
}

fn survives(mood: u64, random: &mut Random) -> bool {
    match mood {
        0 => false,
        1 => true,
        _ => random.one_in(2),
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Inode>, step: &Step) {
    match step {
        Step::Made { path, inode } => {
            names.insert(path.clone(), inode.clone());
        }
        Step::Renamed { from, to, inode } => {
            if names.get(from).is_some_and(|named| Arc::ptr_eq(named, inode)) {
                names.remove(from);
            }
            names.insert(to.clone(), inode.clone());
        }
        Step::Removed { path } => {
            names.remove(path);
        }
    }
}

fn is_in(path: &Path, dir: &Path) -> bool {
    path.parent() == Some(dir)
}

fn place(offset: u64) -> (u64, usize) {
    let page_bytes = PAGE_BYTES as u64;
    (offset / page_bytes, usize::try_from(offset % page_bytes).expect("less than a page"))
}

fn pages_of(offset: u64, bytes: usize) -> std::ops::Range<u64> {
    let end = offset + bytes as u64;
    if bytes == 0 { 0..0 } else { offset / PAGE_BYTES as u64..end.div_ceil(PAGE_BYTES as u64) }
}

impl Content {
    fn write(&mut self, bytes: &[u8], offset: u64) {
        let mut done = 0;
        while done < bytes.len() {
            let (page, at) = place(offset + done as u64);
            let part = &bytes[done..(done + PAGE_BYTES - at).min(bytes.len())];
            let whole_zeros = part.len() == PAGE_BYTES && part.iter().all(|&byte| byte == 0);
            if whole_zeros {
                self.pages.insert(page, ZEROS.clone());
            } else {
                Arc::make_mut(self.pages.entry(page).or_insert_with(|| ZEROS.clone()))[at..at + part.len()].copy_from_slice(part);
            }
            self.dirty.insert(page);
            self.forsaken.remove(&page);
            done += part.len();
        }
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    fn read(&self, bytes: &mut [u8], offset: u64) {
        let mut done = 0;
        while done < bytes.len() {
            let (page, at) = place(offset + done as u64);
            let end = (done + PAGE_BYTES - at).min(bytes.len());
            let part = &mut bytes[done..end];
            match self.pages.get(&page) {
                Some(content) => part.copy_from_slice(&content[at..at + part.len()]),
                None => part.fill(0),
            }
            done = end;
        }
    }

    /// Returns how many pages became free.
    fn set_len(&mut self, len: u64) -> u64 {
        let before = self.pages.len();
        if len < self.len {
            let (page, at) = place(len);
            let kept = if at == 0 { page } else { page + 1 };
            for (gone, _) in self.pages.split_off(&kept) {
                self.dirty.insert(gone);
                self.forsaken.remove(&gone);
            }
            if at != 0
                && let Some(content) = self.pages.get_mut(&page)
            {
                Arc::make_mut(content)[at..].fill(0);
                self.dirty.insert(page);
            }
        }
        self.len = len;
        (before - self.pages.len()) as u64
    }

    fn sync(&mut self) {
        for page in std::mem::take(&mut self.dirty) {
            self.settle(page);
        }
        self.stable_len = self.len;
    }

    fn settle(&mut self, page: u64) {
        match self.pages.get(&page) {
            Some(content) => self.stable_pages.insert(page, content.clone()),
            None => self.stable_pages.remove(&page),
        };
    }

    fn make_stable(&mut self) {
        self.sync();
        for page in std::mem::take(&mut self.forsaken) {
            self.settle(page);
        }
    }

    /// A failed sync: the cache keeps its pages and believes that they are written.
    fn forsake(&mut self) {
        self.forsaken.append(&mut self.dirty);
    }

    /// Returns how many pages were at risk, and how many were lost or torn.
    fn lose_unsynced(&mut self, mood: u64, random: &mut Random) -> (u64, u64) {
        let dirty = std::mem::take(&mut self.dirty);
        let forsaken = std::mem::take(&mut self.forsaken);
        let risked = (dirty.len() + forsaken.len()) as u64;
        let mut lost = forsaken.len() as u64;
        let len = self.len_after_loss(mood, random);
        for page in dirty {
            // What was cut off is there again when the cut is lost.
            let uncut = len > self.len && (page + 1) * PAGE_BYTES as u64 > self.len;
            if !uncut && survives(mood, random) {
                self.settle(page);
                continue;
            }
            if !uncut && mood > 1 && random.one_in(3) {
                self.tear(page, random);
            }
            lost += 1;
        }
        (self.len, self.stable_len) = (len, len);
        let (page, at) = place(len);
        self.stable_pages.split_off(&if at == 0 { page } else { page + 1 });
        if at != 0
            && let Some(content) = self.stable_pages.get_mut(&page)
        {
            Arc::make_mut(content)[at..].fill(0);
        }
        self.pages.clone_from(&self.stable_pages);
        (risked, lost)
    }

    fn len_after_loss(&self, mood: u64, random: &mut Random) -> u64 {
        if self.len == self.stable_len || survives(mood, random) {
            return self.len;
        }
        if mood > 1 && random.one_in(2) {
            return self.len.min(self.stable_len) + random.below(self.len.abs_diff(self.stable_len));
        }
        self.stable_len
    }

    /// Some sectors of the page are new, the others old.
    fn tear(&mut self, page: u64, random: &mut Random) {
        let new = self.pages.get(&page).unwrap_or(&ZEROS).clone();
        let old = Arc::make_mut(self.stable_pages.entry(page).or_insert_with(|| ZEROS.clone()));
        for (old, new) in old.chunks_mut(SECTOR_BYTES).zip(new.chunks(SECTOR_BYTES)) {
            if random.one_in(2) {
                old.copy_from_slice(new);
            }
        }
    }
}

/// The disk, for one process.
#[derive(Debug)]
struct Process {
    world: Arc<Mutex<World>>,
    life: u64,
}

impl Disk for Process {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.check(self.life)?;
        world.directories.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut world = self.world.lock();
        world.begin(self.life, Operation::Read)?;
        Ok(world.names.keys().filter(|path| is_in(path, dir)).cloned().collect())
    }

    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world.lock();
        world.check(self.life)?;
        let known = world.names.get(path).cloned();
        let inode = match (known, how) {
            (Some(_), OpenFile::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(inode), OpenFile::Read | OpenFile::Write) => inode,
            (Some(inode), OpenFile::CreateEmpty) => {
                world.change(self.life)?;
                let freed = inode.lock().set_len(0);
                world.free(freed);
                inode
            }
            (None, OpenFile::Read | OpenFile::Write) => return Err(io::ErrorKind::NotFound.into()),
            (None, OpenFile::CreateNew | OpenFile::CreateEmpty) => {
                if !path.parent().is_some_and(|dir| world.directories.contains(dir)) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                world.change(self.life)?;
                let inode = Inode::default();
                world.step(Step::Made { path: path.to_owned(), inode: inode.clone() });
                inode
            }
        };
        Ok(Arc::new(OpenedFile { world: self.world.clone(), life: self.life, inode, writable: how != OpenFile::Read }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.check(self.life)?;
        let inode = world.names.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        world.change(self.life)?;
        world.step(Step::Renamed { from: from.to_owned(), to: to.to_owned(), inode });
        world.recount();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.check(self.life)?;
        if !world.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.change(self.life)?;
        world.step(Step::Removed { path: path.to_owned() });
        world.recount();
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.change(self.life)?;
        world.begin(self.life, Operation::Sync)?;
        world.owe_sync();
        let (settled, left) = std::mem::take(&mut world.steps).into_iter().partition(|step| match step {
            Step::Made { path, .. } | Step::Removed { path } => is_in(path, dir),
            Step::Renamed { from, to, .. } => is_in(from, dir) || is_in(to, dir),
        });
        world.steps = left;
        let settled: Vec<Step> = settled;
        for step in &settled {
            apply(&mut world.stable_names, step);
        }
        Ok(())
    }

    fn claim(&self, dir: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut world = self.world.lock();
        world.check(self.life)?;
        if world.claims.contains_key(dir) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let number = world.next_claim;
        world.next_claim += 1;
        world.claims.insert(dir.to_owned(), number);
        Ok(Box::new(Claim { world: self.world.clone(), dir: dir.to_owned(), number }))
    }

    fn take_owed(&self) -> Duration {
        std::mem::take(&mut self.world.lock().owed)
    }
}

#[derive(Debug)]
struct Claim {
    world: Arc<Mutex<World>>,
    dir: PathBuf,
    number: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // After a kill somebody else may hold it.
        let mut world = self.world.lock();
        if world.claims.get(&self.dir) == Some(&self.number) {
            world.claims.remove(&self.dir);
        }
    }
}

#[derive(Debug)]
struct OpenedFile {
    world: Arc<Mutex<World>>,
    life: u64,
    inode: Inode,
    writable: bool,
}

impl OpenedFile {
    fn writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl DiskFile for OpenedFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.writable()?;
        let mut world = self.world.lock();
        let content = &mut *self.inode.lock();
        let was_stopped = world.stopped;
        if let Err(ended) = world.change(self.life) {
            if world.stopped && !was_stopped {
                // Killed inside the call.
                let done = usize::try_from(world.random.below(bytes.len() as u64 + 1)).unwrap_or(0);
                if world.room_for(content, offset, done).is_ok() {
                    content.write(&bytes[..done], offset);
                }
            }
            return Err(ended);
        }
        world.begin(self.life, Operation::Write)?;
        world.room_for(content, offset, bytes.len())?;
        content.write(bytes, offset);
        Ok(())
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.world.lock().begin(self.life, Operation::Read)?;
        let content = self.inode.lock();
        if offset + bytes.len() as u64 > content.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        content.read(bytes, offset);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.world.lock().check(self.life)?;
        Ok(self.inode.lock().len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writable()?;
        let mut world = self.world.lock();
        world.change(self.life)?;
        world.begin(self.life, Operation::Write)?;
        let freed = self.inode.lock().set_len(len);
        world.free(freed);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.world.lock();
        world.change(self.life)?;
        let began = world.begin(self.life, Operation::Sync);
        let content = &mut *self.inode.lock();
        if began.is_err() {
            content.forsake();
            return began;
        }
        world.owe_sync();
        content.sync();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
