//! LOCK (MS-SMB2 2.2.26, 2.2.27).

use smb_types::FileId;

use crate::error::DecodeError;
use crate::wire::{Put, Reader, Wire, flags, len_u16, record};

flags! {
    /// Flags of one lock element.
    LockFlags(u32) {
        /// SMB2_LOCKFLAG_SHARED_LOCK.
        SHARED = 0x1;
        /// SMB2_LOCKFLAG_EXCLUSIVE_LOCK.
        EXCLUSIVE = 0x2;
        /// SMB2_LOCKFLAG_UNLOCK.
        UNLOCK = 0x4;
        /// SMB2_LOCKFLAG_FAIL_IMMEDIATELY.
        FAIL_IMMEDIATELY = 0x10;
    }
}

record! {
    /// One range to lock or unlock.
    LockElement [24] {
        /// Offset.
        offset: u64;
        /// Length.
        length: u64;
        /// Flags.
        flags: LockFlags, pad 4;
    }
}

/// LOCK request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LockRequest {
    /// Low four bits of LockSequence (2.1 and up).
    pub lock_sequence_number: u8,
    /// Upper 28 bits of LockSequence (2.1 and up): 1 to 64 take part in replay detection.
    pub lock_sequence_index: u32,
    /// FileId.
    pub file_id: FileId,
    /// The ranges; never empty in a decoded request.
    pub locks: Vec<LockElement>,
}

impl LockRequest {
    /// Decodes the element `msg`.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::body(msg, 48)?;
        let count = r.len16()?;
        let sequence = r.u32()?;
        let file_id = r.get()?;
        // MS-SMB2 3.3.5.14: an empty list is refused.
        if count == 0 {
            return Err(DecodeError::malformed("LockCount"));
        }
        if r.rest().len() / LockElement::SIZE < count {
            return Err(DecodeError::malformed("locks"));
        }
        let locks = (0..count).map(|_| LockElement::get(&mut r)).collect::<Result<_, _>>()?;
        let [number, ..] = (sequence & 0xF).to_le_bytes();
        Ok(Self { lock_sequence_number: number, lock_sequence_index: sequence >> 4, file_id, locks })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(48);
        out.put_u16(len_u16(self.locks.len()));
        out.put_u32((self.lock_sequence_index << 4) | u32::from(self.lock_sequence_number & 0xF));
        out.put(&self.file_id);
        for l in &self.locks {
            l.encode(out);
        }
    }
}

super::empty_message! {
    /// LOCK response.
    LockResponse
}
