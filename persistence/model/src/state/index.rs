//! Indexes: derived from the records, never stored, rebuilt at load.
//!
//! There may be a million opens, so an entry is two words where it can be: a digest of the name and the id of an open that has it. Two names may share a
//! digest; whoever asks compares the record. No answer depends on digests: their order is never shown.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use smb_types::{CreateGuid, Guid};

use super::State;
use crate::id::{FileKey, LeaseId, LogTime, NodeId, OpenId, SessionId, ShareId, fold_path};
use crate::record::{FileState, Open, Session};

/// Ways to find opens and leases other than by their id.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Indexes {
    pub(crate) by_create_guid: BTreeSet<(CreateGuid, OpenId)>,
    pub(crate) by_session: BTreeSet<(SessionId, OpenId)>,
    pub(crate) sessions_of_node: BTreeSet<(NodeId, SessionId)>,
    pub(crate) by_app_instance: BTreeSet<(Guid, OpenId)>,
    /// Digest of share and folded path without the stream; for the path, and for the one that a rename is about to give.
    pub(crate) by_path: BTreeSet<(u64, OpenId)>,
    /// Digest of share and folded parent directory; the same two paths.
    pub(crate) by_directory: BTreeSet<(u64, OpenId)>,
    /// Folded directories that hold something open, and how many names in each.
    pub(crate) directories: BTreeMap<ShareId, BTreeMap<Box<str>, u32>>,
    /// Digest of the lease, and the lowest of its opens.
    pub(crate) by_lease: BTreeSet<(u64, OpenId)>,
    /// Opens whose client is away, by the end of its time.
    pub(crate) detached: BTreeSet<(LogTime, OpenId)>,
    /// Opens with an oplock break, by its deadline.
    pub(crate) breaking_opens: BTreeSet<(LogTime, OpenId)>,
    /// Files with a lease break, by its deadline.
    pub(crate) breaking_files: BTreeSet<(LogTime, FileKey)>,
}

/// What the indexes know of an open.
#[derive(PartialEq, Eq)]
pub(crate) struct OpenKeys {
    create_guid: Option<CreateGuid>,
    session: Option<SessionId>,
    app_instance: Option<Guid>,
    expires: Option<LogTime>,
    break_deadline: Option<LogTime>,
    names: Names,
}

/// The paths by which an open is found.
#[derive(PartialEq, Eq)]
struct Names {
    share: ShareId,
    path: Arc<str>,
    pending: Option<Arc<str>>,
}

/// What the indexes know of a lease.
#[derive(PartialEq, Eq)]
pub(crate) struct LeaseKeys {
    digest: u64,
    first: Option<OpenId>,
    break_deadline: Option<LogTime>,
}

impl OpenKeys {
    pub(crate) fn of(o: &Open) -> Self {
        Self {
            create_guid: o.create_guid,
            session: o.owner.map(|w| w.session),
            app_instance: o.app_instance.as_ref().map(|a| a.id),
            expires: o.expires_at(),
            break_deadline: o.oplock.break_deadline,
            names: Names { share: o.share, path: Arc::clone(&o.path), pending: o.pending_path.clone() },
        }
    }
}

pub(crate) fn lease_keys(f: &FileState) -> Vec<LeaseKeys> {
    let keys = |l: &crate::record::Lease| LeaseKeys { digest: digest_of_lease(l.id), first: l.opens.first(), break_deadline: l.break_deadline };
    f.leases.values().map(keys).collect()
}

impl Names {
    /// Calls for each name with its digest, the digest of its directory, and that directory, if it is not the root itself.
    fn each(&self, mut call: impl FnMut(u64, Option<(u64, &str)>)) {
        for path in std::iter::once(&self.path).chain(&self.pending) {
            let folded = fold_path(path);
            let directory = parent_of(&folded).map(|d| (digest_of_path(self.share, d), d));
            call(digest_of_path(self.share, without_stream(&folded)), directory);
        }
    }
}

/// The path without what follows the first colon: a stream and its file have it in common.
pub(crate) fn without_stream(folded: &str) -> &str {
    folded.split_once(':').map_or(folded, |(file, _)| file)
}

/// The folded directory of a folded path; None for the root of the share.
pub(crate) fn parent_of(folded: &str) -> Option<&str> {
    (!folded.is_empty()).then(|| folded.rsplit_once('\\').map_or("", |(directory, _)| directory))
}

pub(crate) fn digest_of_path(share: ShareId, folded: &str) -> u64 {
    digest(&(share, folded))
}

pub(crate) fn digest_of_lease(lease: LeaseId) -> u64 {
    digest(&lease)
}

fn digest(name: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

fn swap<T: Ord>(set: &mut BTreeSet<T>, old: Option<T>, new: Option<T>) {
    if old != new {
        old.map(|old| set.remove(&old));
        set.extend(new);
    }
}

impl Indexes {
    /// Takes note of an open that came (no old keys), changed or went (no new ones).
    pub(crate) fn open_changed(&mut self, id: OpenId, old: Option<&OpenKeys>, new: Option<&OpenKeys>) {
        swap(&mut self.by_create_guid, old.and_then(|k| Some((k.create_guid?, id))), new.and_then(|k| Some((k.create_guid?, id))));
        swap(&mut self.by_session, old.and_then(|k| Some((k.session?, id))), new.and_then(|k| Some((k.session?, id))));
        swap(&mut self.by_app_instance, old.and_then(|k| Some((k.app_instance?, id))), new.and_then(|k| Some((k.app_instance?, id))));
        swap(&mut self.detached, old.and_then(|k| Some((k.expires?, id))), new.and_then(|k| Some((k.expires?, id))));
        swap(&mut self.breaking_opens, old.and_then(|k| Some((k.break_deadline?, id))), new.and_then(|k| Some((k.break_deadline?, id))));
        let (old, new) = (old.map(|k| &k.names), new.map(|k| &k.names));
        if old != new {
            old.into_iter().for_each(|names| self.forget_names(id, names));
            new.into_iter().for_each(|names| self.note_names(id, names));
        }
    }

    fn note_names(&mut self, id: OpenId, names: &Names) {
        names.each(|path, directory| {
            self.by_path.insert((path, id));
            let Some((digest, directory)) = directory else { return };
            self.by_directory.insert((digest, id));
            count(&mut self.directories, names.share, directory);
        });
    }

    fn forget_names(&mut self, id: OpenId, names: &Names) {
        names.each(|path, directory| {
            self.by_path.remove(&(path, id));
            let Some((digest, directory)) = directory else { return };
            self.by_directory.remove(&(digest, id));
            let of_share = self.directories.get_mut(&names.share).expect("a share with an open has its directories");
            let left = of_share.get_mut(directory).expect("an open's directory is counted");
            *left -= 1;
            if *left == 0 {
                of_share.remove(directory);
                if of_share.is_empty() {
                    self.directories.remove(&names.share);
                }
            }
        });
    }

    /// Takes note of a file whose leases were, and are, these.
    pub(crate) fn file_changed(&mut self, file: FileKey, old: &[LeaseKeys], new: &[LeaseKeys]) {
        if old == new {
            return;
        }
        for lease in old {
            lease.first.map(|open| self.by_lease.remove(&(lease.digest, open)));
            lease.break_deadline.map(|deadline| self.breaking_files.remove(&(deadline, file)));
        }
        for lease in new {
            self.by_lease.extend(lease.first.map(|open| (lease.digest, open)));
            self.breaking_files.extend(lease.break_deadline.map(|deadline| (deadline, file)));
        }
    }
}

fn count(directories: &mut BTreeMap<ShareId, BTreeMap<Box<str>, u32>>, share: ShareId, directory: &str) {
    let of_share = directories.entry(share).or_default();
    match of_share.get_mut(directory) {
        Some(names) => *names += 1,
        None => {
            of_share.insert(directory.into(), 1);
        }
    }
}

impl State {
    /// All at once: sorted lists make dense trees, in a fraction of the time that one entry after the other takes.
    pub(crate) fn rebuild_indexes(&mut self) {
        let mut index = Indexes::default();
        let (mut guids, mut sessions, mut apps, mut away, mut breaking) = (vec![], vec![], vec![], vec![], vec![]);
        let (mut paths, mut in_directories) = (vec![], vec![]);
        for o in self.opens.values() {
            let keys = OpenKeys::of(o);
            guids.extend(keys.create_guid.map(|k| (k, o.id)));
            sessions.extend(keys.session.map(|k| (k, o.id)));
            apps.extend(keys.app_instance.map(|k| (k, o.id)));
            away.extend(keys.expires.map(|k| (k, o.id)));
            breaking.extend(keys.break_deadline.map(|k| (k, o.id)));
            keys.names.each(|path, directory| {
                paths.push((path, o.id));
                let Some((digest, directory)) = directory else { return };
                in_directories.push((digest, o.id));
                count(&mut index.directories, o.share, directory);
            });
        }
        let (mut leases, mut breaking_files) = (vec![], vec![]);
        for f in self.files.values() {
            for lease in lease_keys(f) {
                leases.extend(lease.first.map(|open| (lease.digest, open)));
                breaking_files.extend(lease.break_deadline.map(|deadline| (deadline, f.key)));
            }
        }
        index.by_create_guid = guids.into_iter().collect();
        index.by_session = sessions.into_iter().collect();
        index.sessions_of_node = self.sessions.values().map(|s: &Session| (s.node, s.id)).collect();
        index.by_app_instance = apps.into_iter().collect();
        index.by_path = paths.into_iter().collect();
        index.by_directory = in_directories.into_iter().collect();
        index.by_lease = leases.into_iter().collect();
        index.detached = away.into_iter().collect();
        index.breaking_opens = breaking.into_iter().collect();
        index.breaking_files = breaking_files.into_iter().collect();
        self.index = index;
    }
}
