//! What clients do to files at this node at this moment, and which entries of the log must wait until it is done.
//!
//! A READ or WRITE is judged by the records and then done by the file system, which takes as long as it takes. A command that is applied in
//! between may give somebody else what makes the judgement wrong: a byte-range lock, a lease that allows to cache, the whole file. Whoever
//! got it must not hear of it before what was judged without it has landed. So each such access is announced before it is judged
//! ([`Flights::begin`]), an applied command holds up its own answer for the accesses of its files that were announced before
//! ([`Flights::applied`]), and the answer is given, to this node's clients and to other nodes' barriers alike, when they have landed. What belongs to other files delays nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use persistence_model::{Command, FileKey, OpenId};
use tokio::sync::Notify;

/// Parts that do not wait for each other.
const SHARDS: usize = 16;

/// The accesses that go on at one node. Clones of the `Arc` are the same ones.
#[derive(Debug, Default)]
pub struct Flights {
    shards: [Mutex<Shard>; SHARDS],
    /// Accesses in all shards. One is counted before anything is read that it is judged by.
    in_flight: AtomicUsize,
    holds: AtomicUsize,
    /// Those who wait for the accesses of certain opens.
    closers: AtomicUsize,
    landed: Notify,
}

#[derive(Debug, Default)]
struct Shard {
    tickets: u64,
    flights: Vec<InFlight>,
    holds: Vec<Hold>,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    ticket: u64,
    file: FileKey,
    open: OpenId,
}

/// The entry `index` waits for the accesses to `file` that were announced before it.
#[derive(Debug)]
struct Hold {
    index: u64,
    file: FileKey,
    /// Tickets from here on were judged with the entry applied.
    before: u64,
    /// An open with an access under way is gone: by the records this node has nothing to do with the file any more, so the barrier of a
    /// later entry would be the only one that asks.
    orphaned: bool,
    /// The entry gives somebody what the accesses could spoil, so that its own answer has to wait.
    takes: bool,
}

impl Shard {
    fn concerns(&self, hold: &Hold) -> bool {
        self.flights.iter().any(|flight| flight.file == hold.file && flight.ticket < hold.before)
    }
}

/// An access to a file. It has landed when this is dropped.
#[derive(Debug)]
#[must_use = "the access counts as landed when this is dropped"]
pub struct Flight {
    flights: Arc<Flights>,
    file: FileKey,
    ticket: u64,
}

impl Flights {
    /// Announces an access to a file through an open. Call it before the records are asked whether the access may be; keep the result until
    /// the file system has answered, and not while anything is proposed.
    pub fn begin(self: &Arc<Self>, file: FileKey, open: OpenId) -> Flight {
        let ticket = {
            let mut shard = self.shard(&file).lock();
            let ticket = shard.tickets;
            shard.tickets += 1;
            shard.flights.push(InFlight { ticket, file, open });
            self.in_flight.fetch_add(1, Ordering::SeqCst);
            ticket
        };
        Flight { flights: self.clone(), file, ticket }
    }

    /// An entry was applied that changed what holds of these files. Call it after the records have changed and before anybody is told.
    /// `is_open` tells whether an open is still this node's.
    pub fn applied(&self, index: u64, command: &Command, files: impl IntoIterator<Item = FileKey>, is_open: impl Fn(OpenId) -> bool) {
        if self.in_flight.load(Ordering::SeqCst) == 0 {
            return;
        }
        let takes = takes_rights(command);
        for file in files {
            let mut shard = self.shard(&file).lock();
            let mut of_file = shard.flights.iter().filter(|flight| flight.file == file).peekable();
            if of_file.peek().is_none() {
                continue;
            }
            let orphaned = of_file.any(|flight| !is_open(flight.open));
            if takes || orphaned {
                let before = shard.tickets;
                shard.holds.push(Hold { index, file, before, orphaned, takes });
                self.holds.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// Everything may have changed up to the entry `index`.
    pub(crate) fn replaced(&self, index: u64) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            let mut files: Vec<_> = shard.flights.iter().map(|flight| flight.file).collect();
            files.sort_unstable();
            files.dedup();
            let before = shard.tickets;
            self.holds.fetch_add(files.len(), Ordering::SeqCst);
            shard.holds.extend(files.into_iter().map(|file| Hold { index, file, before, orphaned: true, takes: true }));
        }
    }

    /// Waits until what the answer to the entry `index` waits for has landed. The entry must have been applied. An entry that gives nobody
    /// anything is answered at once, even if it took an open from an access: what comes after it waits.
    pub async fn landed(&self, index: u64) {
        self.until(|| !self.holds(|hold| hold.takes && hold.index == index)).await;
    }

    /// Tells whether another node that asks for `index` has to wait. It takes the answer for all that came before, too: it would not ask this
    /// node about a file that nobody has open here any more.
    pub(crate) fn hold_up(&self, index: u64) -> bool {
        self.holds(|hold| hold.index == index || (hold.orphaned && hold.index < index))
    }

    /// Waits until nothing holds up the answer to another node that asks for `index`.
    pub(crate) async fn settled(&self, index: u64) {
        self.until(|| !self.hold_up(index)).await;
    }

    fn holds(&self, fits: impl Fn(&Hold) -> bool) -> bool {
        self.holds.load(Ordering::SeqCst) > 0 && self.shards.iter().any(|shard| shard.lock().holds.iter().any(&fits))
    }

    /// Waits until nothing is under way through these opens: whoever gives them up has nothing left to land.
    pub async fn landed_through(&self, is_meant: impl Fn(OpenId) -> bool) {
        if self.in_flight.load(Ordering::SeqCst) == 0 {
            return;
        }
        self.closers.fetch_add(1, Ordering::SeqCst);
        let _closer = Closer(self);
        self.until(|| !self.shards.iter().any(|shard| shard.lock().flights.iter().any(|flight| is_meant(flight.open)))).await;
    }

    async fn until(&self, done: impl Fn() -> bool) {
        loop {
            let mut next = std::pin::pin!(self.landed.notified());
            next.as_mut().enable();
            if done() {
                return;
            }
            next.await;
        }
    }

    fn end(&self, file: &FileKey, ticket: u64) {
        let freed = {
            let mut shard = self.shard(file).lock();
            if let Some(place) = shard.flights.iter().position(|flight| flight.ticket == ticket) {
                shard.flights.swap_remove(place);
                self.in_flight.fetch_sub(1, Ordering::SeqCst);
            }
            let holds = std::mem::take(&mut shard.holds);
            let before = holds.len();
            shard.holds = if holds.is_empty() { holds } else { holds.into_iter().filter(|hold| shard.concerns(hold)).collect() };
            before - shard.holds.len()
        };
        self.holds.fetch_sub(freed, Ordering::SeqCst);
        if freed > 0 || self.closers.load(Ordering::SeqCst) > 0 {
            self.landed.notify_waiters();
        }
    }

    fn shard(&self, file: &FileKey) -> &Mutex<Shard> {
        &self.shards[usize::try_from(file.inode % SHARDS as u64).expect("below SHARDS")]
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.end(&self.file, self.ticket);
    }
}

struct Closer<'a>(&'a Flights);

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        self.0.closers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether the outcome may say that somebody got what others could still be using.
pub(crate) fn takes_rights(command: &Command) -> bool {
    matches!(
        command,
        Command::OpenFile(_)
            | Command::ReserveOpen(_)
            | Command::ConfirmOpen { .. }
            | Command::Lock { .. }
            | Command::SetDeletePending { .. }
            | Command::RenameIntent { .. }
            | Command::RenameDone { .. }
            | Command::ReclaimOpen(_)
    )
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use persistence_model::Incarnation;

    use super::*;

    const X: OpenId = OpenId(1);
    const Y: OpenId = OpenId(2);

    fn file(inode: u64) -> FileKey {
        FileKey { inode, ..FileKey::default() }
    }

    fn lock() -> Command {
        Command::Lock { open: Y, elements: Vec::new(), fail_immediately: true, sequence: None, by: Incarnation(1) }
    }

    fn close(open: OpenId) -> Command {
        Command::CloseOpen { open, by: Incarnation(1) }
    }

    #[test]
    fn an_entry_waits_for_what_was_announced_before_it_and_for_nothing_else() {
        let flights = Arc::new(Flights::default());
        let early = flights.begin(file(1), X);
        let other = flights.begin(file(2), X);
        let same_shard = flights.begin(file(1 + SHARDS as u64), X);
        flights.applied(7, &lock(), [file(1)], |_| true);
        let late = flights.begin(file(1), X);
        assert!(flights.hold_up(7));
        assert!(!flights.hold_up(8), "another entry");
        let mut wait = Box::pin(flights.landed(7));
        assert!(wait.as_mut().now_or_never().is_none());
        drop(early);
        assert!(wait.now_or_never().is_some(), "what was judged with the lock applied, and other files, delay nothing");
        drop((late, other, same_shard));
        assert_eq!((flights.in_flight.load(Ordering::SeqCst), flights.holds.load(Ordering::SeqCst)), (0, 0));
    }

    #[test]
    fn what_takes_nothing_from_anybody_waits_for_nothing() {
        let flights = Arc::new(Flights::default());
        let _flight = flights.begin(file(1), X);
        flights.applied(7, &close(Y), [file(1)], |_| true);
        flights.applied(8, &lock(), [], |_| true);
        assert!(!flights.hold_up(7) && !flights.hold_up(8));
    }

    #[test]
    fn an_access_that_outlives_its_open_holds_up_every_later_entry() {
        let flights = Arc::new(Flights::default());
        let flight = flights.begin(file(1), X);
        flights.applied(7, &close(X), [file(1)], |open| open != X);
        assert!(!flights.hold_up(6));
        assert!(flights.hold_up(7) && flights.hold_up(70));
        assert!(flights.landed(7).now_or_never().is_some(), "the end of an open gives nobody anything");
        assert!(flights.landed(70).now_or_never().is_some(), "whoever applied 70 here knows whether it is about that file");
        drop(flight);
        assert!(!flights.hold_up(70));
    }

    #[test]
    fn nothing_is_known_of_the_past_after_a_snapshot() {
        let flights = Arc::new(Flights::default());
        let (one, two) = (flights.begin(file(1), X), flights.begin(file(2), X));
        flights.replaced(9);
        drop(one);
        assert!(flights.hold_up(9) && flights.hold_up(12));
        drop(two);
        assert!(!flights.hold_up(12));
    }

    #[test]
    fn who_gives_an_open_up_waits_for_what_goes_through_it() {
        let flights = Arc::new(Flights::default());
        let (mine, others) = (flights.begin(file(1), X), flights.begin(file(1), Y));
        let mut wait = Box::pin(flights.landed_through(|open| open == X));
        assert!(wait.as_mut().now_or_never().is_none());
        drop(mine);
        assert!(wait.now_or_never().is_some());
        drop(others);
        assert_eq!(flights.closers.load(Ordering::SeqCst), 0);
    }
}
