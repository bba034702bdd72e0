//! One registration: what it wants, what is kept for it, and its deadlines.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use dcerpc_rs::Uuid;

use super::{
    ADDRESSES_MAX, Address, CLEAN_UP_AFTER, FORCED_AFTER, KEEP_ALIVE_MAX, NewRegistration, Notification, Only, RESOURCE_CHANGES_MAX,
    ResourceState, WaiterId, change_message,
};
use crate::interface::VERSION_2;

pub(super) struct Waiter {
    pub(super) id: WaiterId,
    pub(super) deadline: Option<Duration>,
}

pub(super) struct Registration {
    net_name: String,
    share_name: Option<String>,
    ip_address: String,
    /// The address, if what the client wrote is one.
    pub(super) address: Option<IpAddr>,
    client_name: String,
    /// The share's name as names are compared.
    share_key: Option<String>,
    /// The client's name as names are compared.
    client_key: String,
    version: u32,
    pub(super) keep_alive: Option<Duration>,
    pub(super) ip_notification: bool,
    pub(super) last_use: Duration,
    pub(super) waiters: VecDeque<Waiter>,
    /// States that the client was not told yet, in their order.
    changes: VecDeque<ResourceState>,
    /// The newest state that was queued or told.
    last_state: Option<ResourceState>,
    pub(super) client_move: Option<Vec<Address>>,
    pub(super) share_move: Option<Vec<Address>>,
    /// Where the owner of its share was when it was last told, or had nothing to be told: the same is not told twice.
    owner_at: Vec<Address>,
    ip_change: Option<Vec<Address>>,
    /// Has been asked to leave its node, which is being drained: it is not asked twice.
    pub(super) leaves: bool,
    /// When the client is forced to register anew.
    forced_at: Option<Duration>,
    sent: u64,
    /// Under which deadline the table has it.
    pub(super) scheduled: Option<Duration>,
}

/// One registration as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationView {
    /// Its number (the context handle's UUID).
    pub id: Uuid,
    /// NetName.
    pub net_name: String,
    /// ShareName.
    pub share_name: Option<String>,
    /// IpAddress.
    pub ip_address: String,
    /// ClientComputerName.
    pub client_name: String,
    /// Version.
    pub version: u32,
    /// Wants IP_CHANGE.
    pub ip_notification: bool,
    /// True if an AsyncNotify waits.
    pub is_waiting: bool,
    /// True if it was told to move and has not gone yet: it is dropped [`FORCED_AFTER`] after it was told.
    pub is_moving: bool,
    /// Notifications sent so far.
    pub sent: u64,
    /// Messages that are kept for its next AsyncNotify.
    pub queued: usize,
}

impl Registration {
    pub(super) fn new(now: Duration, new: NewRegistration) -> Self {
        Self {
            address: new.ip_address.parse::<IpAddr>().ok().map(|address| address.to_canonical()),
            net_name: new.net_name,
            share_key: new.share_name.as_deref().map(folded),
            share_name: new.share_name,
            ip_address: new.ip_address,
            client_key: folded(&new.client_name),
            client_name: new.client_name,
            version: new.version,
            keep_alive: new.keep_alive.map(|keep_alive| keep_alive.min(KEEP_ALIVE_MAX)),
            ip_notification: new.ip_notification,
            last_use: now,
            waiters: VecDeque::new(),
            changes: VecDeque::new(),
            last_state: None,
            client_move: None,
            share_move: None,
            owner_at: Vec::new(),
            ip_change: None,
            leaves: false,
            forced_at: None,
            sent: 0,
            scheduled: None,
        }
    }

    pub(super) fn view(&self, id: Uuid) -> RegistrationView {
        let lists = [&self.client_move, &self.share_move, &self.ip_change];
        RegistrationView {
            id,
            net_name: self.net_name.clone(),
            share_name: self.share_name.clone(),
            ip_address: self.ip_address.clone(),
            client_name: self.client_name.clone(),
            version: self.version,
            ip_notification: self.ip_notification,
            is_waiting: !self.waiters.is_empty(),
            is_moving: self.forced_at.is_some(),
            sent: self.sent,
            queued: self.changes.len() + lists.into_iter().flatten().count(),
        }
    }

    pub(super) fn is_of(&self, only: Only<'_>) -> bool {
        match only {
            Only::All => true,
            Only::Client(key) => self.client_key == key,
        }
    }

    pub(super) fn wants_share(&self, share_key: &str) -> bool {
        self.version >= VERSION_2 && self.share_key.as_deref() == Some(share_key)
    }

    /// Queues where the owner of its share is, unless it knows, or uses that node already. Says whether there was something to tell.
    pub(super) fn queue_owner(&mut self, list: &[Address]) -> bool {
        if self.owner_at == list {
            return false;
        }
        self.owner_at = list.to_vec();
        let is_there = list.iter().any(|there| self.address == Some(there.ip.to_canonical()));
        // Whoever is there has nothing to do, even if it was about to be told to go elsewhere.
        self.share_move = (!is_there).then(|| list.to_vec());
        !is_there
    }

    /// Queues a state unless it is what the client knows already.
    pub(super) fn queue_change(&mut self, state: ResourceState) {
        if self.last_state == Some(state) {
            return;
        }
        // A client that registered while all was well needs no word that it still is.
        let was = self.last_state.replace(state);
        if was.is_none() && state == ResourceState::Available {
            return;
        }
        self.push_change(state);
    }

    /// Queues a state because the administrator wants it told, whatever the client knows.
    pub(super) fn force_change(&mut self, state: ResourceState) {
        self.last_state = Some(state);
        self.push_change(state);
    }

    fn push_change(&mut self, state: ResourceState) {
        self.changes.push_back(state);
        if self.changes.len() > RESOURCE_CHANGES_MAX {
            self.changes.pop_front();
        }
    }

    /// Queues addresses; of one that is queued already, the newer state counts.
    pub(super) fn queue_addresses(&mut self, addresses: &[Address]) {
        let list = self.ip_change.get_or_insert_default();
        for address in addresses {
            if let Some(known) = list.iter_mut().find(|known| known.ip == address.ip) {
                known.is_online = address.is_online;
            } else if list.len() < ADDRESSES_MAX {
                list.push(*address);
            }
        }
    }

    /// The next notification, if something is kept: resource changes first, all at once, then the moves, then addresses.
    pub(super) fn take(&mut self, now: Duration) -> Option<Notification> {
        let notification = if !self.changes.is_empty() {
            let changes = self.changes.drain(..).map(|state| change_message(state, &self.ip_address)).collect();
            Notification::ResourceChange(changes)
        } else if let Some(list) = self.client_move.take() {
            self.forced_at = Some(now + FORCED_AFTER);
            Notification::ClientMove(list)
        } else if let Some(list) = self.share_move.take() {
            self.forced_at = Some(now + FORCED_AFTER);
            Notification::ShareMove(list)
        } else {
            Notification::IpChange(self.ip_change.take()?)
        };
        self.last_use = now;
        self.sent += 1;
        Some(notification)
    }

    /// Takes back what could not be sent; a newer move of the same kind stays.
    pub(super) fn give_back(&mut self, notification: Notification) {
        self.sent = self.sent.saturating_sub(1);
        match notification {
            Notification::ResourceChange(changes) => {
                for change in changes.into_iter().rev() {
                    self.changes.push_front(change.state);
                }
                while self.changes.len() > RESOURCE_CHANGES_MAX {
                    self.changes.pop_front();
                }
            }
            Notification::ClientMove(list) => {
                self.forced_at = None;
                self.client_move.get_or_insert(list);
            }
            Notification::ShareMove(list) => {
                self.forced_at = None;
                self.share_move.get_or_insert(list);
            }
            Notification::IpChange(list) => {
                let newer = self.ip_change.replace(list).unwrap_or_default();
                self.queue_addresses(&newer);
            }
        }
    }

    /// True if the registration has to go: forced after a move, or nobody has asked for too long.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        self.forced_at.is_some_and(|at| at <= now) || (self.waiters.is_empty() && self.last_use + CLEAN_UP_AFTER <= now)
    }

    /// When something is due next.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let clean_up = self.waiters.is_empty().then(|| self.last_use + CLEAN_UP_AFTER);
        let keep_alive = self.waiters.iter().filter_map(|waiter| waiter.deadline).min();
        [clean_up, keep_alive, self.forced_at].into_iter().flatten().min()
    }
}

/// A name as it is compared: without case.
pub fn folded(name: &str) -> String {
    name.to_lowercase()
}
