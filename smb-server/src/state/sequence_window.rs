//! Connection.CommandSequenceWindow: which message ids a client may use, and how many credits it holds (MS-SMB2 3.3.1.1, 3.3.1.2).
//!
//! Pure. Knows nothing of messages; the reader takes ids, the responder grants credits.

use std::collections::VecDeque;

/// The ids a client may still use. Starts with id 0 only.
#[derive(Debug)]
pub struct SequenceWindow {
    /// The lowest id that has not been used.
    low: u64,
    /// For each id from `low` up to the highest granted one: still available?
    available: VecDeque<bool>,
    /// How many of them are available: the credits the client holds.
    credits: u32,
    /// Most credits a client may hold.
    credits_max: u32,
}

/// The message id (or one of its charge) is not in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfWindow;

impl SequenceWindow {
    /// A new connection's window.
    #[must_use]
    pub fn new(credits_max: u32) -> Self {
        Self { low: 0, available: VecDeque::from([true]), credits: 1, credits_max: credits_max.max(1) }
    }

    /// Uses up `charge` ids from `message_id` on.
    ///
    /// # Errors
    /// [`OutOfWindow`] when one of them was not granted or was used before; nothing is used up then.
    // MS-SMB2 3.3.5.2.3
    // A request takes all ids of its charge; if one is missing, the connection is dropped.
    pub fn take(&mut self, message_id: u64, charge: u16) -> Result<(), OutOfWindow> {
        let charge = usize::from(charge.max(1));
        let start = message_id.checked_sub(self.low).and_then(|n| usize::try_from(n).ok()).ok_or(OutOfWindow)?;
        let end = start.checked_add(charge).ok_or(OutOfWindow)?;
        if end > self.available.len() || self.available.range(start..end).any(|free| !free) {
            return Err(OutOfWindow);
        }
        self.available.range_mut(start..end).for_each(|free| *free = false);
        self.credits -= u32::try_from(charge).expect("a charge is 16 bits");
        while self.available.front() == Some(&false) {
            self.available.pop_front();
            self.low += 1;
        }
        Ok(())
    }

    /// Grants credits for a response: what was asked for within the limit, and never so little that the client is left with none.
    pub fn grant(&mut self, requested: u16) -> u16 {
        let room = self.credits_max.saturating_sub(self.credits);
        // A client that leaves holes must not make the window grow without end.
        let range_room = (self.credits_max as usize * 2).saturating_sub(self.available.len());
        let room = room.min(u32::try_from(range_room).unwrap_or(u32::MAX));
        let mut granted = u32::from(requested.max(1)).min(room);
        if self.credits + granted == 0 {
            granted = 1;
        }
        for _ in 0..granted {
            self.available.push_back(true);
        }
        self.credits += granted;
        assert!(self.credits > 0, "a client always holds a credit after a response");
        u16::try_from(granted).expect("at most what 16 bits asked for")
    }

    /// Credits the client holds.
    #[must_use]
    pub fn credits(&self) -> u32 {
        self.credits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_with_id_zero_only() {
        let mut window = SequenceWindow::new(8);
        assert_eq!(window.take(1, 1), Err(OutOfWindow));
        assert_eq!(window.take(0, 1), Ok(()));
        assert_eq!(window.take(0, 1), Err(OutOfWindow), "an id is used once");
        assert_eq!(window.credits(), 0);
    }

    #[test]
    fn never_leaves_a_client_without_credit() {
        let mut window = SequenceWindow::new(4);
        window.take(0, 1).unwrap();
        assert_eq!(window.grant(0), 1);
        assert_eq!(window.grant(100), 3, "up to the limit");
        assert_eq!(window.grant(100), 0, "but not past it");
    }

    #[test]
    fn ids_come_out_of_order_and_multi_credit() {
        let mut window = SequenceWindow::new(16);
        window.take(0, 1).unwrap();
        window.grant(10);
        assert_eq!(window.take(4, 4), Ok(()));
        assert_eq!(window.take(3, 2), Err(OutOfWindow), "4 is used");
        assert_eq!(window.take(1, 3), Ok(()));
        assert_eq!(window.take(9, 2), Ok(()));
        assert_eq!(window.take(8, 1), Ok(()));
        assert_eq!(window.take(11, 1), Err(OutOfWindow));
    }

    #[test]
    fn holes_do_not_make_it_grow() {
        let mut window = SequenceWindow::new(8);
        window.take(0, 1).unwrap();
        window.grant(8);
        let mut next = 2;
        for _ in 0..100 {
            if window.take(next, 1).is_err() {
                break;
            }
            next += 1;
            window.grant(1);
        }
        assert!(window.available.len() <= 16);
        assert!(next < 20);
    }
}
