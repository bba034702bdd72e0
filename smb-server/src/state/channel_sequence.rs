//! Open.ChannelSequence and its two counters: a replay is refused while its older twin may still be at work (MS-SMB2 3.3.5.2.10).
//!
//! Pure. Knows nothing of the commands; the caller says whether one modifies.

/// ChannelSequence, OutstandingRequestCount and OutstandingPreRequestCount of an open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChannelSequence {
    current: u16,
    /// Counts the advances: values of `current` come again, this does not.
    generation: u64,
    outstanding: u64,
    pre_outstanding: u64,
}

/// What a request was counted as; give it back to [`ChannelSequence::finish`] when the request has really ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    generation: Option<u64>,
}

/// The request must be answered with FILE_NOT_AVAILABLE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stale;

impl ChannelSequence {
    /// The counters of a new open: it starts with the sequence of its CREATE.
    #[must_use]
    pub const fn new(current: u16) -> Self {
        Self { current, generation: 0, outstanding: 0, pre_outstanding: 0 }
    }

    /// Counts a request in.
    ///
    /// # Errors
    /// [`Stale`] for a modifying request (WRITE, SET_INFO, IOCTL) of an older channel, or a replay whose twin may be running.
    // MS-SMB2 3.3.5.2.10
    // The distance is taken modulo 2^16: up to 0x7FFF is an advance, more is the past.
    pub fn begin(&mut self, sequence: u16, replay: bool, modifies: bool) -> Result<Counted, Stale> {
        let distance = sequence.wrapping_sub(self.current);
        if distance > 0x7FFF {
            return if modifies { Err(Stale) } else { Ok(Counted { generation: None }) };
        }
        if !replay {
            if distance != 0 {
                self.advance(sequence);
            }
            self.outstanding += 1;
            return Ok(Counted { generation: Some(self.generation) });
        }
        if distance != 0 {
            self.advance(sequence);
        }
        if self.pre_outstanding == 0 {
            self.outstanding += 1;
            return Ok(Counted { generation: Some(self.generation) });
        }
        if modifies { Err(Stale) } else { Ok(Counted { generation: None }) }
    }

    /// Counts a request out. Requests that were refused or never counted change nothing.
    // MS-SMB2 3.3.4.1
    // The counter of the request's own sequence goes down, not that of the open's current one.
    pub fn finish(&mut self, counted: Counted) {
        let Some(generation) = counted.generation else { return };
        let counter = if generation == self.generation { &mut self.outstanding } else { &mut self.pre_outstanding };
        assert!(*counter > 0, "a counted request is in one of the counters");
        *counter -= 1;
    }

    /// Tells whether no counted request is under way.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.outstanding == 0 && self.pre_outstanding == 0
    }

    fn advance(&mut self, sequence: u16) {
        self.pre_outstanding += self.outstanding;
        self.outstanding = 0;
        self.current = sequence;
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_sequence_of_values() {
        let steps: [(u16, bool); 13] = [
            (0, true),
            (0x8000, false),
            (0xFFFF, false),
            (0x7FFF, true),
            (0x7FFE, false),
            (0, false),
            (0x8000, true),
            (0xFFFF, true),
            (0, true),
            (1, true),
            (0, false),
            (1, true),
            (0xFFFF, false),
        ];
        for replay in [false, true] {
            let mut channel = ChannelSequence::new(0);
            for (step, (value, accepted)) in steps.into_iter().enumerate() {
                match channel.begin(value, replay, true) {
                    Ok(counted) => {
                        assert!(accepted, "step {step} value {value:#x} replay {replay}");
                        channel.finish(counted);
                    }
                    Err(Stale) => assert!(!accepted, "step {step} value {value:#x} replay {replay}"),
                }
                assert_eq!(channel.begin(value, replay, false).map(|counted| channel.finish(counted)), Ok(()), "a READ always passes");
            }
        }
    }

    #[test]
    fn a_replay_waits_for_its_twin() {
        let mut channel = ChannelSequence::new(0);
        let twin = channel.begin(0, false, true).unwrap();
        assert_eq!(channel.begin(1, true, true), Err(Stale));
        assert_eq!(channel.begin(1, true, true), Err(Stale), "the refused one counts nothing");
        channel.finish(twin);
        let replay = channel.begin(1, true, true).unwrap();
        channel.finish(replay);
        assert_eq!((channel.current, channel.outstanding, channel.pre_outstanding), (1, 0, 0));
    }

    #[test]
    fn a_request_that_outlasts_the_whole_circle_of_values() {
        let mut channel = ChannelSequence::new(0);
        let old = channel.begin(0, false, false).unwrap();
        for value in [0x7FFF, 0xFFFE, 0] {
            let counted = channel.begin(value, false, true).unwrap();
            channel.finish(counted);
        }
        channel.finish(old);
        assert_eq!((channel.outstanding, channel.pre_outstanding), (0, 0));
    }
}
