//! The registration table: who is told what, and when. Pure: time is an argument, waiting calls are numbers, and what
//! has to be answered comes back as [`Completion`]s.
//!
//! An event is kept with its registration until an AsyncNotify takes it, so nothing raised between two calls is lost.

mod registration;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::ops::Bound;
use std::time::Duration;

use dcerpc_rs::Uuid;

use crate::message::{Address, Notification, ResourceChange, ResourceState};
use crate::status::Status;
use registration::{Registration, Waiter};
pub use registration::{RegistrationView, folded};

/// Registrations of one node.
pub const REGISTRATIONS_MAX: usize = 65_536;
/// AsyncNotify calls of one registration that wait at the same time.
pub const WAITERS_MAX: usize = 16;
/// Undelivered RESOURCE_CHANGE messages of one registration; beyond it the oldest goes.
pub const RESOURCE_CHANGES_MAX: usize = 16;
/// Addresses of one move or change; the rest is cut off.
pub const ADDRESSES_MAX: usize = 256;
/// UTF-16 units of a name in a registration.
pub const NAME_UNITS_MAX: usize = 1_024;

/// A registration that nobody asks about for so long is dropped.
// MS-SWN 3.1.5: the clean-up of Server 2012 R2 and later.
pub const CLEAN_UP_AFTER: Duration = Duration::from_secs(30);
/// So long after a delivered move a client that has not registered anew is forced to.
// windows: Server 2022 as a client does not register anew by itself after a move.
pub const FORCED_AFTER: Duration = Duration::from_secs(5);
/// The longest KeepAliveTimeout that is taken at its word.
pub const KEEP_ALIVE_MAX: Duration = Duration::from_secs(24 * 3600);

/// What a client registers for, checked against the cluster by the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRegistration {
    /// NetName.
    pub net_name: String,
    /// ShareName: wants SHARE_MOVE for it.
    pub share_name: Option<String>,
    /// IpAddress, as the client wrote it.
    pub ip_address: String,
    /// ClientComputerName.
    pub client_name: String,
    /// Version.
    pub version: u32,
    /// KeepAliveTimeout; `None` for version 1.
    pub keep_alive: Option<Duration>,
    /// Wants IP_CHANGE.
    pub ip_notification: bool,
}

/// Number of a waiting AsyncNotify call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(pub u64);

/// A waiting AsyncNotify call that is answered now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Which call.
    pub waiter: WaiterId,
    /// Whose registration it is.
    pub registration: Uuid,
    /// Its answer.
    pub result: Result<Notification, Status>,
}

/// What an event came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Registrations that it was for.
    pub registrations: usize,
    /// Calls that are answered by it at once.
    pub completions: Vec<Completion>,
}

impl Told {
    /// Adds what another event came to.
    pub fn add(&mut self, other: Self) {
        self.registrations += other.registrations;
        self.completions.extend(other.completions);
    }
}

/// What an AsyncNotify call meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Answered at once.
    Ready(Result<Notification, Status>),
    /// It waits under this number.
    Waits(WaiterId),
}

/// Which registrations an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only<'a> {
    /// Every one.
    All,
    /// Those of the client computer whose [`folded`] name this is.
    Client(&'a str),
}

/// The table.
#[derive(Default)]
pub struct Table {
    /// Boxed: a tree keeps room for entries that are not there.
    registrations: BTreeMap<Uuid, Box<Registration>>,
    /// Each registration's earliest deadline.
    deadlines: BTreeSet<(Duration, Uuid)>,
    waiters: BTreeMap<WaiterId, Uuid>,
    last_waiter: u64,
}

impl Table {
    /// No registration.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many registrations there are.
    pub fn len(&self) -> usize {
        self.registrations.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.registrations.is_empty()
    }

    /// How many AsyncNotify calls wait.
    pub fn waiters(&self) -> usize {
        self.waiters.len()
    }

    /// All registrations, for an operator.
    pub fn view(&self) -> Vec<RegistrationView> {
        self.registrations.iter().map(|(id, registration)| registration.view(*id)).collect()
    }

    /// As [`Self::view`], at most `count` of those whose numbers are above `after`.
    pub fn view_after(&self, after: Option<Uuid>, count: usize) -> Vec<RegistrationView> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.registrations.range((from, Bound::Unbounded)).take(count).map(|(id, registration)| registration.view(*id)).collect()
    }

    /// Adds a registration under a fresh number.
    pub fn register(&mut self, now: Duration, id: Uuid, new: NewRegistration) -> Result<(), Status> {
        if self.registrations.len() >= REGISTRATIONS_MAX {
            return Err(Status::NO_SYSTEM_RESOURCES);
        }
        let names = [Some(&new.net_name), new.share_name.as_ref(), Some(&new.ip_address), Some(&new.client_name)];
        if names.into_iter().flatten().any(|name| name.encode_utf16().count() > NAME_UNITS_MAX) {
            return Err(Status::INVALID_PARAMETER);
        }
        let before = self.registrations.insert(id, Box::new(Registration::new(now, new)));
        assert!(before.is_none(), "registration numbers are fresh");
        self.reschedule(id);
        Ok(())
    }

    /// Removes a registration; calls that wait on it are answered with NOT_FOUND.
    pub fn unregister(&mut self, id: Uuid) -> Result<Vec<Completion>, Status> {
        let Some(registration) = self.registrations.remove(&id) else { return Err(Status::NOT_FOUND) };
        if let Some(deadline) = registration.scheduled {
            self.deadlines.remove(&(deadline, id));
        }
        let mut completions = Vec::new();
        for waiter in registration.waiters {
            self.waiters.remove(&waiter.id);
            completions.push(Completion { waiter: waiter.id, registration: id, result: Err(Status::NOT_FOUND) });
        }
        Ok(completions)
    }

    /// An AsyncNotify call: answered at once if something is kept for it, otherwise it waits.
    // MS-SWN 3.1.4.4
    pub fn async_notify(&mut self, now: Duration, id: Uuid) -> Begun {
        let Some(registration) = self.registrations.get_mut(&id) else { return Begun::Ready(Err(Status::NOT_FOUND)) };
        registration.last_use = now;
        let begun = if let Some(notification) = registration.take(now) {
            Begun::Ready(Ok(notification))
        } else if registration.waiters.len() >= WAITERS_MAX {
            Begun::Ready(Err(Status::NO_SYSTEM_RESOURCES))
        } else {
            self.last_waiter += 1;
            let waiter = WaiterId(self.last_waiter);
            let deadline = registration.keep_alive.map(|keep_alive| now + keep_alive);
            registration.waiters.push_back(Waiter { id: waiter, deadline });
            self.waiters.insert(waiter, id);
            Begun::Waits(waiter)
        };
        self.reschedule(id);
        begun
    }

    /// A waiting call was cancelled or its connection is gone.
    pub fn cancel(&mut self, now: Duration, waiter: WaiterId) {
        let Some(id) = self.waiters.remove(&waiter) else { return };
        let registration = self.registrations.get_mut(&id).expect("a waiter belongs to a registration");
        registration.waiters.retain(|other| other.id != waiter);
        registration.last_use = now;
        self.reschedule(id);
    }

    /// A notification that was handed out but could not be sent goes back to the front. If the client meanwhile waits
    /// again, it gets it at once.
    pub fn give_back(&mut self, now: Duration, id: Uuid, notification: Notification) -> Vec<Completion> {
        self.tell_one(now, id, |registration| registration.give_back(notification)).completions
    }

    /// An address went or came: told to the registrations about it. Who knows already is not told again.
    // MS-SWN 3.1.6.1: registrations whose address matches; the net name has been checked when they were made.
    pub fn resource_change(&mut self, now: Duration, address: IpAddr, is_available: bool) -> Told {
        let state = resource_state(is_available);
        self.tell(now, |registration| registration.address == Some(address), |registration| registration.queue_change(state))
    }

    /// As [`Self::resource_change`] for one registration only: what its address was when it was made.
    pub fn resource_change_of(&mut self, now: Duration, id: Uuid, is_available: bool) -> Told {
        self.tell_one(now, id, |registration| registration.queue_change(resource_state(is_available)))
    }

    /// As [`Self::resource_change`], because the administrator wants it: also told to those that know already.
    pub fn force_change(&mut self, now: Duration, only: Only<'_>, address: IpAddr, is_available: bool) -> Told {
        let state = resource_state(is_available);
        self.tell(
            now,
            |registration| registration.is_of(only) && registration.address == Some(address),
            |registration| registration.force_change(state),
        )
    }

    /// A client should move. A newer move replaces one that was not delivered.
    // MS-SWN 3.1.6.2
    pub fn client_move(&mut self, now: Duration, client: Only<'_>, destinations: &[Address]) -> Told {
        let list = cut(destinations);
        self.tell(now, |registration| registration.is_of(client), |registration| registration.client_move = Some(list.clone()))
    }

    /// As [`Self::client_move`] for one registration only.
    pub fn client_move_of(&mut self, now: Duration, id: Uuid, destinations: &[Address]) -> Told {
        self.tell_one(now, id, |registration| registration.client_move = Some(cut(destinations)))
    }

    /// The clients that use an address should move. Who was told already is not told again, until [`Self::stay`].
    pub fn leave(&mut self, now: Duration, address: IpAddr, destinations: &[Address]) -> Told {
        let list = cut(destinations);
        self.tell(
            now,
            |registration| registration.address == Some(address) && !registration.leaves,
            |registration| {
                registration.leaves = true;
                registration.client_move = Some(list.clone());
            },
        )
    }

    /// As [`Self::leave`] for one registration only.
    pub fn leave_of(&mut self, now: Duration, id: Uuid, destinations: &[Address]) -> Told {
        self.tell_one(now, id, |registration| {
            registration.leaves = true;
            registration.client_move = Some(cut(destinations));
        })
    }

    /// The clients that use an address need not move any more.
    pub fn stay(&mut self, address: IpAddr) {
        for registration in self.registrations.values_mut().filter(|registration| registration.address == Some(address)) {
            registration.leaves = false;
        }
    }

    /// A share has moved: told to those that registered for it by name.
    // MS-SWN 3.1.6.2
    pub fn share_move(&mut self, now: Duration, only: Only<'_>, share: &str, destinations: &[Address]) -> Told {
        let (list, key) = (cut(destinations), folded(share));
        self.tell(
            now,
            |registration| registration.is_of(only) && registration.wants_share(&key),
            |registration| registration.share_move = Some(list.clone()),
        )
    }

    /// A share has another owner: told to those that registered for it by name and are not there yet, each owner once.
    // MS-SWN 3.1.6.2
    pub fn share_owner(&mut self, now: Duration, share: &str, destinations: &[Address]) -> Told {
        let (list, key) = (cut(destinations), folded(share));
        let mut ids = Vec::new();
        for (id, registration) in self.registrations.iter_mut().filter(|(_, registration)| registration.wants_share(&key)) {
            if registration.queue_owner(&list) {
                ids.push(*id);
            }
        }
        let mut told = Told::default();
        for id in ids {
            told.add(self.tell_one(now, id, |_| ()));
        }
        told
    }

    /// As [`Self::share_owner`] for one registration only, which is for that share.
    pub fn share_owner_of(&mut self, now: Duration, id: Uuid, destinations: &[Address]) -> Told {
        let list = cut(destinations);
        let is_told = self.registrations.get_mut(&id).is_some_and(|registration| registration.queue_owner(&list));
        if is_told { self.tell_one(now, id, |_| ()) } else { Told::default() }
    }

    /// Addresses changed: told to those that asked for it. Of an address that changes again before it was told, the newer state is told.
    // MS-SWN 3.1.6.3
    pub fn ip_change(&mut self, now: Duration, only: Only<'_>, addresses: &[Address]) -> Told {
        self.tell(
            now,
            |registration| registration.is_of(only) && registration.ip_notification,
            |registration| registration.queue_addresses(addresses),
        )
    }

    /// Completes everything of a client by force, as an operator may want: its registrations go.
    pub fn unregister_client(&mut self, client: Only<'_>) -> Told {
        let ids: Vec<Uuid> = self.registrations.iter().filter(|(_, registration)| registration.is_of(client)).map(|(id, _)| *id).collect();
        let registrations = ids.len();
        Told { registrations, completions: ids.into_iter().flat_map(|id| self.unregister(id).unwrap_or_default()).collect() }
    }

    /// When [`Self::tick`] has something to do next.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Does what is due: keep-alives, forced completions, clean-up. `removed` gets the numbers of dropped registrations.
    // MS-SWN 3.1.5
    pub fn tick(&mut self, now: Duration, removed: &mut Vec<Uuid>) -> Vec<Completion> {
        let mut completions = Vec::new();
        while let Some((deadline, id)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now) {
            let registration = self.registrations.get_mut(&id).expect("a deadline belongs to a registration");
            if registration.is_over(now) {
                completions.extend(self.unregister(id).expect("found above"));
                removed.push(id);
                continue;
            }
            let mut waiting = VecDeque::new();
            for waiter in std::mem::take(&mut registration.waiters) {
                if waiter.deadline.is_some_and(|deadline| deadline <= now) {
                    self.waiters.remove(&waiter.id);
                    registration.last_use = now;
                    completions.push(Completion { waiter: waiter.id, registration: id, result: Err(Status::TIMEOUT) });
                } else {
                    waiting.push_back(waiter);
                }
            }
            registration.waiters = waiting;
            self.reschedule(id);
            assert!(!self.deadlines.contains(&(deadline, id)), "a deadline that was served does not come again");
        }
        completions
    }

    fn tell(&mut self, now: Duration, is_for: impl Fn(&Registration) -> bool, mut change: impl FnMut(&mut Registration)) -> Told {
        let ids: Vec<Uuid> = self.registrations.iter().filter(|(_, registration)| is_for(registration)).map(|(id, _)| *id).collect();
        let mut told = Told::default();
        for id in ids {
            told.add(self.tell_one(now, id, &mut change));
        }
        told
    }

    fn tell_one(&mut self, now: Duration, id: Uuid, change: impl FnOnce(&mut Registration)) -> Told {
        let Some(registration) = self.registrations.get_mut(&id) else { return Told::default() };
        change(registration);
        let mut completions = Vec::new();
        // One notification answers one call; several calls of one handle are served in their order.
        while !registration.waiters.is_empty() {
            let Some(notification) = registration.take(now) else { break };
            let waiter = registration.waiters.pop_front().expect("not empty");
            self.waiters.remove(&waiter.id);
            completions.push(Completion { waiter: waiter.id, registration: id, result: Ok(notification) });
        }
        self.reschedule(id);
        Told { registrations: 1, completions }
    }

    fn reschedule(&mut self, id: Uuid) {
        let registration = self.registrations.get_mut(&id).expect("the caller has it");
        let deadline = registration.deadline();
        if registration.scheduled == deadline {
            return;
        }
        if let Some(before) = registration.scheduled {
            self.deadlines.remove(&(before, id));
        }
        registration.scheduled = deadline;
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, id));
        }
    }
}

fn resource_state(is_available: bool) -> ResourceState {
    if is_available { ResourceState::Available } else { ResourceState::Unavailable }
}

fn cut(addresses: &[Address]) -> Vec<Address> {
    addresses.iter().take(ADDRESSES_MAX).copied().collect()
}

/// A RESOURCE_CHANGE message about a registration.
fn change_message(state: ResourceState, name: &str) -> ResourceChange {
    ResourceChange { state, name: name.to_owned() }
}

#[cfg(test)]
mod tests;
