//! The witness service of one node: the registration table with a clock, waiting calls, and the cluster's view.
//!
//! An event reaches the waiting calls inside [`WitnessService::raise`]; nothing is polled. It knows nothing of bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use dcerpc_rs::Uuid;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster::{ClusterEvent, ClusterView, Interface, InterfaceState};
use crate::declaration::RegisterExRequest;
use crate::interface::{InterfaceInfo, REGISTER_IP_NOTIFICATION, VERSION_1, VERSION_2};
use crate::message::Notification;
use crate::status::Status;
use crate::table::{Begun, Completion, NewRegistration, Only, RegistrationView, Table, WaiterId};

/// How long GetInterfaceList waits for an interface that is available.
pub const INTERFACE_WAIT: Duration = Duration::from_secs(10);

type Answer = Result<Notification, Status>;

#[derive(Default)]
struct State {
    table: Table,
    senders: BTreeMap<WaiterId, oneshot::Sender<Answer>>,
    /// Addresses that each node has had: a dead node may be gone from the view.
    addresses: BTreeMap<u64, BTreeSet<IpAddr>>,
    /// Until when the timer sleeps.
    timer: Option<Duration>,
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
        service.remember(&mut service.state.lock());
        Arc::new(service)
    }

    /// Tells the clients concerned what happened: at once those that wait, the others when they ask next.
    pub fn raise(&self, event: &ClusterEvent) {
        let now = self.now();
        let mut state = self.state.lock();
        self.remember(&mut state);
        let table = &mut state.table;
        let completions = match event {
            ClusterEvent::NodeDown { node_id } => self.node_change(&mut state, *node_id, false),
            ClusterEvent::NodeUp { node_id } => self.node_change(&mut state, *node_id, true),
            ClusterEvent::ResourceChange { address, is_available } => table.resource_change(now, address.to_canonical(), *is_available),
            ClusterEvent::ClientMove { client, destinations } => table.client_move(now, client, destinations),
            ClusterEvent::ShareMove { share, client, destinations } => table.share_move(now, only(client), share, destinations),
            ClusterEvent::AddressChange { client, addresses } => table.ip_change(now, only(client), addresses),
        };
        tracing::debug!(?event, answered = completions.len(), "cluster event");
        self.complete(&mut state, completions);
        drop(state);
        self.cluster_changed.notify_waiters();
    }

    /// All registrations at this node, for an operator.
    pub fn registrations(&self) -> Vec<RegistrationView> {
        self.state.lock().table.view()
    }

    /// Drops a client's registrations; its waiting calls are answered with NOT_FOUND, so that it registers anew.
    pub fn unregister_client(&self, client: &str) {
        let mut state = self.state.lock();
        let completions = state.table.unregister_client(client);
        self.complete(&mut state, completions);
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
            self.complete(&mut state, completions);
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
        let mut state = self.state.lock();
        state.table.register(now, id, new)?;
        // The address may have gone between the client's last look and its registration: then nothing will be raised
        // any more, so it is told now. The view is read after the registration is in the table, and shows a change
        // before it is raised: one of the two always sees it.
        let interfaces = self.view.interfaces();
        let is_down = interfaces
            .iter()
            .any(|interface| interface.state == InterfaceState::Unavailable && interface.addresses().any(|other| Some(other) == address));
        if is_down {
            let completions = state.table.resource_change_of(now, id, false);
            assert!(completions.is_empty(), "nobody waits on a registration that is being made");
        }
        metrics::gauge!("witness_registrations").set(state.table.len() as f64);
        self.wake_timer(&state);
        Ok(())
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
        let keep_alive = (extended && request.keep_alive_s > 0).then(|| Duration::from_secs(request.keep_alive_s.into()));
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
        self.complete(&mut state, completions);
        metrics::gauge!("witness_registrations").set(state.table.len() as f64);
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
        let mut waiting = WaitingCall { service: self, registration: id, waiter, receiver };
        (&mut waiting.receiver).await.unwrap_or(Err(Status::NOT_FOUND))
    }

    fn node_change(&self, state: &mut State, node_id: u64, is_up: bool) -> Vec<Completion> {
        let now = self.now();
        let addresses = state.addresses.get(&node_id).cloned().unwrap_or_default();
        addresses.into_iter().flat_map(|address| state.table.resource_change(now, address, is_up)).collect()
    }

    /// Notes which addresses nodes have. An address that moved to another node is that node's.
    fn remember(&self, state: &mut State) {
        for interface in self.view.interfaces() {
            for address in interface.addresses() {
                for (node_id, addresses) in &mut state.addresses {
                    if *node_id != interface.node_id {
                        addresses.remove(&address);
                    }
                }
                state.addresses.entry(interface.node_id).or_default().insert(address);
            }
        }
    }

    fn complete(&self, state: &mut State, completions: Vec<Completion>) {
        for completion in completions {
            if completion.result.is_ok() {
                metrics::counter!("witness_notifications_total").increment(1);
            }
            // The sender is there unless its call was dropped, and that takes it out of the table first.
            if let Some(sender) = state.senders.remove(&completion.waiter) {
                _ = sender.send(completion.result);
            }
        }
        self.wake_timer(state);
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
}

impl Drop for WaitingCall {
    fn drop(&mut self) {
        let now = self.service.now();
        let mut state = self.service.state.lock();
        state.senders.remove(&self.waiter);
        state.table.cancel(now, self.waiter);
        let completions = match self.receiver.try_recv() {
            Ok(Ok(notification)) => state.table.give_back(now, self.registration, notification),
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        self.service.complete(&mut state, completions);
    }
}

fn only(client: &Option<String>) -> Only<'_> {
    client.as_deref().map_or(Only::All, Only::Client)
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
