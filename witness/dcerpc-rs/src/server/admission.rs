//! Who is let in: how many connections may wait for their bind, and how many may come from one address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Connections that have not finished their bind, oldest first.
#[derive(Default)]
pub(super) struct HalfOpen {
    waiting: Mutex<BTreeMap<u64, CancellationToken>>,
}

impl HalfOpen {
    /// Registers a connection; drops the oldest one if there are too many.
    pub(super) fn enter(self: &Arc<Self>, serial: u64, half_open_max: usize, parent: &CancellationToken) -> HalfOpenPlace {
        let token = parent.child_token();
        let mut waiting = self.waiting.lock();
        waiting.insert(serial, token.clone());
        if waiting.len() > half_open_max
            && let Some((_, oldest)) = waiting.pop_first()
        {
            oldest.cancel();
        }
        HalfOpenPlace { half_open: Arc::clone(self), serial, token }
    }
}

/// One connection's place among the half-open ones.
pub(super) struct HalfOpenPlace {
    half_open: Arc<HalfOpen>,
    serial: u64,
    pub(super) token: CancellationToken,
}

impl HalfOpenPlace {
    pub(super) fn leave(&self) {
        self.half_open.waiting.lock().remove(&self.serial);
    }
}

impl Drop for HalfOpenPlace {
    fn drop(&mut self) {
        self.leave();
    }
}

/// How many connections each client address has.
#[derive(Default)]
pub(super) struct Peers {
    counts: Mutex<BTreeMap<IpAddr, usize>>,
}

impl Peers {
    /// A seat for one more connection, unless the address has `per_peer_max` already.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr, per_peer_max: usize) -> Option<PeerSeat> {
        let mut counts = self.counts.lock();
        let count = counts.entry(peer).or_default();
        if *count >= per_peer_max {
            return None;
        }
        *count += 1;
        Some(PeerSeat { peers: Arc::clone(self), peer })
    }
}

/// One connection of an address.
pub(super) struct PeerSeat {
    peers: Arc<Peers>,
    peer: IpAddr,
}

impl Drop for PeerSeat {
    fn drop(&mut self) {
        let mut counts = self.peers.counts.lock();
        let count = counts.get_mut(&self.peer).expect("a seat is counted");
        *count -= 1;
        if *count == 0 {
            counts.remove(&self.peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_place() {
        let peers = Arc::new(Peers::default());
        let [one, other] = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
        let seats: Vec<_> = (0..2).map(|_| peers.enter(one, 2).unwrap()).collect();
        assert!(peers.enter(one, 2).is_none());
        assert!(peers.enter(other, 2).is_some());
        drop(seats);
        assert!(peers.enter(one, 2).is_some());
        assert!(peers.counts.lock().is_empty());
    }

    #[test]
    fn the_oldest_half_open_connection_makes_room() {
        let half_open = Arc::new(HalfOpen::default());
        let parent = CancellationToken::new();
        let first = half_open.enter(1, 2, &parent);
        let second = half_open.enter(2, 2, &parent);
        second.leave();
        let third = half_open.enter(3, 2, &parent);
        assert!(!first.token.is_cancelled());
        let _fourth = half_open.enter(4, 2, &parent);
        assert!(first.token.is_cancelled() && !third.token.is_cancelled() && !second.token.is_cancelled());
    }
}
