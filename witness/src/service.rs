//! The witness service of one node: the registration table with a clock, waiting calls, and the cluster's view.
//!
//! An event reaches the waiting calls inside [`WitnessService::raise`]; nothing is polled. It knows nothing of bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use dcerpc_rs::Uuid;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster::{ClusterEvent, ClusterView, Interface, InterfaceState};
use crate::declaration::RegisterExRequest;
use crate::interface::{InterfaceInfo, REGISTER_IP_NOTIFICATION, VERSION_1, VERSION_2};
use crate::message::{Address, Notification};
use crate::status::Status;
use crate::table::{Begun, Completion, NewRegistration, Only, RegistrationView, Table, Told, WaiterId, folded};

/// How long GetInterfaceList waits for an interface that is available.
pub const INTERFACE_WAIT: Duration = Duration::from_secs(10);

/// How long a wish that a client should move stands for registrations that the client makes after it.
pub const WISH_STANDS: Duration = Duration::from_secs(30);
/// Wishes that stand at the same time; beyond it the oldest goes.
pub const WISHES_MAX: usize = 1_024;
/// How long a call is held for a client that names no time: what Windows clients ask for.
pub const KEEP_ALIVE_DEFAULT: Duration = Duration::from_secs(120);

type Answer = Result<Notification, Status>;

#[derive(Default)]
struct State {
    table: Table,
    senders: BTreeMap<WaiterId, oneshot::Sender<Answer>>,
    /// Addresses that each node has, or had when it died: it may be gone from the view.
    addresses: BTreeMap<u64, BTreeSet<IpAddr>>,
    /// Moves that the administrator wants, by the client's folded name: a client that is between two registrations gets to know of it too.
    wishes: BTreeMap<String, Wish>,
    /// Until when the timer sleeps.
    timer: Option<Duration>,
}

/// A client should move.
struct Wish {
    until: Duration,
    destinations: Vec<Address>,
}

/// The witness service of one node.
pub struct WitnessService {
    view: Arc<dyn ClusterView>,
    started: Instant,
    state: Mutex<State>,
    timer_changed: Notify,
    cluster_changed: Notify,
}

impl WitnessService {
    /// A service without registrations. [`Self::run`] must run beside it for its timers. Needs a tokio runtime.
    pub fn new(view: Arc<dyn ClusterView>) -> Arc<Self> {
        let service =
            Self { view, started: Instant::now(), state: Mutex::default(), timer_changed: Notify::new(), cluster_changed: Notify::new() };
        let mut state = State::default();
        for interface in service.view.interfaces() {
            state.addresses.entry(interface.node_id).or_default().extend(interface.addresses().map(|address| address.to_canonical()));
        }
        *service.state.lock() = state;
        Arc::new(service)
    }

    /// Tells the clients concerned what happened: at once those that wait, the others when they ask next. Returns how many
    /// registrations at this node it was for.
    pub fn raise(&self, event: &ClusterEvent) -> usize {
        let now = self.now();
        let mut state = self.state.lock();
        let told = match event {
            ClusterEvent::NodeDown { node_id } => self.node_down(&mut state, *node_id),
            ClusterEvent::NodeUp { node_id } => self.node_up(&mut state, *node_id),
            ClusterEvent::NodeAddresses { node_id } => self.addresses_changed(&mut state, *node_id),
            ClusterEvent::NodeDraining { node_id, on } => self.draining(&mut state, *node_id, *on),
            ClusterEvent::ResourceChange { address, is_available } => {
                state.table.resource_change(now, address.to_canonical(), *is_available)
            }
            ClusterEvent::ClientMove { client, destinations } => self.client_move(&mut state, client, destinations),
            ClusterEvent::ShareOwner { share } => {
                let destinations = self.view.owner_of(share);
                if destinations.is_empty() { Told::default() } else { state.table.share_owner(now, share, &destinations) }
            }
            ClusterEvent::ShareMove { share, client, destinations } => {
                let key = client.as_deref().map(folded);
                state.table.share_move(now, only(key.as_ref()), share, destinations)
            }
            ClusterEvent::AddressChange { client, addresses } => {
                let key = client.as_deref().map(folded);
                state.table.ip_change(now, only(key.as_ref()), addresses)
            }
        };
        tracing::debug!(?event, registrations = told.registrations, answered = told.completions.len(), "cluster event");
        let registrations = told.registrations;
        self.complete(state, told.completions);
        self.cluster_changed.notify_waiters();
        registrations
    }

    /// Tells the state of an address because the administrator wants it told, also to those that know it; only to one client's
    /// registrations if `client` is given. Returns how many registrations at this node it was for.
    pub fn force_change(&self, client: Option<&str>, address: IpAddr, is_available: bool) -> usize {
        let key = client.map(folded);
        let mut state = self.state.lock();
        let told = state.table.force_change(self.now(), only(key.as_ref()), address.to_canonical(), is_available);
        self.complete(state, told.completions);
        told.registrations
    }

    /// All registrations at this node, for an operator; in the order of their numbers.
    pub fn registrations(&self) -> Vec<RegistrationView> {
        self.state.lock().table.view()
    }

    /// As [`Self::registrations`], at most `count` of those whose numbers are above `after`: for looking at many, piece by piece.
    pub fn registrations_after(&self, after: Option<Uuid>, count: usize) -> Vec<RegistrationView> {
        self.state.lock().table.view_after(after, count)
    }

    /// How many registrations there are at this node.
    pub fn registration_count(&self) -> usize {
        self.state.lock().table.len()
    }

    /// Drops a client's registrations; its waiting calls are answered with NOT_FOUND, so that it registers anew. Returns how many.
    pub fn unregister_client(&self, client: &str) -> usize {
        let key = folded(client);
        let mut state = self.state.lock();
        let told = state.table.unregister_client(Only::Client(&key));
        self.complete(state, told.completions);
        told.registrations
    }

    /// As [`Self::unregister_client`] for one registration, by its number. False if it is not here.
    pub fn unregister_one(&self, id: Uuid) -> bool {
        self.unregister(id).is_ok()
    }

    /// Runs the timers (keep-alives, forced completions, clean-up) until cancelled.
    pub async fn run(&self, cancel: CancellationToken) {
        loop {
            let deadline = {
                let mut state = self.state.lock();
                state.timer = state.table.next_deadline();
                state.timer
            };
            let sleep = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(self.started + deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.timer_changed.notified() => {}
                () = sleep => {}
            }
            let now = self.now();
            let mut state = self.state.lock();
            let mut removed = Vec::new();
            let completions = state.table.tick(now, &mut removed);
            if !removed.is_empty() {
                tracing::debug!(count = removed.len(), "registrations dropped");
            }
            state.wishes.retain(|_, wish| wish.until > now);
            self.complete(state, completions);
        }
    }

    // MS-SWN 3.1.4.1
    pub(crate) async fn interface_list(&self) -> Result<Vec<InterfaceInfo>, Status> {
        let deadline = Instant::now() + INTERFACE_WAIT;
        loop {
            let changed = self.cluster_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let interfaces = self.view.interfaces();
            if interfaces.is_empty() {
                return Err(Status::NO_MORE_ITEMS);
            }
            let is_available = interfaces.iter().any(|interface| interface.state == InterfaceState::Available);
            if is_available || tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Ok(interfaces.into_iter().map(interface_info).collect());
            }
        }
    }

    // MS-SWN 3.1.4.2 WitnessrRegister, 3.1.4.5 WitnessrRegisterEx
    pub(crate) fn register(&self, id: Uuid, request: RegisterExRequest, extended: bool) -> Result<(), Status> {
        let new = self.check(request, extended)?;
        let address = new.ip_address.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        let now = self.now();
        let (client, share) = (new.client_name.clone(), new.share_name.clone());
        let mut state = self.state.lock();
        state.table.register(now, id, new)?;
        self.tell_present(&mut state, id, (&client, share.as_deref()), address);
        self.complete(state, Vec::new());
        Ok(())
    }

    /// What a new registration has to know at once: it came too late for the events that told it to others.
    ///
    /// The view is read after the registration is in the table, and shows a change before it is raised: an event between the client's
    /// last look and its registration is seen by one of the two, always.
    fn tell_present(&self, state: &mut State, id: Uuid, (client, share): (&str, Option<&str>), address: Option<IpAddr>) {
        let now = self.now();
        let mut told = Told::default();
        let interfaces = self.view.interfaces();
        let is_there = |state| {
            let in_state = interfaces.iter().filter(|interface| interface.state == state);
            in_state.flat_map(Interface::addresses).any(|other| Some(other.to_canonical()) == address)
        };
        // A dead node's address may be another node's by now.
        if is_there(InterfaceState::Unavailable) && !is_there(InterfaceState::Available) {
            told.add(state.table.resource_change_of(now, id, false));
        }
        let leave_for = address.map(|address| self.view.leave_for(address)).unwrap_or_default();
        if !leave_for.is_empty() {
            told.add(state.table.leave_of(now, id, &leave_for));
        }
        // A client of an asymmetric share that has come to another node than its owner's.
        let owner = share.map(|share| self.view.owner_of(share)).unwrap_or_default();
        if !owner.is_empty() {
            told.add(state.table.share_owner_of(now, id, &owner));
        }
        let key = folded(client);
        if let Some(wish) = state.wishes.get(&key).filter(|wish| wish.until > now) {
            if wish.destinations.iter().any(|destination| Some(destination.ip.to_canonical()) == address) {
                // It has moved.
                state.wishes.remove(&key);
            } else {
                told.add(state.table.client_move_of(now, id, &wish.destinations));
            }
        }
        assert!(told.completions.is_empty(), "nobody waits on a registration that is being made");
    }

    fn check(&self, request: RegisterExRequest, extended: bool) -> Result<NewRegistration, Status> {
        let version = if extended { VERSION_2 } else { VERSION_1 };
        if request.version != version {
            return Err(Status::REVISION_MISMATCH);
        }
        let (Some(net_name), Some(ip_address), Some(client_name)) = (request.net_name, request.ip_address, request.client_name) else {
            return Err(Status::INVALID_PARAMETER);
        };
        if !self.is_net_name(&net_name) {
            return Err(Status::INVALID_PARAMETER);
        }
        let shares = self.view.shares();
        let has_sofs = shares.iter().any(|share| share.sofs);
        let mut share_name = request.share_name;
        match &share_name {
            None if !extended && has_sofs && !self.has_address(&ip_address) => return Err(Status::INVALID_STATE),
            None => {}
            Some(_) if shares.is_empty() => return Err(Status::INVALID_STATE),
            // Without a scale-out share nobody owns a share, so there are no moves to tell.
            Some(_) if !has_sofs => share_name = None,
            Some(name) => {
                let share = shares.iter().find(|share| share.name.to_lowercase() == name.to_lowercase());
                let share = share.ok_or(Status::INVALID_STATE)?;
                if share.sofs && !self.has_address(&ip_address) {
                    return Err(Status::INVALID_STATE);
                }
            }
        }
        // windows: a client that names no time is answered in time, too; smbtorture asks for that.
        let keep_alive = if request.keep_alive_s > 0 { Duration::from_secs(request.keep_alive_s.into()) } else { KEEP_ALIVE_DEFAULT };
        let keep_alive = extended.then_some(keep_alive);
        let ip_notification = request.flags & REGISTER_IP_NOTIFICATION != 0;
        Ok(NewRegistration { net_name, share_name, ip_address, client_name, version, keep_alive, ip_notification })
    }

    fn is_net_name(&self, net_name: &str) -> bool {
        let short = |name: &str| name.split('.').next().unwrap_or_default().to_lowercase();
        let wanted = net_name.to_lowercase();
        self.view.net_names().iter().any(|ours| ours.to_lowercase() == wanted || (!wanted.contains('.') && short(ours) == wanted))
    }

    fn has_address(&self, address: &str) -> bool {
        let Ok(address) = address.parse::<IpAddr>() else { return false };
        self.view.interfaces().iter().any(|interface| interface.addresses().any(|other| other == address.to_canonical()))
    }

    pub(crate) fn unregister(&self, id: Uuid) -> Result<(), Status> {
        let mut state = self.state.lock();
        let completions = state.table.unregister(id)?;
        self.complete(state, completions);
        Ok(())
    }

    /// Waits for something to tell; may be dropped at any moment without losing it.
    // MS-SWN 3.1.4.4
    pub(crate) async fn async_notify(self: Arc<Self>, id: Uuid) -> Answer {
        let now = self.now();
        let (sender, receiver) = oneshot::channel();
        let waiter = {
            let mut state = self.state.lock();
            let begun = state.table.async_notify(now, id);
            self.wake_timer(&state);
            match begun {
                Begun::Ready(result) => return result,
                Begun::Waits(waiter) => {
                    state.senders.insert(waiter, sender);
                    waiter
                }
            }
        };
        let mut waiting = WaitingCall { service: self, registration: id, waiter, receiver, is_answered: false };
        let answer = (&mut waiting.receiver).await.unwrap_or(Err(Status::NOT_FOUND));
        // Whoever answers takes the call out of the table first: there is nothing left to clear up, and with thousands of calls
        // answered at once none of them should wait for the table.
        waiting.is_answered = true;
        answer
    }

    fn node_down(&self, state: &mut State, node_id: u64) -> Told {
        self.remember(state, node_id);
        let mut told = Told::default();
        for address in state.addresses.get(&node_id).cloned().unwrap_or_default() {
            told.add(state.table.resource_change(self.now(), address, false));
        }
        told
    }

    /// A node serves, and is not being drained.
    fn node_up(&self, state: &mut State, node_id: u64) -> Told {
        let told = self.addresses_changed(state, node_id);
        for address in state.addresses.get(&node_id).into_iter().flatten() {
            state.table.stay(*address);
        }
        told
    }

    /// A node serves with the addresses that the view has: those that it had before and has no more are lost.
    // MS-SWN 3.1.6.1, 3.1.6.3
    fn addresses_changed(&self, state: &mut State, node_id: u64) -> Told {
        let now = self.now();
        let before = state.addresses.remove(&node_id).unwrap_or_default();
        let present = self.remember(state, node_id);
        let mut told = Told::default();
        let mut changes = Vec::new();
        for &ip in before.difference(&present) {
            // Another node may have it by now.
            if !state.addresses.values().any(|others| others.contains(&ip)) {
                told.add(state.table.resource_change(now, ip, false));
                changes.push(Address { ip, is_online: false });
            }
        }
        for &ip in &present {
            told.add(state.table.resource_change(now, ip, true));
            if !before.contains(&ip) {
                changes.push(Address { ip, is_online: true });
            }
        }
        if !changes.is_empty() {
            told.add(state.table.ip_change(now, Only::All, &changes));
        }
        // There may be somewhere to go now for the clients of nodes that are being drained.
        let draining: Vec<u64> = state.addresses.keys().copied().filter(|other| *other != node_id).collect();
        for other in draining {
            told.add(self.draining(state, other, true));
        }
        told
    }

    fn draining(&self, state: &mut State, node_id: u64, on: bool) -> Told {
        self.remember(state, node_id);
        let mut told = Told::default();
        for address in state.addresses.get(&node_id).cloned().unwrap_or_default() {
            let destinations = self.view.leave_for(address);
            if !on {
                state.table.stay(address);
            } else if !destinations.is_empty() {
                told.add(state.table.leave(self.now(), address, &destinations));
            }
        }
        told
    }

    fn client_move(&self, state: &mut State, client: &str, destinations: &[Address]) -> Told {
        let (now, key) = (self.now(), folded(client));
        if state.wishes.len() >= WISHES_MAX && !state.wishes.contains_key(&key) {
            // The oldest has waited longest for nothing.
            let oldest = state.wishes.iter().min_by_key(|(_, wish)| wish.until).map(|(client, _)| client.clone());
            if let Some(oldest) = oldest {
                state.wishes.remove(&oldest);
            }
        }
        let told = state.table.client_move(now, Only::Client(&key), destinations);
        state.wishes.insert(key, Wish { until: now + WISH_STANDS, destinations: destinations.to_vec() });
        told
    }

    /// Notes the addresses that a node has: once it is dead, the view may have forgotten them. An address that moved to another node is
    /// that node's. Returns those of a node that lives.
    fn remember(&self, state: &mut State, node_id: u64) -> BTreeSet<IpAddr> {
        let interfaces = self.view.interfaces();
        let own = interfaces.iter().filter(|interface| interface.node_id == node_id && interface.state != InterfaceState::Unavailable);
        let present: BTreeSet<IpAddr> = own.flat_map(Interface::addresses).map(|address| address.to_canonical()).collect();
        for addresses in state.addresses.values_mut() {
            addresses.retain(|address| !present.contains(address));
        }
        state.addresses.entry(node_id).or_default().extend(&present);
        present
    }

    /// Answers calls. The table is free again before the first of them is woken.
    fn complete(&self, mut state: MutexGuard<'_, State>, completions: Vec<Completion>) {
        let mut answers = Vec::with_capacity(completions.len());
        for completion in completions {
            // The sender is there unless its call was dropped, and that takes it out of the table first.
            let sender = state.senders.remove(&completion.waiter);
            answers.extend(sender.map(|sender| (completion.registration, sender, completion.result)));
        }
        metrics::gauge!("witness_registrations").set(state.table.len() as f64);
        self.wake_timer(&state);
        drop(state);
        let told = answers.iter().filter(|(.., result)| result.is_ok()).count();
        metrics::counter!("witness_notifications_total").increment(told as u64);
        for (registration, sender, result) in answers {
            // Given up in this very moment: the next call gets it.
            if let Err(Ok(notification)) = sender.send(result) {
                let mut state = self.state.lock();
                let completions = state.table.give_back(self.now(), registration, notification);
                self.complete(state, completions);
            }
        }
    }

    fn wake_timer(&self, state: &State) {
        let next = state.table.next_deadline();
        if next.is_some_and(|next| state.timer.is_none_or(|timer| next < timer)) {
            self.timer_changed.notify_one();
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A waiting AsyncNotify call. Dropped before its answer was taken, it takes itself out of the table, or gives an
/// answer back that came at the last moment.
struct WaitingCall {
    service: Arc<WitnessService>,
    registration: Uuid,
    waiter: WaiterId,
    receiver: oneshot::Receiver<Answer>,
    is_answered: bool,
}

impl Drop for WaitingCall {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let now = self.service.now();
        let mut state = self.service.state.lock();
        state.senders.remove(&self.waiter);
        state.table.cancel(now, self.waiter);
        // From here on nothing can be sent to this call; what was sent before is in it.
        self.receiver.close();
        let completions = match self.receiver.try_recv() {
            Ok(Ok(notification)) => state.table.give_back(now, self.registration, notification),
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        self.service.complete(state, completions);
    }
}

fn only(key: Option<&String>) -> Only<'_> {
    key.map_or(Only::All, |key| Only::Client(key))
}

fn interface_info(interface: Interface) -> InterfaceInfo {
    InterfaceInfo {
        group_name: interface.group_name,
        version: VERSION_2,
        state: match interface.state {
            InterfaceState::Unknown => 0,
            InterfaceState::Available => 1,
            InterfaceState::Unavailable => 0xFF,
        },
        ipv4: interface.ipv4,
        ipv6: interface.ipv6,
        is_witness: !interface.local,
    }
}

#[cfg(test)]
mod tests;
