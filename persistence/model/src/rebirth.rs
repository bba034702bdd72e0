//! What of a backup a new cluster begins with. Decision 11 says why.
//!
//! A backup is a past moment. Accounts, shares and the cluster's name are as good as they were; nodes, sessions, join tokens and admin tokens
//! belong to the old cluster; handles are only as good as the moment is the last one. Nothing that the old cluster was about to remove is removed:
//! its client may have thought better of it after the backup was made.

use smb_types::Guid;

use crate::arbiter::close;
use crate::command::{Command, node::end_part};
use crate::effects::Effects;
use crate::id::{LogTime, OpenId};
use crate::record::{Node, Open, OpenState};
use crate::state::State;

/// Lives, shares and accounts that the old cluster may have begun after the backup. What a new one gives out lies above them, so that no id
/// that a client or a file may still carry names something else.
const INCARNATIONS_AHEAD: u64 = 1 << 16;
const SHARES_AHEAD: u64 = 1 << 10;
const RIDS_AHEAD: u32 = 1 << 16;

/// How a new cluster differs from the one of the backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebirth {
    /// Another name and ServerGuid, when the old cluster goes on; the old ones when `None`.
    pub renamed: Option<(String, Guid)>,
    /// Keep persistent handles for their clients. True only when nothing happened after the backup.
    pub keep_handles: bool,
}

/// What was left behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftBehind {
    /// Node records.
    pub nodes: usize,
    /// Sessions.
    pub sessions: usize,
    /// Opens that are gone.
    pub opens: usize,
    /// Persistent opens that wait for their clients.
    pub opens_kept: usize,
    /// Files that the old cluster was about to remove, and that stay.
    pub deletes: usize,
}

impl State {
    /// The state with which a new cluster begins; `now` is the log time of the backup.
    ///
    /// # Errors
    /// The backup is of a cluster that was never initialised, or its counters are at their end.
    pub fn reborn(mut self, now: LogTime, rebirth: &Rebirth) -> Result<(Self, LeftBehind), String> {
        let mut left = LeftBehind {
            nodes: self.nodes.len(),
            sessions: self.sessions.len(),
            opens: self.opens.len(),
            opens_kept: 0,
            deletes: self.pending_deletes.len() + self.files.values().filter(|file| file.delete_pending).count(),
        };
        self.forget_deletes();
        let mut fx = Effects::new(now);
        let lives: Vec<_> = self.nodes().filter(|node| Node::is_live(node)).map(|node| (node.id, node.incarnation)).collect();
        for (node, incarnation) in lives {
            self.apply(now, &Command::NodeDown { node, incarnation });
        }
        let nodes: Vec<_> = self.nodes.keys().copied().collect();
        nodes.into_iter().for_each(|node| end_part(&mut self, &mut fx, node, usize::MAX));
        let kept = |open: &Open| rebirth.keep_handles && open.is_persistent() && open.state == OpenState::Open;
        let gone: Vec<OpenId> = self.opens().filter(|open| !kept(open)).map(|open| open.id).collect();
        for open in gone {
            close::close(&mut self, &mut fx, open, None);
        }
        // Their time begins anew: nobody could come back while there was no cluster.
        let kept: Vec<OpenId> = self.opens().map(|open| open.id).collect();
        for open in &kept {
            self.edit_open(*open, |open| open.away.iter_mut().for_each(|away| away.since = now));
        }
        (left.opens_kept, left.opens) = (kept.len(), left.opens - kept.len());
        self.nodes.clear();
        self.sessions.clear();
        self.tokens.clear();
        // Log time begins anew with the nodes.
        let names: Vec<String> = self.users.keys().cloned().collect();
        names.into_iter().for_each(|name| drop(self.apply(now, &Command::UserUnlock { name })));
        // Their holders need the new cluster's authority anyway.
        self.admin_tokens.clear();
        self.pending_deletes.clear();
        self.blocks.values_mut().for_each(|block| block.since = now);
        let cluster = self.cluster.as_mut().ok_or("it holds no cluster record: that cluster was never initialised")?;
        if let Some((net_name, server_guid)) = &rebirth.renamed {
            (cluster.net_name, cluster.server_guid) = (net_name.clone(), *server_guid);
        }
        let ahead = |counter: u64, by: u64| counter.checked_add(by).filter(|next| *next < 1 << 31).ok_or("a counter is at its end");
        cluster.next_incarnation = ahead(cluster.next_incarnation, INCARNATIONS_AHEAD)?;
        cluster.next_share = ahead(cluster.next_share, SHARES_AHEAD)?;
        cluster.next_rid = cluster.next_rid.checked_add(RIDS_AHEAD).ok_or("a counter is at its end")?;
        // The first node's joining lifts it above every id of an earlier life.
        assert!(cluster.next_open <= cluster.next_incarnation << 32, "the ids of opens follow the lives");
        let reborn = Self::load(self.all_records()).map_err(|error| error.to_string())?;
        reborn.check_invariants()?;
        assert!(reborn.nodes.is_empty() && reborn.sessions.is_empty() && reborn.pending_deletes.is_empty(), "the old life is over");
        Ok((reborn, left))
    }

    fn forget_deletes(&mut self) {
        let opens: Vec<OpenId> = self.opens().filter(|open| open.delete_on_close).map(|open| open.id).collect();
        for open in opens {
            self.edit_open(open, |open| open.delete_on_close = false);
        }
        let files: Vec<_> = self.files().filter(|file| file.delete_pending).map(|file| file.key).collect();
        for file in files {
            self.edit_file(file, |file| file.delete_pending = false);
        }
        self.pending_deletes.clear();
    }
}
