//! The service in paused time. The seeded runs: clients that register anew, give calls up and wait at random moments, a cluster in which
//! anything happens in between, and a log in which everything stands; afterwards every registration must have been told what it was owed.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::cluster::Share;
use crate::message::{ResourceChange, ResourceState};
use crate::table::{CLEAN_UP_AFTER, FORCED_AFTER};

const SEEDS: u64 = 200;
/// Things that happen in one run.
const STEPS: u64 = 60;
const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11));
const C: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 13));

#[derive(Default)]
struct Cluster {
    is_down: bool,
    drains: bool,
    /// Node 1 has a second address.
    has_second: bool,
    /// Where the share is, if one node owns it.
    owner: Option<IpAddr>,
}

struct View(Mutex<Cluster>);

impl ClusterView for View {
    fn net_names(&self) -> Vec<String> {
        vec!["files.example.com".into(), "alias".into()]
    }

    fn interfaces(&self) -> Vec<Interface> {
        let cluster = self.0.lock();
        let interface = |node_id: u8, host: u8, is_up| Interface {
            node_id: node_id.into(),
            group_name: format!("NODE{node_id}"),
            ipv4: Some(Ipv4Addr::new(10, 0, 0, host)),
            ipv6: None,
            state: if is_up { InterfaceState::Available } else { InterfaceState::Unavailable },
            local: node_id == 2,
        };
        let mut all = vec![interface(1, 11, !cluster.is_down), interface(2, 12, true), interface(3, 13, true)];
        if cluster.has_second {
            all.push(interface(1, 21, !cluster.is_down));
        }
        all
    }

    fn shares(&self) -> Vec<Share> {
        vec![Share { name: "Data".into(), sofs: true }]
    }

    fn leave_for(&self, address: IpAddr) -> Vec<Address> {
        let is_asked = address == A && self.0.lock().drains;
        if is_asked { drain_list() } else { Vec::new() }
    }

    fn owner_of(&self, share: &str) -> Vec<Address> {
        let owner = self.0.lock().owner.filter(|_| share.eq_ignore_ascii_case("Data"));
        owner.into_iter().map(|ip| Address { ip, is_online: true }).collect()
    }
}

fn drain_list() -> Vec<Address> {
    vec![Address { ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 12)), is_online: true }, Address { ip: C, is_online: true }]
}

fn service() -> (Arc<View>, Arc<WitnessService>) {
    let view = Arc::new(View(Mutex::default()));
    let service = WitnessService::new(view.clone());
    (view, service)
}

fn request(client: &str, address: IpAddr, keep_alive_s: u32) -> RegisterExRequest {
    RegisterExRequest {
        version: VERSION_2,
        net_name: Some("FILES".into()),
        share_name: Some("data".into()),
        ip_address: Some(address.to_string()),
        client_name: Some(client.into()),
        flags: REGISTER_IP_NOTIFICATION,
        keep_alive_s,
    }
}

fn numbered(kind: u8, number: u64) -> IpAddr {
    let [low, high, ..] = number.to_le_bytes();
    IpAddr::V4(Ipv4Addr::new(10, kind, high, low))
}

/// A move that can be told from every other one; it also names the node where the client may go.
fn move_list(number: u64) -> Vec<Address> {
    vec![Address { ip: numbered(1, number), is_online: true }, Address { ip: C, is_online: true }]
}

fn unavailable(address: IpAddr) -> Notification {
    Notification::ResourceChange(vec![ResourceChange { state: ResourceState::Unavailable, name: address.to_string() }])
}

/// The same numbers for the same seed.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn ms(&mut self, limit: u64) -> Duration {
        Duration::from_millis(self.below(limit))
    }
}

/// What happened, in the order in which it did.
#[derive(Clone, Debug)]
enum Line {
    Registered { id: Uuid, client: usize, address: IpAddr, is_first_version: bool, is_down: bool, drains: bool },
    Ended { id: Uuid },
    State { is_available: bool },
    Drain { on: bool },
    Move { client: usize, number: u64 },
    ShareMove { number: u64 },
    Addresses { number: u64 },
    Second { is_there: bool },
    Got { id: Uuid, notification: Notification },
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<(Instant, Line)>>,
    ids: AtomicU64,
}

impl Log {
    fn note(&self, line: Line) {
        self.lines.lock().push((Instant::now(), line));
    }
}

const CLIENTS: [&str; 3] = ["Alpha", "BETA", "first-version"];

struct Client {
    number: usize,
    view: Arc<View>,
    service: Arc<WitnessService>,
    log: Arc<Log>,
    rng: Rng,
    /// From then on it neither registers anew of its own will nor gives calls up.
    settles: CancellationToken,
}

impl Client {
    async fn run(mut self) {
        loop {
            let id = self.register();
            while self.ask(id).await {
                tokio::time::sleep(self.rng.ms(600)).await;
            }
            // Gone already if it was forced.
            _ = self.service.unregister(id);
            self.log.note(Line::Ended { id });
            tokio::time::sleep(self.rng.ms(300)).await;
        }
    }

    fn register(&mut self) -> Uuid {
        let id = Uuid::from_u128(self.log.ids.fetch_add(1, Ordering::Relaxed).into());
        let address = if self.settles.is_cancelled() || self.rng.below(3) > 0 { A } else { C };
        let is_first_version = self.number == 2;
        let keep_alive_s = u32::try_from(self.rng.below(20)).unwrap();
        let mut request = request(CLIENTS[self.number], address, keep_alive_s);
        if is_first_version {
            request = RegisterExRequest { version: VERSION_1, share_name: None, flags: 0, ..request };
        }
        let (is_down, drains) = {
            let cluster = self.view.0.lock();
            (cluster.is_down, cluster.drains)
        };
        self.service.register(id, request, !is_first_version).unwrap();
        self.log.note(Line::Registered { id, client: self.number, address, is_first_version, is_down, drains });
        id
    }

    async fn call(service: Arc<WitnessService>, log: &Log, id: Uuid) -> Result<(), Status> {
        let notification = service.async_notify(id).await?;
        log.note(Line::Got { id, notification });
        Ok(())
    }

    /// Asks once; false when the registration is to be given up.
    async fn ask(&mut self, id: Uuid) -> bool {
        let call = Self::call(Arc::clone(&self.service), &self.log, id);
        let what = if self.settles.is_cancelled() { 9 } else { self.rng.below(10) };
        let impatience = self.rng.ms(4_000);
        let answered = match what {
            // Gives up, perhaps in the very moment in which the answer comes, and asks again or registers anew.
            0..=3 => tokio::select! {
                answered = call => answered,
                () = tokio::time::sleep(impatience) => return what > 1,
            },
            4 => {
                let second = Self::call(Arc::clone(&self.service), &self.log, id);
                // The one of futures looks at the first call first, always.
                let (first, second) = futures::future::join(call, second).await;
                first.and(second)
            }
            _ => tokio::select! {
                answered = call => answered,
                () = self.settles.cancelled(), if what != 9 => return true,
            },
        };
        match answered {
            Ok(()) | Err(Status::TIMEOUT) => true,
            Err(Status::NOT_FOUND) => false,
            Err(status) => panic!("an AsyncNotify was answered {status}"),
        }
    }
}

fn step(number: u64, rng: &mut Rng, view: &View, service: &WitnessService, log: &Log) {
    match rng.below(7) {
        0 | 1 => {
            let is_down = !view.0.lock().is_down;
            view.0.lock().is_down = is_down;
            // A node that begins a new life is not drained.
            view.0.lock().drains &= is_down;
            log.note(Line::State { is_available: !is_down });
            service.raise(&if is_down { ClusterEvent::NodeDown { node_id: 1 } } else { ClusterEvent::NodeUp { node_id: 1 } });
        }
        2 if !view.0.lock().is_down => {
            let on = !view.0.lock().drains;
            view.0.lock().drains = on;
            log.note(Line::Drain { on });
            service.raise(&ClusterEvent::NodeDraining { node_id: 1, on });
        }
        3 => {
            let client = usize::try_from(rng.below(3)).unwrap();
            log.note(Line::Move { client, number });
            let client = CLIENTS[client].to_uppercase();
            service.raise(&ClusterEvent::ClientMove { client, destinations: move_list(number) });
        }
        4 => {
            log.note(Line::ShareMove { number });
            let destinations = vec![Address { ip: numbered(2, number), is_online: true }];
            service.raise(&ClusterEvent::ShareMove { share: "DATA".into(), client: None, destinations });
        }
        5 if !view.0.lock().is_down => {
            let is_there = !view.0.lock().has_second;
            view.0.lock().has_second = is_there;
            log.note(Line::Second { is_there });
            service.raise(&ClusterEvent::NodeAddresses { node_id: 1 });
        }
        _ => {
            log.note(Line::Addresses { number });
            let addresses = vec![Address { ip: numbered(3, number), is_online: false }];
            service.raise(&ClusterEvent::AddressChange { client: None, addresses });
        }
    }
}

/// What one registration was owed, and what it got.
#[derive(Debug)]
struct Owed {
    client: usize,
    address: IpAddr,
    is_first_version: bool,
    ended: bool,
    states: Vec<ResourceState>,
    last_state: Option<ResourceState>,
    moves: Vec<Vec<Address>>,
    leaves: bool,
    share_moves: Vec<u64>,
    addresses: Vec<u64>,
    second: Option<bool>,
    /// So many of its changes may still be told; of several that wait, the last is.
    second_untold: usize,
    got_states: Vec<ResourceState>,
    got_moves: Vec<Vec<Address>>,
    got_share_moves: Vec<IpAddr>,
    got_addresses: Vec<IpAddr>,
    got_second: Option<bool>,
}

impl Owed {
    fn state(&mut self, state: ResourceState) {
        let was = self.last_state.replace(state);
        if was != Some(state) && !(was.is_none() && state == ResourceState::Available) {
            self.states.push(state);
        }
    }

    fn got(&mut self, notification: &Notification, second: IpAddr) {
        match notification {
            Notification::ResourceChange(changes) => {
                assert!(changes.iter().all(|change| change.name == self.address.to_string()), "{changes:?}");
                self.got_states.extend(changes.iter().map(|change| change.state));
            }
            Notification::ClientMove(list) => self.got_moves.push(list.clone()),
            Notification::ShareMove(list) => self.got_share_moves.extend(list.iter().map(|address| address.ip)),
            Notification::IpChange(list) => {
                for address in list {
                    if address.ip == second {
                        assert!(self.second_untold > 0, "told twice");
                        self.second_untold -= 1;
                        self.got_second = Some(address.is_online);
                    } else {
                        assert!(!address.is_online);
                        self.got_addresses.push(address.ip);
                    }
                }
            }
        }
    }

    /// What must hold whenever it ended: nothing doubled, nothing out of order, nothing that was never owed.
    fn check_order(&self) {
        assert!(self.states.starts_with(&self.got_states), "states {:?}, told {:?}", self.states, self.got_states);
        assert!(is_part(&self.got_moves, &self.moves), "moves {:?}, told {:?}", self.moves, self.got_moves);
        let share_moves: Vec<IpAddr> = self.share_moves.iter().map(|number| numbered(2, *number)).collect();
        assert!(is_part(&self.got_share_moves, &share_moves), "share moves {share_moves:?}, told {:?}", self.got_share_moves);
        let addresses: Vec<IpAddr> = self.addresses.iter().map(|number| numbered(3, *number)).collect();
        assert!(addresses.starts_with(&self.got_addresses), "addresses {addresses:?}, told {:?}", self.got_addresses);
        if self.is_first_version {
            assert!(self.got_share_moves.is_empty() && self.got_addresses.is_empty() && self.got_second.is_none());
        }
    }

    /// What must hold of a registration whose client has asked until nothing was left: nothing lost.
    fn check_complete(&self) {
        assert_eq!(self.got_states, self.states);
        assert_eq!(self.got_moves.last(), self.moves.last(), "a move replaces only older ones");
        let last = self.share_moves.last().map(|number| numbered(2, *number));
        assert_eq!(self.got_share_moves.last(), last.as_ref());
        assert_eq!(self.got_addresses.len(), self.addresses.len());
        if let Some(second) = self.second {
            assert_eq!(self.got_second, Some(second));
        }
    }
}

/// Whether `part` is in `whole`, in this order.
fn is_part<T: PartialEq>(part: &[T], whole: &[T]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|wanted| rest.any(|there| there == wanted))
}

/// Reads the log, and checks each registration.
fn check(log: &Log) -> (usize, usize) {
    let second = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 21));
    let mut all: BTreeMap<Uuid, Owed> = BTreeMap::new();
    let mut wishes: BTreeMap<usize, (Instant, u64)> = BTreeMap::new();
    let mut got = 0;
    for (at, line) in log.lines.lock().iter() {
        let mut each = |tell: &mut dyn FnMut(&mut Owed)| all.values_mut().filter(|owed| !owed.ended).for_each(tell);
        match line {
            Line::Registered { id, client, address, is_first_version, is_down, drains } => {
                let wish = wishes.get(client).filter(|(since, _)| *at < *since + WISH_STANDS).copied();
                let mut owed = Owed::new(*client, *address, *is_first_version);
                if *address == C {
                    wishes.remove(client);
                } else {
                    if *is_down {
                        owed.state(ResourceState::Unavailable);
                    }
                    owed.leaves = *drains;
                    owed.moves.extend(drains.then(drain_list));
                    owed.moves.extend(wish.map(|(_, number)| move_list(number)));
                }
                all.insert(*id, owed);
            }
            Line::Ended { id } => all.get_mut(id).unwrap().ended = true,
            Line::State { is_available } => each(&mut |owed| {
                owed.leaves &= !is_available;
                if owed.address == A {
                    owed.state(if *is_available { ResourceState::Available } else { ResourceState::Unavailable });
                }
            }),
            Line::Drain { on } => each(&mut |owed| {
                if owed.address == A && *on && !owed.leaves {
                    owed.moves.push(drain_list());
                }
                owed.leaves = *on;
            }),
            Line::Move { client, number } => {
                wishes.insert(*client, (*at, *number));
                each(&mut |owed| owed.moves.extend((owed.client == *client).then(|| move_list(*number))));
            }
            Line::ShareMove { number } => each(&mut |owed| owed.share_moves.extend((!owed.is_first_version).then_some(*number))),
            Line::Addresses { number } => each(&mut |owed| owed.addresses.extend((!owed.is_first_version).then_some(*number))),
            Line::Second { is_there } => each(&mut |owed| {
                owed.second = (!owed.is_first_version).then_some(*is_there).or(owed.second);
                owed.second_untold += 1;
            }),
            Line::Got { id, notification } => {
                got += 1;
                all.get_mut(id).unwrap().got(notification, second);
            }
        }
    }
    all.values().for_each(Owed::check_order);
    let alive: Vec<&Owed> = all.values().filter(|owed| !owed.ended).collect();
    assert_eq!(alive.len(), CLIENTS.len(), "every client is registered in the end");
    alive.iter().for_each(|owed| owed.check_complete());
    (all.len(), got)
}

impl Owed {
    fn new(client: usize, address: IpAddr, is_first_version: bool) -> Self {
        Self {
            client,
            address,
            is_first_version,
            ended: false,
            states: Vec::new(),
            last_state: None,
            moves: Vec::new(),
            leaves: false,
            share_moves: Vec::new(),
            addresses: Vec::new(),
            second: None,
            second_untold: 0,
            got_states: Vec::new(),
            got_moves: Vec::new(),
            got_share_moves: Vec::new(),
            got_addresses: Vec::new(),
            got_second: None,
        }
    }
}

async fn run(seed: u64) -> (usize, usize) {
    let (view, service) = service();
    let (log, settles, over) = (Arc::new(Log::default()), CancellationToken::new(), CancellationToken::new());
    let timers = tokio::spawn({
        let (service, over) = (Arc::clone(&service), over.clone());
        async move { service.run(over).await }
    });
    let mut rng = Rng(seed);
    let clients: Vec<_> = (0..CLIENTS.len())
        .map(|number| {
            let (view, service, log) = (Arc::clone(&view), Arc::clone(&service), Arc::clone(&log));
            tokio::spawn(Client { number, view, service, log, rng: Rng(rng.next()), settles: settles.clone() }.run())
        })
        .collect();
    for number in 0..STEPS {
        tokio::time::sleep(rng.ms(1_500)).await;
        step(number, &mut rng, &view, &service, &log);
    }
    settles.cancel();
    // Wishes and forced completions run out; then one more death, told to everybody who still uses the address.
    tokio::time::sleep(WISH_STANDS + CLEAN_UP_AFTER + FORCED_AFTER).await;
    for is_down in [true, false] {
        if view.0.lock().is_down != is_down {
            view.0.lock().is_down = is_down;
            view.0.lock().drains = false;
            log.note(Line::State { is_available: !is_down });
            service.raise(&if is_down { ClusterEvent::NodeDown { node_id: 1 } } else { ClusterEvent::NodeUp { node_id: 1 } });
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    let registrations = service.registrations();
    assert!(registrations.iter().all(|registration| registration.queued == 0), "something is kept: {registrations:?}");
    clients.iter().for_each(tokio::task::JoinHandle::abort);
    for client in clients {
        let end = client.await;
        assert!(end.as_ref().is_err_and(tokio::task::JoinError::is_cancelled), "a client broke: {end:?}");
    }
    over.cancel();
    timers.await.unwrap();
    check(&log)
}

#[test]
fn two_hundred_seeds_lose_and_double_nothing() {
    let (mut registrations, mut notifications) = (0, 0);
    for seed in 0..SEEDS {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(run(seed))));
        let Ok(told) = told else { panic!("seed {seed} broke a promise; the reason stands above") };
        registrations += told.0;
        notifications += told.1;
    }
    // Runs in which nothing happened prove nothing.
    assert!(registrations > 2_000 && notifications > 4_000, "{registrations} registrations, {notifications} notifications");
}

#[tokio::test(start_paused = true)]
async fn a_wish_finds_a_client_that_is_between_two_registrations() {
    let (_view, service) = service();
    assert_eq!(service.raise(&ClusterEvent::ClientMove { client: "alpha".into(), destinations: move_list(1) }), 0);
    tokio::time::advance(WISH_STANDS - Duration::from_secs(1)).await;
    service.register(Uuid::from_u128(1), request("ALPHA", A, 5), true).unwrap();
    assert_eq!(Arc::clone(&service).async_notify(Uuid::from_u128(1)).await, Ok(Notification::ClientMove(move_list(1))));
    // Who comes from where it should go is not sent on, and neither is anybody afterwards.
    service.register(Uuid::from_u128(2), request("Alpha", C, 5), true).unwrap();
    service.register(Uuid::from_u128(3), request("Alpha", A, 5), true).unwrap();
    service.register(Uuid::from_u128(4), request("Beta", A, 5), true).unwrap();
    assert_eq!(service.raise(&ClusterEvent::ClientMove { client: "beta".into(), destinations: move_list(2) }), 1);
    tokio::time::advance(WISH_STANDS).await;
    service.register(Uuid::from_u128(5), request("Beta", A, 5), true).unwrap();
    let kept: Vec<usize> = service.registrations().iter().map(|registration| registration.queued).collect();
    assert_eq!(kept, [0, 0, 0, 1, 0]);
    for number in 0..=u64::try_from(WISHES_MAX).unwrap() {
        service.raise(&ClusterEvent::ClientMove { client: format!("client-{number}"), destinations: move_list(number) });
    }
    assert_eq!(service.state.lock().wishes.len(), WISHES_MAX);
    assert!(!service.state.lock().wishes.contains_key("client-0"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_names_no_time_is_answered_as_soon_as_one_of_windows() {
    let (_view, service) = service();
    let cancel = CancellationToken::new();
    tokio::spawn({
        let (service, cancel) = (Arc::clone(&service), cancel.clone());
        async move { service.run(cancel).await }
    });
    let begun = tokio::time::Instant::now();
    for (number, keep_alive_s, after_s) in [(1, 0, 120), (2, 7, 127)] {
        service.register(Uuid::from_u128(number), request("Alpha", A, keep_alive_s), true).unwrap();
        assert_eq!(Arc::clone(&service).async_notify(Uuid::from_u128(number)).await, Err(Status::TIMEOUT));
        assert_eq!(begun.elapsed().as_secs(), after_s);
    }
    cancel.cancel();
}

#[tokio::test(start_paused = true)]
async fn who_registers_about_a_draining_node_is_asked_to_move_once() {
    let (view, service) = service();
    service.register(Uuid::from_u128(1), request("Alpha", A, 5), true).unwrap();
    view.0.lock().drains = true;
    assert_eq!(service.raise(&ClusterEvent::NodeDraining { node_id: 1, on: true }), 1);
    assert_eq!(service.raise(&ClusterEvent::NodeUp { node_id: 3 }), 0, "nobody is asked twice");
    service.register(Uuid::from_u128(2), request("Beta", A, 5), true).unwrap();
    service.register(Uuid::from_u128(3), request("Gamma", C, 5), true).unwrap();
    for id in 1..3 {
        assert_eq!(Arc::clone(&service).async_notify(Uuid::from_u128(id)).await, Ok(Notification::ClientMove(drain_list())));
    }
    assert_eq!(service.registrations()[2].queued, 0);
    // Draining again is another wish.
    view.0.lock().drains = false;
    assert_eq!(service.raise(&ClusterEvent::NodeDraining { node_id: 1, on: false }), 0);
    view.0.lock().drains = true;
    assert_eq!(service.raise(&ClusterEvent::NodeDraining { node_id: 1, on: true }), 2);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_does_not_come_back_stays_unavailable() {
    let second = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 21));
    let (view, service) = service();
    view.0.lock().has_second = true;
    service.raise(&ClusterEvent::NodeAddresses { node_id: 1 });
    for (number, address) in [(1, A), (2, second), (3, C)] {
        service.register(Uuid::from_u128(number), request("Alpha", address, 5), true).unwrap();
    }
    view.0.lock().is_down = true;
    assert_eq!(service.raise(&ClusterEvent::NodeDown { node_id: 1 }), 2);
    // The node begins a new life without its second address.
    *view.0.lock() = Cluster::default();
    service.raise(&ClusterEvent::NodeUp { node_id: 1 });
    let lost = Notification::IpChange(vec![Address { ip: second, is_online: false }]);
    let change = |states: &[ResourceState], address: IpAddr| {
        Notification::ResourceChange(states.iter().map(|state| ResourceChange { state: *state, name: address.to_string() }).collect())
    };
    let both = [ResourceState::Unavailable, ResourceState::Available];
    for (number, expected) in
        [(1, vec![change(&both, A), lost.clone()]), (2, vec![unavailable(second), lost.clone()]), (3, vec![lost.clone()])]
    {
        for notification in expected {
            assert_eq!(Arc::clone(&service).async_notify(Uuid::from_u128(number)).await, Ok(notification));
        }
        assert_eq!(service.registrations()[number as usize - 1].queued, 0);
    }
    // Another node takes the address over: its clients need not know whose it was.
    view.0.lock().has_second = true;
    service.raise(&ClusterEvent::NodeAddresses { node_id: 1 });
    assert_eq!(Arc::clone(&service).async_notify(Uuid::from_u128(2)).await, Ok(change(&[ResourceState::Available], second)));
}

// MS-SWN 3.1.6.2
#[tokio::test(start_paused = true)]
async fn who_is_not_at_the_owner_of_a_share_is_told_where_it_is() {
    let (view, service) = service();
    let b = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 12));
    let moved = |ip| Ok(Notification::ShareMove(vec![Address { ip, is_online: true }]));
    let told = |number| Arc::clone(&service).async_notify(Uuid::from_u128(number));
    let set = |owner| {
        view.0.lock().owner = Some(owner);
        service.raise(&ClusterEvent::ShareOwner { share: "DATA".into() })
    };
    let queued = || service.registrations().iter().map(|registration| registration.queued).collect::<Vec<_>>();
    view.0.lock().owner = Some(A);
    service.register(Uuid::from_u128(1), request("Alpha", A, 5), true).unwrap();
    service.register(Uuid::from_u128(2), request("Beta", C, 5), true).unwrap();
    // Neither by name nor by version does it want to know.
    service.register(Uuid::from_u128(3), RegisterExRequest { share_name: None, ..request("Gamma", A, 5) }, true).unwrap();
    let first_version = RegisterExRequest { version: VERSION_1, share_name: None, ..request("Delta", A, 0) };
    service.register(Uuid::from_u128(4), first_version, false).unwrap();
    assert_eq!(queued(), [0, 1, 0, 0], "who comes to another node than the owner's is told at once");
    assert_eq!(told(2).await, moved(A));
    // It moves, and is told once, by its newest place.
    assert_eq!(set(A), 0, "everybody knows");
    assert_eq!(set(C), 1);
    assert_eq!(set(b), 2);
    assert_eq!(set(b), 0, "each owner once");
    assert_eq!(queued(), [1, 1, 0, 0]);
    assert_eq!((told(1).await, told(2).await), (moved(b), moved(b)));
    // Back before its client asked: there is nothing to do for it.
    assert_eq!(set(C), 1);
    assert_eq!(set(A), 1);
    assert_eq!(queued(), [0, 1, 0, 0]);
    assert_eq!(service.raise(&ClusterEvent::ShareOwner { share: "other".into() }), 0);
    // An owner that does not serve is no place to go.
    view.0.lock().owner = None;
    assert_eq!(service.raise(&ClusterEvent::ShareOwner { share: "data".into() }), 0);
    service.register(Uuid::from_u128(5), request("Epsilon", C, 5), true).unwrap();
    assert_eq!(queued(), [0, 1, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_living_node_loses_an_address() {
    let second = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 21));
    let (view, service) = service();
    for (number, address) in [(1, A), (2, second), (3, C)] {
        service.register(Uuid::from_u128(number), request("Alpha", address, 5), true).unwrap_or_else(|status| {
            assert_eq!((status, number), (Status::INVALID_STATE, 2), "nobody has that address yet");
        });
    }
    let quiet = RegisterExRequest { flags: 0, ..request("Quiet", A, 5) };
    service.register(Uuid::from_u128(4), quiet, true).unwrap();
    let set = |has_second| {
        view.0.lock().has_second = has_second;
        service.raise(&ClusterEvent::NodeAddresses { node_id: 1 })
    };
    let change = |is_online| Ok(Notification::IpChange(vec![Address { ip: second, is_online }]));
    assert!(set(true) > 0);
    for number in [1, 3] {
        assert_eq!(Arc::clone(&service).async_notify(Uuid::from_u128(number)).await, change(true));
    }
    service.register(Uuid::from_u128(2), request("Alpha", second, 5), true).unwrap();
    assert!(set(false) > 0);
    assert_eq!(Arc::clone(&service).async_notify(Uuid::from_u128(2)).await, Ok(unavailable(second)));
    for number in 1..=3 {
        assert_eq!(Arc::clone(&service).async_notify(Uuid::from_u128(number)).await, change(false));
    }
    assert!(service.registrations().iter().all(|registration| registration.queued == 0), "and nothing else");
    // A node that is drained is no less drained for it.
    view.0.lock().drains = true;
    assert_eq!(service.raise(&ClusterEvent::NodeDraining { node_id: 1, on: true }), 2);
    set(true);
    assert_eq!(Arc::clone(&service).async_notify(Uuid::from_u128(1)).await, Ok(Notification::ClientMove(drain_list())));
    assert_eq!(Arc::clone(&service).async_notify(Uuid::from_u128(1)).await, change(true));
    service.raise(&ClusterEvent::NodeDraining { node_id: 1, on: true });
    assert_eq!(service.registrations()[0].queued, 0, "nobody is asked twice");
}

#[tokio::test(start_paused = true)]
async fn an_operator_can_tell_what_is_known_and_end_registrations() {
    let (_view, service) = service();
    for (number, client) in [(1, "Alpha"), (2, "alpha"), (3, "Beta")] {
        service.register(Uuid::from_u128(number), request(client, A, 5), true).unwrap();
    }
    assert_eq!(service.force_change(Some("ALPHA"), A, false), 2);
    assert_eq!(service.force_change(None, C, false), 0);
    assert_eq!(service.force_change(None, A, false), 3);
    let twice = Notification::ResourceChange(vec![ResourceChange { state: ResourceState::Unavailable, name: A.to_string() }; 2]);
    assert_eq!(Arc::clone(&service).async_notify(Uuid::from_u128(1)).await, Ok(twice));
    assert_eq!(service.unregister_client("ALPHA"), 2);
    assert!(service.unregister_one(Uuid::from_u128(3)) && !service.unregister_one(Uuid::from_u128(3)));
    assert_eq!(service.registration_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn names_are_compared_short_and_full_without_case() {
    let (_view, service) = service();
    for (number, name) in (1..).zip(["files", "FILES", "Files.Example.COM", "ALIAS"]) {
        let request = RegisterExRequest { net_name: Some(name.into()), ..request("Alpha", A, 5) };
        assert_eq!(service.register(Uuid::from_u128(number), request, true), Ok(()), "{name}");
    }
    for name in ["files.example.org", "files.example", "file", "alias.example.com", ""] {
        let request = RegisterExRequest { net_name: Some(name.into()), ..request("Alpha", A, 5) };
        assert_eq!(service.register(Uuid::from_u128(99), request, true), Err(Status::INVALID_PARAMETER), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_interface_list_waits_for_an_interface_that_serves() {
    struct Lonely(Mutex<Vec<Interface>>);
    impl ClusterView for Lonely {
        fn net_names(&self) -> Vec<String> {
            Vec::new()
        }
        fn interfaces(&self) -> Vec<Interface> {
            self.0.lock().clone()
        }
        fn shares(&self) -> Vec<Share> {
            Vec::new()
        }
        fn leave_for(&self, _address: IpAddr) -> Vec<Address> {
            Vec::new()
        }
    }
    let view = Arc::new(Lonely(Mutex::default()));
    let service = WitnessService::new(view.clone());
    assert_eq!(service.interface_list().await, Err(Status::NO_MORE_ITEMS));
    let down = Interface {
        node_id: 1,
        group_name: "NODE1".into(),
        ipv4: Some(Ipv4Addr::new(10, 0, 0, 11)),
        ipv6: None,
        state: InterfaceState::Unavailable,
        local: false,
    };
    view.0.lock().push(down.clone());
    let from = Instant::now();
    assert_eq!(service.interface_list().await.unwrap()[0].state, 0xFF);
    assert_eq!(from.elapsed(), INTERFACE_WAIT, "it is told in the end");
    let waiting = tokio::spawn({
        let service = Arc::clone(&service);
        async move { service.interface_list().await }
    });
    tokio::task::yield_now().await;
    view.0.lock()[0].state = InterfaceState::Available;
    service.raise(&ClusterEvent::NodeUp { node_id: 1 });
    let list = waiting.await.unwrap().unwrap();
    assert_eq!((list[0].state, list[0].is_witness), (1, true));
    assert_eq!(from.elapsed(), INTERFACE_WAIT, "as soon as it serves");
}
