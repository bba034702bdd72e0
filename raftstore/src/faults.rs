//! Faults on purpose: links that are cut, and named points on the way of a command at which something can be made to happen.
//!
//! A handle is shared by tests or chaos runs with the nodes that they disturb. An empty one costs one atomic read per message or point.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

/// Declares the points with their names, so that neither can be forgotten.
macro_rules! points {
    ($($(#[doc = $doc:literal])+ $point:ident = $name:literal,)+) => {
        /// A place on the way of a command.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Point {
            $($(#[doc = $doc])+ $point,)+
        }

        impl Point {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$point,)+];

            /// The name, as tables show it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)+
                }
            }
        }
    };
}

points! {
    /// The proposing node is about to send a command to the leader, or to take it in itself.
    ProposeBeforeSend = "propose.before_send",
    /// The proposing node has the leader's answer, or knows that none comes.
    ProposeAfterSend = "propose.after_send",
    /// The proposing node knows the outcome and has not told it yet.
    ProposeBeforeReturn = "propose.before_return",
    /// The leader has a command that is not in its log yet.
    LeaderBeforeAppend = "leader.before_append",
    /// The leader's command is committed, and the proposing node has not been told.
    LeaderAfterCommit = "leader.after_commit",
    /// The leader is about to stamp a command with log time.
    ClockStamp = "clock.stamp",
    /// A follower has entries that are not in its log yet.
    FollowerBeforeAppend = "follower.before_append",
    /// A follower's log has the entries, and the leader has not been told.
    FollowerAfterAppend = "follower.after_append",
    /// The log's writer is about to write.
    LogBeforeWrite = "log.before_write",
    /// It has written, and not synced.
    LogAfterWriteBeforeSync = "log.after_write_before_sync",
    /// It has synced, and told nobody.
    LogAfterSyncBeforeAck = "log.after_sync_before_ack",
    /// The log is about to begin a new segment.
    LogNewSegment = "log.new_segment",
    /// The end of the log is about to be cut off.
    LogTruncate = "log.truncate",
    /// The beginning of the log is about to be forgotten.
    LogPurge = "log.purge",
    /// A vote is about to be written.
    VoteBeforeSave = "vote.before_save",
    /// A vote is on disk, and nobody has been told.
    VoteAfterSave = "vote.after_save",
    /// A request for a vote has come in.
    VoteBeforeAnswer = "vote.before_answer",
    /// The answer to it is about to go.
    VoteAfterAnswer = "vote.after_answer",
    /// Committed entries are about to be applied.
    ApplyBefore = "apply.before",
    /// They are applied, and nobody has been told.
    ApplyAfter = "apply.after",
    /// A snapshot is about to be made.
    SnapshotBuild = "snapshot.build",
    /// A snapshot is about to be sent.
    SnapshotBegin = "snapshot.begin",
    /// A piece of a snapshot has come in.
    SnapshotChunk = "snapshot.chunk",
    /// The last piece of a snapshot has come in.
    SnapshotEnd = "snapshot.end",
    /// A snapshot is about to replace the state.
    SnapshotInstall = "snapshot.install",
    /// A request is about to be sent to another node.
    RequestBeforeSend = "request.before_send",
    /// The answer to a request is about to be sent.
    ReplyBeforeSend = "reply.before_send",
    /// A connection to another node is about to be made.
    Connect = "connect",
    /// A leader is asked to confirm that it leads.
    ReadConfirm = "read.confirm",
    /// A change of the membership is about to be made.
    MembershipChange = "membership.change",
    /// The leader is about to hand over.
    LeaderTransfer = "leader.transfer",
    /// A dead leader's process has been noticed.
    DeathNoticed = "death.noticed",
    /// A node is about to ask for its lease.
    RenewBeforeSend = "renew.before_send",
    /// A node's lease has been granted, and the node has not been told.
    RenewBeforeAnswer = "renew.before_answer",
    /// A node has got its lease.
    RenewAfterAnswer = "renew.after_answer",
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What shall happen at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Nothing.
    Go,
    /// Go on after this time. Where nothing can wait, at once.
    Wait(Duration),
    /// Messages: it is lost. Elsewhere, nothing.
    Lose,
    /// Requests: it is sent twice. Elsewhere, nothing.
    Twice,
    /// An error of input or output. Where there is nothing that could fail, nothing.
    Fail,
    /// The process ends here: what came to this point does not go on. The watcher ends the rest of it.
    End,
}

/// How a point was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// As always.
    On,
    /// The message is lost.
    Lost,
    /// The request is sent twice.
    Twice,
    /// The operation fails.
    Failed,
}

/// Somebody who is told of every point passed, and decides what happens there.
pub trait Watcher: Send + Sync + 'static {
    /// A node has come to a point.
    fn at(&self, node: u64, point: Point) -> Reaction;
}

/// The faults. Clones share them.
#[derive(Clone, Default)]
pub struct Faults {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    any_cut: AtomicBool,
    cut: RwLock<BTreeSet<(u64, u64)>>,
    any_watcher: AtomicBool,
    watcher: RwLock<Option<Arc<dyn Watcher>>>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("cut", &*self.inner.cut.read()).finish_non_exhaustive()
    }
}

impl Faults {
    /// Cuts the link from one node to another: nothing arrives, and nobody is told.
    pub fn cut(&self, from: u64, to: u64) {
        self.inner.cut.write().insert((from, to));
        self.inner.any_cut.store(true, Ordering::SeqCst);
    }

    /// Cuts a node off from all the others, in both directions.
    pub fn isolate(&self, node: u64, others: &[u64]) {
        for &other in others.iter().filter(|&&other| other != node) {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// Mends every link.
    pub fn heal(&self) {
        self.inner.cut.write().clear();
        self.inner.any_cut.store(false, Ordering::SeqCst);
    }

    /// Says whether the link is cut.
    pub fn is_cut(&self, from: u64, to: u64) -> bool {
        self.inner.any_cut.load(Ordering::SeqCst) && self.inner.cut.read().contains(&(from, to))
    }

    /// Has somebody decide what happens at every point.
    pub fn set_watcher(&self, watcher: Arc<dyn Watcher>) {
        *self.inner.watcher.write() = Some(watcher);
        self.inner.any_watcher.store(true, Ordering::Release);
    }

    fn ask(&self, node: u64, point: Point) -> Reaction {
        if !self.inner.any_watcher.load(Ordering::Acquire) {
            return Reaction::Go;
        }
        let watcher = self.inner.watcher.read().clone();
        watcher.map_or(Reaction::Go, |watcher| watcher.at(node, point))
    }

    /// Passes a point where nothing can wait.
    pub fn pass(&self, node: u64, point: Point) -> io::Result<()> {
        match self.ask(node, point) {
            Reaction::Fail => Err(io::Error::other(format!("a fault on purpose at {point}"))),
            Reaction::End => Err(io::Error::new(io::ErrorKind::BrokenPipe, format!("the process was ended at {point}"))),
            Reaction::Go | Reaction::Wait(_) | Reaction::Lose | Reaction::Twice => Ok(()),
        }
    }

    /// Passes a point, and waits there if that was decided: for ever when the process has ended.
    pub async fn reach(&self, node: u64, point: Point) -> Passed {
        match self.ask(node, point) {
            Reaction::Go => Passed::On,
            Reaction::Wait(time) => {
                tokio::time::sleep(time).await;
                Passed::On
            }
            Reaction::Lose => Passed::Lost,
            Reaction::Twice => Passed::Twice,
            Reaction::Fail => Passed::Failed,
            Reaction::End => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    struct Always(Reaction);

    impl Watcher for Always {
        fn at(&self, node: u64, point: Point) -> Reaction {
            if (node, point) == (1, Point::LogBeforeWrite) { self.0 } else { Reaction::Go }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_decides_what_happens_at_a_point() {
        let faults = Faults::default();
        assert!(faults.pass(1, Point::LogBeforeWrite).is_ok());
        let passed = |reaction| {
            faults.set_watcher(Arc::new(Always(reaction)));
            assert_eq!(faults.reach(2, Point::LogBeforeWrite).now_or_never(), Some(Passed::On));
            (faults.pass(1, Point::LogBeforeWrite).is_ok(), faults.reach(1, Point::LogBeforeWrite).now_or_never())
        };
        assert_eq!(passed(Reaction::Go), (true, Some(Passed::On)));
        assert_eq!(passed(Reaction::Lose), (true, Some(Passed::Lost)));
        assert_eq!(passed(Reaction::Twice), (true, Some(Passed::Twice)));
        assert_eq!(passed(Reaction::Fail), (false, Some(Passed::Failed)));
        assert_eq!(passed(Reaction::End), (false, None));
        assert_eq!(passed(Reaction::Wait(Duration::from_secs(1))), (true, None));
    }

    #[test]
    fn points_have_names_of_their_own() {
        let names: BTreeSet<_> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Point::ALL.len());
        assert!(names.len() >= 24);
    }
}
