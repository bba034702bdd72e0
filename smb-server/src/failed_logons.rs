//! Who has failed to log on lately, and how long his next answer waits: guessing becomes slow, and is seen.
//!
//! Decides with times that it is given; never waits itself. What is known is this node's own: lockouts, which hold on every node, are records.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// Pairs of user and address, and addresses, that are remembered; those that failed longest ago are forgotten first.
pub const REMEMBERED_MAX: usize = 10_000;
/// What failed longer ago is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);
/// After the first failure of a user from an address; doubled by each further one.
const DELAY_FIRST: Duration = Duration::from_millis(100);
/// The longest delay between two answers.
const DELAY_MAX: Duration = Duration::from_secs(5);
/// Failures of an address, with whatever names, that delay nobody: many users may share it.
const FREE_FAILURES_OF_ADDRESS: u32 = 10;
/// Who would have to wait longer, behind other tries, is refused at once.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// Logons whose answer waits, on this node; further ones are refused at once.
pub const WAITING_MAX: usize = 1024;
/// Log lines in one [`LOG_WINDOW`].
const LOG_LINES_MAX: u32 = 20;
/// How long log lines are counted together.
const LOG_WINDOW: Duration = Duration::from_secs(10);
/// Longest part of a name that is remembered or logged: no account's is longer.
const NAME_CHARS_MAX: usize = 104;

/// The failed logons of this node.
#[derive(Debug)]
pub struct FailedLogons {
    tables: Mutex<Tables>,
    waiting: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Tables {
    /// By address and folded name.
    pairs: Tallies<(IpAddr, String)>,
    addresses: Tallies<IpAddr>,
    log: Log,
}

/// One who tries to log on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimant {
    /// As typed, cut to what an account's name may have.
    pub user: String,
    /// Of the client.
    pub address: IpAddr,
}

/// When the answer to a logon may be given.
#[derive(Debug)]
pub enum Answer {
    /// Now.
    AtOnce,
    /// At that time; the permit is one of [`WAITING_MAX`].
    At(Instant, OwnedSemaphorePermit),
    /// Never: too many wait. Whatever it is, the logon is refused.
    Never,
}

/// Whether a failure is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logged {
    /// With the number of those that were left out before it.
    Yes(u64),
    /// There were too many lately.
    No,
}

impl Claimant {
    /// Somebody who gives this name.
    #[must_use]
    pub fn new(user: &str, address: IpAddr) -> Self {
        Self { user: user.chars().take(NAME_CHARS_MAX).collect(), address: address.to_canonical() }
    }

    fn pair(&self) -> (IpAddr, String) {
        (network(self.address), self.user.to_uppercase())
    }
}

/// Whoever has an IPv6 network has all its addresses.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

impl Default for FailedLogons {
    fn default() -> Self {
        Self { tables: Mutex::default(), waiting: Arc::new(Semaphore::new(WAITING_MAX)) }
    }
}

impl FailedLogons {
    /// When somebody may have his answer, right or wrong: the tries of one user from one address are answered one after the other, and the more of
    /// them have failed the longer it takes. To be asked once for each try.
    pub fn answer(&self, who: &Claimant, now: Instant) -> Answer {
        let mut tables = self.tables.lock();
        let address = network(who.address);
        let of_address = tables.addresses.failures(&address, now).saturating_sub(FREE_FAILURES_OF_ADDRESS);
        let pair = who.pair();
        let (failures, is_known) = match tables.pairs.get_mut(&pair, now) {
            Some(tally) => (tally.failures, tally.is_known),
            None => (0, false),
        };
        // Somebody who has come in from there before does not pay for his neighbours.
        let delay = delay(failures).max(if is_known { Duration::ZERO } else { delay(of_address) });
        if delay.is_zero() {
            return Answer::AtOnce;
        }
        let at = match tables.pairs.get_mut(&pair, now) {
            Some(tally) => tally.next_answer.max(now) + delay,
            None => now + delay,
        };
        if at.duration_since(now) > WAIT_MAX {
            return Answer::Never;
        }
        let Ok(permit) = Arc::clone(&self.waiting).try_acquire_owned() else { return Answer::Never };
        if let Some(tally) = tables.pairs.get_mut(&pair, now) {
            tally.next_answer = at;
        }
        Answer::At(at, permit)
    }

    /// Whether the delay after the last failure is over, for those who cannot let an answer wait: they refuse whoever comes before.
    pub fn may_try(&self, who: &Claimant, now: Instant) -> bool {
        let mut tables = self.tables.lock();
        let pair = tables.pairs.get_mut(&who.pair(), now).map(|tally| *tally);
        let is_known = pair.is_some_and(|tally| tally.is_known);
        let address = tables.addresses.get_mut(&network(who.address), now).map(|tally| *tally).filter(|_| !is_known);
        let is_over = |tally: Option<Tally>, free: u32| {
            tally.is_none_or(|tally| now.duration_since(tally.last) >= delay(tally.failures.saturating_sub(free)))
        };
        is_over(pair, 0) && is_over(address, FREE_FAILURES_OF_ADDRESS)
    }

    /// A logon has failed.
    pub fn failed(&self, who: &Claimant, now: Instant) -> Logged {
        let mut tables = self.tables.lock();
        tables.pairs.count(who.pair(), now);
        tables.addresses.count(network(who.address), now);
        tables.log.line(now)
    }

    /// A logon has succeeded: what this user has failed at this address is forgotten, and the address is known for him.
    pub fn succeeded(&self, who: &Claimant, now: Instant) {
        let mut tables = self.tables.lock();
        let failures = tables.pairs.known(who.pair(), now);
        tables.addresses.forgive(&network(who.address), failures);
    }

    /// Failures that were left out of the log, if the time for a line about them has come.
    pub fn left_out(&self, now: Instant) -> Option<u64> {
        self.tables.lock().log.left_out(now)
    }

    /// How many pairs and addresses are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        let tables = self.tables.lock();
        tables.pairs.by_key.len() + tables.addresses.by_key.len()
    }
}

/// The delay before the next answer, after so many failures.
fn delay(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doubled) => DELAY_FIRST.saturating_mul(1 << doubled.min(16)).min(DELAY_MAX),
    }
}

/// How often somebody has failed.
#[derive(Debug, Clone, Copy)]
struct Tally {
    failures: u32,
    last: Instant,
    /// When the last answer that was promised is given.
    next_answer: Instant,
    /// The user has come in from there.
    is_known: bool,
}

/// Tallies, at most [`REMEMBERED_MAX`].
#[derive(Debug)]
struct Tallies<K> {
    by_key: BTreeMap<K, Tally>,
    /// The same, oldest first.
    by_age: BTreeMap<(Instant, K), ()>,
}

impl<K> Default for Tallies<K> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), by_age: BTreeMap::new() }
    }
}

impl<K: Clone + Ord> Tallies<K> {
    fn get_mut(&mut self, key: &K, now: Instant) -> Option<&mut Tally> {
        self.by_key.get_mut(key).filter(|tally| now.duration_since(tally.last) < FORGOTTEN_AFTER)
    }

    fn failures(&mut self, key: &K, now: Instant) -> u32 {
        self.get_mut(key, now).map_or(0, |tally| tally.failures)
    }

    fn count(&mut self, key: K, now: Instant) {
        let before = self.get_mut(&key, now).copied();
        let fresh = Tally { failures: 0, last: now, next_answer: now, is_known: false };
        let before = before.unwrap_or(fresh);
        self.put(key, Tally { failures: before.failures.saturating_add(1), last: now, ..before });
    }

    /// Gives the failures that are forgotten by this.
    fn known(&mut self, key: K, now: Instant) -> u32 {
        let failures = self.failures(&key, now);
        self.put(key, Tally { failures: 0, last: now, next_answer: now, is_known: true });
        failures
    }

    fn forgive(&mut self, key: &K, failures: u32) {
        if let Some(tally) = self.by_key.get_mut(key) {
            tally.failures = tally.failures.saturating_sub(failures);
        }
    }

    fn put(&mut self, key: K, tally: Tally) {
        if let Some(before) = self.by_key.insert(key.clone(), tally) {
            self.by_age.remove(&(before.last, key.clone()));
        }
        self.by_age.insert((tally.last, key), ());
        while self.by_key.len() > REMEMBERED_MAX
            && let Some(((_, oldest), ())) = self.by_age.pop_first()
        {
            self.by_key.remove(&oldest);
        }
        assert_eq!(self.by_key.len(), self.by_age.len(), "what is remembered has an age");
    }
}

/// Lines of the log, so many in a window.
#[derive(Debug, Default)]
struct Log {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Log {
    fn line(&mut self, now: Instant) -> Logged {
        if self.since.is_none_or(|since| now.duration_since(since) >= LOG_WINDOW) {
            (self.since, self.lines) = (Some(now), 0);
        }
        if self.lines >= LOG_LINES_MAX {
            self.left_out += 1;
            return Logged::No;
        }
        self.lines += 1;
        Logged::Yes(std::mem::take(&mut self.left_out))
    }

    fn left_out(&mut self, now: Instant) -> Option<u64> {
        let is_over = self.since.is_some_and(|since| now.duration_since(since) >= LOG_WINDOW);
        (is_over && self.left_out > 0).then(|| std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(user: &str, last: u8) -> Claimant {
        Claimant::new(user, IpAddr::from([192, 0, 2, last]))
    }

    /// Milliseconds from now to the answer.
    fn wait(logons: &FailedLogons, who: &Claimant, now: Instant) -> Option<u128> {
        match logons.answer(who, now) {
            Answer::AtOnce => Some(0),
            Answer::At(at, _permit) => Some(at.duration_since(now).as_millis()),
            Answer::Never => None,
        }
    }

    #[test]
    fn each_failure_doubles_the_delay_up_to_a_limit() {
        let (logons, mut now) = (FailedLogons::default(), Instant::now());
        let ann = who("ann", 1);
        for expected in [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            assert_eq!(wait(&logons, &ann, now), Some(expected));
            logons.failed(&ann, now);
            now += Duration::from_secs(10);
        }
        assert_eq!(wait(&logons, &who("ANN", 1), now), Some(5000), "whatever the case");
        assert_eq!(wait(&logons, &who("ann", 2), now), Some(0), "nobody can delay a user from elsewhere");
        logons.succeeded(&ann, now);
        assert_eq!(wait(&logons, &ann, now), Some(0));
    }

    #[test]
    fn tries_at_the_same_time_are_answered_one_after_the_other() {
        let (logons, now) = (FailedLogons::default(), Instant::now());
        let ann = who("ann", 1);
        for _ in 0..3 {
            logons.failed(&ann, now);
        }
        let waits: Vec<_> = (0..3).map(|_| wait(&logons, &ann, now)).collect();
        assert_eq!(waits, [Some(400), Some(800), Some(1200)]);
        let last = (0..100).map(|_| wait(&logons, &ann, now)).position(|wait| wait.is_none());
        assert_eq!(last, Some(47), "20 seconds, and no further");
    }

    #[test]
    fn an_address_that_fails_with_many_names_is_delayed_and_its_known_users_are_not() {
        let (logons, now) = (FailedLogons::default(), Instant::now());
        let ann = who("ann", 1);
        logons.succeeded(&ann, now);
        for n in 0..12 {
            assert_eq!(wait(&logons, &who(&format!("u{n}"), 1), now), Some(if n == 11 { 100 } else { 0 }), "{n}");
            logons.failed(&who(&format!("u{n}"), 1), now);
        }
        assert_eq!((wait(&logons, &ann, now), wait(&logons, &who("bob", 1), now)), (Some(0), Some(200)));
        // An own account does not help: it takes back its own failures only.
        logons.succeeded(&who("bob", 1), now);
        assert_eq!(wait(&logons, &who("eve", 1), now), Some(200));
        assert_eq!(wait(&logons, &who("eve", 1), now + FORGOTTEN_AFTER), Some(0), "and one day it is forgotten");
    }

    #[test]
    fn who_cannot_wait_comes_back_later() {
        let (logons, now) = (FailedLogons::default(), Instant::now());
        let ann = who("ann", 1);
        assert!(logons.may_try(&ann, now));
        logons.failed(&ann, now);
        logons.failed(&ann, now);
        let after = |ms| now + Duration::from_millis(ms);
        assert_eq!((logons.may_try(&ann, after(199)), logons.may_try(&ann, after(200))), (false, true));
        assert!(logons.may_try(&who("bob", 1), now) && logons.may_try(&who("ann", 2), now));
        (0..10).for_each(|n| _ = logons.failed(&who(&format!("u{n}"), 1), now));
        assert!(!logons.may_try(&who("bob", 1), after(199)), "the address has failed too often");
        logons.succeeded(&ann, now);
        assert!(logons.may_try(&ann, now));
    }

    #[test]
    fn networks_of_ipv6_are_one_address() {
        let (logons, now) = (FailedLogons::default(), Instant::now());
        let from = |text: &str| Claimant::new("ann", text.parse().unwrap());
        logons.failed(&from("2001:db8::1"), now);
        assert_eq!(wait(&logons, &from("2001:db8::ffff"), now), Some(100));
        assert_eq!(wait(&logons, &from("2001:db8:0:1::1"), now), Some(0));
        logons.failed(&from("::ffff:192.0.2.1"), now);
        assert_eq!(wait(&logons, &who("ann", 1), now), Some(100));
    }

    #[test]
    fn no_more_is_remembered_than_said() {
        let (logons, now) = (FailedLogons::default(), Instant::now());
        for n in 0..u32::try_from(REMEMBERED_MAX).unwrap() + 100 {
            let user = "x".repeat(10_000) + &n.to_string();
            let claimant = Claimant::new(&n.to_string(), IpAddr::from((n + 1).to_be_bytes()));
            assert_eq!(Claimant::new(&user, claimant.address).user.len(), NAME_CHARS_MAX);
            logons.failed(&claimant, now + Duration::from_millis(u64::from(n)));
        }
        assert_eq!(logons.remembered(), 2 * REMEMBERED_MAX);
    }

    #[test]
    fn a_node_has_so_many_waiting() {
        let (logons, now) = (FailedLogons::default(), Instant::now());
        let mut held = Vec::new();
        for n in 0..=WAITING_MAX {
            let claimant = Claimant::new("ann", IpAddr::from(u32::try_from(n + 1).unwrap().to_be_bytes()));
            logons.failed(&claimant, now);
            held.push(logons.answer(&claimant, now));
        }
        assert!(matches!(held.last(), Some(Answer::Never)));
        assert!(held[..WAITING_MAX].iter().all(|answer| matches!(answer, Answer::At(..))));
    }

    #[test]
    fn a_flood_leaves_a_number_in_the_log() {
        let (logons, now) = (FailedLogons::default(), Instant::now());
        let lines = (0..50).filter(|_| logons.failed(&who("ann", 1), now) != Logged::No).count();
        assert_eq!((lines, logons.left_out(now)), (20, None), "not yet");
        let later = now + LOG_WINDOW;
        assert_eq!(logons.failed(&who("ann", 1), later), Logged::Yes(30));
        assert_eq!(logons.left_out(later + LOG_WINDOW), None, "said already");
        for _ in 0..30 {
            logons.failed(&who("ann", 1), later + LOG_WINDOW);
        }
        assert_eq!(logons.left_out(later + 2 * LOG_WINDOW), Some(10));
    }
}
