//! A data directory whose node does not run: looked at, shown, repaired.
//!
//! [`check`] reads every byte and changes nothing. [`repair`] does only what is safe, and keeps everything that it takes out of the way: it has
//! the state made anew from snapshot and log, or has the node forget what it holds and get it from the others. It never guesses: a log
//! that is damaged in the middle is not cut off, because what came after it may have been promised.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::backup::{BackupError, BackupHead, BackupSize, BackupWriter};
use crate::codec::{self, Kind};
use crate::environment::{Disk, Environment, OpenFile};
use crate::storage::life::{self, Doubt, Mark};
use crate::storage::log::record;
use crate::storage::log::scan::{self, Contents, ScanError};
use crate::storage::records::{Records, RecordsError, Table};
use crate::storage::state::{Progress, explained};
use crate::storage::{DATABASE, DirectoryIdentity, IDENTITY, key, log, snapshot};
use crate::types::{Entry, LogId};

/// Why the directory cannot be looked at or repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfflineError {
    /// It is not there.
    #[error("{0} does not exist; name the directory of a node's records")]
    Missing(PathBuf),
    /// It holds no node's records.
    #[error("{0} does not hold a node's records: it has neither a log nor a database; name the directory `records` in a node's data_dir")]
    Foreign(PathBuf),
    /// A node works on it.
    #[error("{0} is in use: stop its node first")]
    InUse(PathBuf),
    /// A file cannot be read or written.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The repair would lose what only other nodes may hold.
    #[error("{0}")]
    Refused(String),
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// Cluster and node.
    Identity,
    /// The mark of the last run.
    Life,
    /// A part of the log.
    Log,
    /// The database of the state, which is several files.
    State,
    /// A snapshot.
    Snapshot,
}

/// One file, or the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// Where it is.
    pub path: PathBuf,
    /// What it is for.
    pub kind: FileKind,
    /// Its length.
    pub bytes: u64,
    /// What it holds: log records, keys of the state, entries of a snapshot.
    pub records: u64,
    /// What is wrong with it.
    pub problems: Vec<String>,
}

/// What a directory holds, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The directory.
    pub dir: PathBuf,
    /// Its cluster.
    #[serde(serialize_with = "as_text")]
    pub cluster: Option<Uuid>,
    /// Its node.
    pub node: Option<u64>,
    /// The term of the vote.
    pub term: Option<u64>,
    /// For whom the node voted.
    pub voted_for: Option<u64>,
    /// First and last entry of the log.
    pub first: Option<u64>,
    /// The last entry of the log.
    pub last: Option<u64>,
    /// The last entry that was purged.
    pub purged: Option<u64>,
    /// The last entry that is known to be committed.
    pub committed: Option<u64>,
    /// The last entry that the state holds.
    pub applied: Option<u64>,
    /// The last entry that a good snapshot holds.
    pub snapshot: Option<u64>,
    /// The last run ended cleanly.
    pub clean_stop: bool,
    /// Why the node would not vote at first.
    pub doubt: Option<String>,
    /// Its files.
    pub files: Vec<FileReport>,
    /// What does not fit together.
    pub problems: Vec<String>,
}

fn as_text<S: Serializer>(id: &Option<Uuid>, serializer: S) -> Result<S::Ok, S::Error> {
    id.map(|id| id.to_string()).serialize(serializer)
}

impl Report {
    /// Tells whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty() && self.files.iter().all(|file| file.problems.is_empty())
    }

    fn is_bad(&self, kind: FileKind) -> bool {
        self.files.iter().any(|file| file.kind == kind && !file.problems.is_empty())
    }
}

/// What is needed of a directory to look at it.
struct Place {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    boot_id: String,
    _claim: Box<dyn std::any::Any + Send + Sync>,
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OfflineError {
    let path = path.to_owned();
    move |source| OfflineError::Io { what, path, source }
}

impl Place {
    fn open(dir: &Path) -> Result<Self, OfflineError> {
        if !dir.is_dir() {
            return Err(OfflineError::Missing(dir.to_owned()));
        }
        if !dir.join(log::FOLDER).is_dir() && !dir.join(DATABASE).is_dir() {
            return Err(OfflineError::Foreign(dir.to_owned()));
        }
        let disk = Environment::default().disk;
        let claim = disk.claim(dir).map_err(|err| match err.kind() {
            io::ErrorKind::WouldBlock => OfflineError::InUse(dir.to_owned()),
            _ => failed("claim", dir)(err),
        })?;
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        Ok(Self { dir: dir.to_owned(), disk, boot_id, _claim: claim })
    }

    fn identity(&self) -> Result<Option<(DirectoryIdentity, u64)>, String> {
        let path = self.dir.join(IDENTITY);
        let bytes = match read_all(self.disk.as_ref(), &path) {
            Ok(bytes) => bytes,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(err.to_string()),
        };
        codec::decode(Kind::Identity, &bytes).map(|identity| Some((identity, bytes.len() as u64))).map_err(|err| err.to_string())
    }

    fn scan_log(&self, owner: (u128, u64), mark: Option<&Mark>) -> Result<Contents, ScanError> {
        scan::scan(self.disk.as_ref(), &self.dir.join(log::FOLDER), owner, life::judge(mark, &self.boot_id))
    }
}

fn read_all(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenFile::Read)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

fn folder_length(dir: &Path) -> u64 {
    std::fs::read_dir(dir).map_or(0, |items| items.flatten().map(|item| length(&item.path())).sum())
}

/// Reads a whole directory. `progress` is told each file when it is read.
///
/// # Errors
/// There is no such directory, a node works on it, or it cannot be read at all. What is damaged is in the report.
pub fn check(dir: &Path, mut progress: impl FnMut(&FileReport)) -> Result<Report, OfflineError> {
    let place = Place::open(dir)?;
    examine(&place, &mut progress).map(|(report, _)| report)
}

fn examine(place: &Place, progress: &mut dyn FnMut(&FileReport)) -> Result<(Report, Option<Contents>), OfflineError> {
    let mut report = Report { dir: place.dir.clone(), ..Report::default() };
    let mut add = |report: &mut Report, file: FileReport| {
        progress(&file);
        report.files.push(file);
    };
    let identity = place.identity();
    let path = place.dir.join(IDENTITY);
    match &identity {
        Ok(Some((identity, bytes))) => {
            (report.cluster, report.node) = (Some(Uuid::from_u128(identity.cluster)), Some(identity.node_id));
            add(&mut report, FileReport { path, kind: FileKind::Identity, bytes: *bytes, records: 1, problems: Vec::new() });
        }
        Ok(None) => report
            .problems
            .push("the file identity is missing: a node that starts here makes a new one, or reads it from an old database".to_owned()),
        Err(because) => {
            let (bytes, problems) = (length(&path), vec![because.clone()]);
            add(&mut report, FileReport { path, kind: FileKind::Identity, bytes, records: 0, problems });
        }
    }
    let mark = life::read(place.disk.as_ref(), &place.dir);
    let path = life::path(&place.dir);
    match &mark {
        Ok(Some(mark)) => {
            report.clean_stop = matches!(mark, Mark::Clean { .. });
            report.doubt = life::judge(Some(mark), &place.boot_id).doubt.map(|doubt| format!("{doubt:?}"));
            add(&mut report, FileReport { bytes: length(&path), path, kind: FileKind::Life, records: 1, problems: Vec::new() });
        }
        Ok(None) => {}
        Err(err) => {
            let problems = vec![err.to_string()];
            add(&mut report, FileReport { bytes: length(&path), path, kind: FileKind::Life, records: 0, problems });
        }
    }
    let contents = examine_log(place, &mut report, mark.as_ref().ok().and_then(Option::as_ref), &mut add)?;
    let heads = examine_snapshots(place, &mut report, &mut add)?;
    report.snapshot = heads.iter().flatten().map(|log_id| log_id.index).max();
    let applied = examine_state(place, &mut report, &mut add);
    // A state that does not fit is made anew by the node itself, if it can be.
    if let (Some(contents), Some(applied)) = (&contents, applied)
        && let Err(because) = explained(applied, contents)
    {
        let can_begin = |head: &Option<LogId>| explained(*head, contents).is_ok() || *head > contents.last();
        if contents.purged.is_some() && !heads.iter().any(can_begin) {
            report.problems.push(format!("the state does not fit the log, and there is no snapshot to make it anew from: {because}"));
        }
    }
    Ok((report, contents))
}

fn examine_log(
    place: &Place,
    report: &mut Report,
    mark: Option<&Mark>,
    add: &mut dyn FnMut(&mut Report, FileReport),
) -> Result<Option<Contents>, OfflineError> {
    let folder = place.dir.join(log::FOLDER);
    let Some(owner) = report.cluster.zip(report.node).map(|(cluster, node)| (cluster.as_u128(), node)).or_else(|| owner_of(place)) else {
        report.problems.push("the log cannot be read: nobody knows whose it is".to_owned());
        return Ok(None);
    };
    let (contents, damage) = match place.scan_log(owner, mark) {
        Ok(contents) => (contents, None),
        Err(ScanError::Damage(damage)) => {
            let text = damage.text();
            (*damage.before, Some((damage.path, text)))
        }
        Err(ScanError::Io(err)) => return Err(failed("read the log in", &folder)(err)),
    };
    report.term = contents.vote.map(|vote| vote.leader_id.term);
    report.voted_for = contents.vote.map(|vote| vote.leader_id.node_id);
    let index = |log_id: Option<LogId>| log_id.map(|log_id| log_id.index);
    (report.purged, report.committed) = (index(contents.purged), index(contents.committed));
    report.first = contents.entries.front().map(|entry| entry.log_id.index);
    report.last = index(contents.last());
    for path in place.disk.list(&folder).map_err(failed("list", &folder))? {
        let segment = contents.segments.iter().find(|segment| segment.path == path);
        let problems = damage.iter().filter(|(bad, _)| *bad == path).map(|(_, text)| text.clone()).collect();
        let records = segment.map_or(0, |segment| segment.records);
        add(report, FileReport { bytes: length(&path), path, kind: FileKind::Log, records, problems });
    }
    match damage {
        Some((path, text)) => {
            if !report.files.iter().any(|file| file.path == path) {
                report.problems.push(text);
            }
            Ok(None)
        }
        None => Ok(Some(contents)),
    }
}

/// Whose log it is, by the heads of its files.
fn owner_of(place: &Place) -> Option<(u128, u64)> {
    place.disk.list(&place.dir.join(log::FOLDER)).ok()?.iter().find_map(|path| {
        let mut head = [0; record::HEAD_BYTES as usize];
        place.disk.open(path, OpenFile::Read).ok()?.read_exact_at(&mut head, 0).ok()?;
        record::Head::decode(&head).ok().map(|head| (head.cluster, head.node))
    })
}

fn examine_snapshots(
    place: &Place,
    report: &mut Report,
    add: &mut dyn FnMut(&mut Report, FileReport),
) -> Result<Vec<Option<LogId>>, OfflineError> {
    let folder = place.dir.join(snapshot::FOLDER);
    let mut heads = Vec::new();
    for path in place.disk.list(&folder).map_err(failed("list", &folder))? {
        // What is not complete is removed by the next start.
        if path.extension().is_some() {
            continue;
        }
        let mut records = 0;
        let mut read = || -> io::Result<Option<LogId>> {
            let (mut reader, head) = snapshot::SnapshotReader::open(place.disk.as_ref(), &path)?;
            while let Some(piece) = reader.piece()? {
                records += piece.len() as u64;
            }
            Ok(head.meta.last_log_id)
        };
        let problems = match read() {
            Ok(head) => {
                heads.push(head);
                Vec::new()
            }
            Err(err) => vec![err.to_string()],
        };
        add(report, FileReport { bytes: length(&path), path, kind: FileKind::Snapshot, records, problems });
    }
    Ok(heads)
}

/// Reads every value of the state. Returns how far it is, if that can be read.
fn examine_state(place: &Place, report: &mut Report, add: &mut dyn FnMut(&mut Report, FileReport)) -> Option<Option<LogId>> {
    let path = place.dir.join(DATABASE);
    if !path.is_dir() {
        return Some(None);
    }
    let (mut records, mut problems) = (0, Vec::new());
    let progress = match Records::open_to_read(&path) {
        Ok(database) => read_state(&database, &mut records, &mut problems),
        Err(err) => {
            problems.push(format!("the database cannot be opened: {}", words(&err)));
            None
        }
    };
    report.applied = progress.as_ref().and_then(|progress| progress.log_id).map(|log_id| log_id.index);
    add(report, FileReport { bytes: folder_length(&path), path, kind: FileKind::State, records, problems });
    progress.map(|progress| progress.log_id)
}

/// Problems of the state that are listed; one is enough to have it made anew.
const PROBLEMS_MAX: usize = 20;

fn read_state(database: &Records, records: &mut u64, problems: &mut Vec<String>) -> Option<Progress> {
    for item in database.scan(Table::State) {
        *records += 1;
        let bad = match item {
            Ok((key, value)) => {
                codec::unwrap(Kind::Value, &value).err().map(|err| format!("the value of key {} is {err}", key.escape_ascii()))
            }
            // Nothing can be read after this.
            Err(err) => {
                problems.push(words(&err));
                return None;
            }
        };
        if let Some(bad) = bad.filter(|_| problems.len() < PROBLEMS_MAX) {
            problems.push(bad);
        }
    }
    match database.get(Table::Meta, key::APPLIED) {
        Ok(Some(bytes)) => match codec::decode::<Progress>(Kind::Applied, &bytes) {
            Ok(progress) => Some(progress),
            Err(err) => {
                problems.push(format!("the applied mark is {err}"));
                None
            }
        },
        Ok(None) => Some(Progress::default()),
        Err(err) => {
            problems.push(words(&err));
            None
        }
    }
}

fn words(err: &RecordsError) -> String {
    match err {
        RecordsError::InUse => "somebody else works on it".to_owned(),
        RecordsError::Full => "no space is left on its disk".to_owned(),
        RecordsError::Failed(text) => text.clone(),
    }
}

/// Writes a backup of what the state holds. For a cluster that has lost its majority: what the log holds beyond the state is not in it,
/// because nobody can tell any more whether it was agreed on.
///
/// # Errors
/// As [`check`]; or the state is damaged, or `out` fails.
pub fn export<W: io::Write>(dir: &Path, notes: BTreeMap<String, String>, out: W) -> Result<(W, BackupHead, BackupSize), OfflineError> {
    let place = Place::open(dir)?;
    let path = place.dir.join(DATABASE);
    let unusable = |because: String| OfflineError::Refused(format!("{} cannot be copied: {because}", path.display()));
    let identity = place.identity().map_err(&unusable)?.map(|(identity, _)| (identity.cluster, identity.node_id));
    let (cluster, node_id) = identity.or_else(|| owner_of(&place)).ok_or_else(|| unusable("nobody knows whose it is".to_owned()))?;
    let database = Records::open_to_read(&path).map_err(|err| unusable(words(&err)))?;
    let (mut records, mut problems) = (0, Vec::new());
    let progress = read_state(&database, &mut records, &mut problems);
    let (Some(Progress { log_id: Some(log_id), membership, time_ms }), true) = (progress, problems.is_empty()) else {
        return Err(unusable(problems.first().cloned().unwrap_or_else(|| "it holds nothing".to_owned())));
    };
    let head = BackupHead {
        cluster: Uuid::from_u128(cluster),
        node_id,
        index: log_id.index,
        term: log_id.leader_id.term,
        time_ms,
        made_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        members: membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect(),
        entries_about: records,
        notes,
    };
    let failed = |err: BackupError| OfflineError::Refused(err.to_string());
    let mut writer = BackupWriter::new(out, &head).map_err(failed)?;
    for item in database.scan(Table::State) {
        let (key, value) = item.map_err(|err| unusable(words(&err)))?;
        let value = codec::unwrap(Kind::Value, &value).map_err(|err| unusable(err.to_string()))?;
        writer.put(&key, value).map_err(failed)?;
    }
    let (out, size) = writer.finish().map_err(failed)?;
    Ok((out, head, size))
}

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Entries of the log.
    Log,
    /// Keys of the state.
    State,
}

/// One line of a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A log entry.
    Entry {
        /// Its place in the log.
        index: u64,
        /// Its term.
        term: u64,
        /// The leader that wrote it.
        leader: u64,
        /// Log time, for commands.
        time_ms: u64,
        /// Its class, or what else it is.
        what: String,
        /// The command.
        command: Vec<u8>,
    },
    /// A key of the state.
    Value {
        /// The key.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
}

/// Shows what a directory holds, line by line, until `show` says that it is enough.
///
/// # Errors
/// As [`check`]; or what should be shown is damaged.
pub fn dump(dir: &Path, what: What, mut show: impl FnMut(Line) -> io::Result<()>) -> Result<(), OfflineError> {
    let place = Place::open(dir)?;
    match what {
        What::Log => dump_log(&place, &mut show),
        What::State => dump_state(&place, &mut show),
    }
}

fn dump_log(place: &Place, show: &mut dyn FnMut(Line) -> io::Result<()>) -> Result<(), OfflineError> {
    let folder = place.dir.join(log::FOLDER);
    let owner = owner_of(place).ok_or_else(|| OfflineError::Refused(format!("{} holds no readable file of a log", folder.display())))?;
    let mark = life::read(place.disk.as_ref(), &place.dir).ok().flatten();
    let (contents, damage) = match place.scan_log(owner, mark.as_ref()) {
        Ok(contents) => (contents, None),
        Err(ScanError::Damage(damage)) => {
            let text = damage.text();
            (*damage.before, Some(text))
        }
        Err(ScanError::Io(err)) => return Err(failed("read the log in", &folder)(err)),
    };
    for entry in &contents.entries {
        let Some(segment) = contents.segments.iter().find(|segment| segment.number == entry.at.segment()) else { continue };
        let mut bytes = vec![0; record::padded(entry.bytes as usize)];
        segment.file.read_exact_at(&mut bytes, u64::from(entry.at.offset())).map_err(failed("read", &segment.path))?;
        let read = record::read(&bytes, entry.at).and_then(|record| record::split_entry(record.payload));
        let Some((log_id, time_ms, envelope)) = read else { continue };
        let (what, command) = match codec::decode::<Entry>(Kind::Entry, envelope).map(|entry| entry.payload) {
            Ok(openraft::EntryPayload::Blank) => ("blank".to_owned(), Vec::new()),
            Ok(openraft::EntryPayload::Normal(command)) => (format!("{:?}", command.class).to_lowercase(), command.data.0.to_vec()),
            Ok(openraft::EntryPayload::Membership(members)) => (format!("members {members}"), Vec::new()),
            Err(err) => (format!("damaged: {err}"), Vec::new()),
        };
        let (index, term, leader) = (log_id.index, log_id.leader_id.term, log_id.leader_id.node_id);
        show(Line::Entry { index, term, leader, time_ms, what, command }).map_err(failed("write what is in", &folder))?;
    }
    damage.map_or(Ok(()), |text| Err(OfflineError::Refused(format!("what follows cannot be read: {text}"))))
}

fn dump_state(place: &Place, show: &mut dyn FnMut(Line) -> io::Result<()>) -> Result<(), OfflineError> {
    let path = place.dir.join(DATABASE);
    let unreadable = |because: String| OfflineError::Refused(format!("{} cannot be read: {because}", path.display()));
    let database = Records::open_to_read(&path).map_err(|err| unreadable(words(&err)))?;
    for item in database.scan(Table::State) {
        let (key, value) = item.map_err(|err| unreadable(words(&err)))?;
        let value = codec::unwrap(Kind::Value, &value)
            .map_err(|err| unreadable(format!("the value of key {} is {err}", key.escape_ascii())))?
            .to_vec();
        show(Line::Value { key: key.into_vec(), value }).map_err(failed("write what is in", &path))?;
    }
    Ok(())
}

/// What a repair does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Step {
    /// Moves something damaged out of the way that is not needed.
    SetAside {
        /// What.
        path: PathBuf,
    },
    /// Moves the database out of the way; the node makes the state anew from snapshot and log when it starts.
    MakeStateAnew {
        /// The database.
        path: PathBuf,
    },
    /// Has the node forget what it holds, except its vote, and get everything from the others; keeps a copy.
    Refill,
    /// Writes the mark of the last run anew: the node does not vote before it has caught up.
    Distrust,
    /// Writes cluster and node anew, as the log has them.
    WriteIdentity,
}

/// What a repair will do, or has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// Where what is taken out of the way is kept.
    pub kept_in: Option<PathBuf>,
}

/// Finds out what would make a directory usable again. Changes nothing.
///
/// # Errors
/// As [`check`].
pub fn plan(dir: &Path) -> Result<(Report, Plan), OfflineError> {
    let place = Place::open(dir)?;
    let (report, contents) = examine(&place, &mut |_| {})?;
    let plan = plan_for(&report, contents.as_ref(), &place);
    Ok((report, plan))
}

fn plan_for(report: &Report, contents: Option<&Contents>, place: &Place) -> Plan {
    let mut steps = Vec::new();
    if report.is_bad(FileKind::Identity) && owner_of(place).is_some() {
        steps.push(Step::WriteIdentity);
    }
    let bad_snapshots = report.files.iter().filter(|file| file.kind == FileKind::Snapshot && !file.problems.is_empty());
    steps.extend(bad_snapshots.map(|file| Step::SetAside { path: file.path.clone() }));
    let log_is_bad = contents.is_none();
    // Only if the log goes on where a good snapshot, or nothing, ends.
    let makeable = contents
        .is_some_and(|contents| contents.purged.is_none_or(|purged| report.snapshot.is_some_and(|snapshot| snapshot >= purged.index)));
    let state_is_bad = report.is_bad(FileKind::State) || !report.problems.is_empty() && !log_is_bad && report.cluster.is_some();
    if log_is_bad || state_is_bad && !makeable {
        steps.push(Step::Refill);
    } else {
        if state_is_bad {
            steps.push(Step::MakeStateAnew { path: place.dir.join(DATABASE) });
        }
        if report.is_bad(FileKind::Life) {
            steps.push(Step::Distrust);
        }
    }
    Plan { steps, kept_in: None }
}

/// Makes a directory usable again, if that is safe. With `refill` also by having the node forget what it holds: only when other nodes hold
/// it too. Everything that is taken away is kept in a folder beside it.
///
/// # Errors
/// As [`check`]; or nothing safe can be done without `refill`.
pub fn repair(dir: &Path, refill: bool) -> Result<Plan, OfflineError> {
    let place = Place::open(dir)?;
    let (report, contents) = examine(&place, &mut |_| {})?;
    let mut plan = plan_for(&report, contents.as_ref(), &place);
    if plan.steps.is_empty() {
        return Ok(plan);
    }
    if plan.steps.contains(&Step::Refill) && !refill {
        let because = "what is damaged cannot be made anew from what this directory holds. If other nodes of the cluster run, run this again with \
            --refill: the node forgets what it holds and gets everything from them. If this was the only node, restore a backup";
        return Err(OfflineError::Refused(because.to_owned()));
    }
    let keep = set_up_keep(&place)?;
    for step in &plan.steps {
        carry_out(&place, step, &keep)?;
    }
    plan.kept_in = Some(keep);
    Ok(plan)
}

fn set_up_keep(place: &Place) -> Result<PathBuf, OfflineError> {
    for number in 1..10_000 {
        let keep = place.dir.join(format!("damaged-{number}"));
        match std::fs::create_dir(&keep) {
            Ok(()) => return Ok(keep),
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
            Err(err) => return Err(failed("make", &keep)(err)),
        }
    }
    Err(OfflineError::Refused(format!("{} holds too many folders named damaged-N: remove some", place.dir.display())))
}

fn carry_out(place: &Place, step: &Step, keep: &Path) -> Result<(), OfflineError> {
    let mark = |because: Doubt| {
        let mark = Mark::InDoubt { boot_id: place.boot_id.clone(), because };
        life::write(place.disk.as_ref(), &place.dir, &mark).map_err(failed("write", &life::path(&place.dir)))
    };
    match step {
        Step::SetAside { path } | Step::MakeStateAnew { path } => set_aside(path, keep),
        Step::Refill => {
            // The log stays in its place: the vote is read from it by the next start, which then empties it.
            copy_aside(place, &place.dir.join(log::FOLDER), keep)?;
            for folder in [DATABASE, snapshot::FOLDER] {
                let path = place.dir.join(folder);
                if path.is_dir() {
                    set_aside(&path, keep)?;
                }
            }
            mark(Doubt::Superseded)
        }
        Step::Distrust => {
            copy_file_aside(&life::path(&place.dir), keep)?;
            mark(Doubt::Repaired)
        }
        Step::WriteIdentity => {
            let path = place.dir.join(IDENTITY);
            copy_file_aside(&path, keep)?;
            let Some((cluster, node_id)) = owner_of(place) else { return Ok(()) };
            let write = || -> io::Result<()> {
                let part = path.with_extension("part");
                let file = place.disk.open(&part, OpenFile::CreateEmpty)?;
                file.write_all_at(&codec::encode(Kind::Identity, &DirectoryIdentity { cluster, node_id }).map_err(io::Error::other)?, 0)?;
                file.sync()?;
                place.disk.rename(&part, &path)?;
                place.disk.sync_dir(&place.dir)
            };
            write().map_err(failed("write", &path))
        }
    }
}

fn set_aside(path: &Path, keep: &Path) -> Result<(), OfflineError> {
    let Some(name) = path.file_name() else { return Ok(()) };
    std::fs::rename(path, keep.join(name)).map_err(failed("set aside", path))?;
    let sync = |dir: &Path| std::fs::File::open(dir).and_then(|dir| dir.sync_all());
    sync(keep).and_then(|()| path.parent().map_or(Ok(()), sync)).map_err(failed("set aside", path))
}

fn copy_file_aside(path: &Path, keep: &Path) -> Result<(), OfflineError> {
    let Some(name) = path.file_name() else { return Ok(()) };
    std::fs::copy(path, keep.join(name)).map_err(failed("copy", path)).map(drop)
}

fn copy_aside(place: &Place, folder: &Path, keep: &Path) -> Result<(), OfflineError> {
    let Some(name) = folder.file_name() else { return Ok(()) };
    let to = keep.join(name);
    std::fs::create_dir(&to).map_err(failed("make", &to))?;
    for path in place.disk.list(folder).map_err(failed("list", folder))? {
        copy_file_aside(&path, &to)?;
    }
    Ok(())
}
