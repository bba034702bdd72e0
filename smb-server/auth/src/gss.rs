//! NTLM's per-message protection, for DCE/RPC and mechListMIC. SMB2 signing does not use it.
//!
//! A context lives as long as its RPC connection: key streams and sequence numbers run on from one PDU to the next, each direction for itself.

use std::fmt;

use crate::Role;
use crate::crypto::{Rc4, equal, hmac_md5, md5};
use crate::ntlm::NegotiateFlags;

/// Length of an NTLM signature.
pub const SIGNATURE_LENGTH: usize = 16;

/// A signature that does not fit. The context is out of step afterwards: its connection has to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("NTLM signature is wrong")]
pub struct BadSignature;

/// The security context a finished NTLM logon leaves behind.
pub struct NtlmContext {
    outgoing: Direction,
    incoming: Direction,
}

struct Direction {
    sign_key: [u8; 16],
    seal_key: [u8; 16],
    stream: Rc4,
    sequence: u32,
    /// KEY_EXCH: the checksum is encrypted too.
    encrypts_checksum: bool,
}

impl NtlmContext {
    /// Makes the context of one end from the exported session key (extended session security, 128 bits).
    // MS-NLMP 3.4.5.2, 3.4.5.3
    #[must_use]
    pub fn new(role: Role, exported_session_key: &[u8; 16], flags: NegotiateFlags) -> Self {
        let direction = |sender| Direction::new(sender, exported_session_key, flags);
        match role {
            Role::Client => Self { outgoing: direction(Role::Client), incoming: direction(Role::Server) },
            Role::Server => Self { outgoing: direction(Role::Server), incoming: direction(Role::Client) },
        }
    }

    /// Signs the concatenation of `parts` with the next outgoing sequence number.
    pub fn sign(&mut self, parts: &[&[u8]]) -> [u8; SIGNATURE_LENGTH] {
        let checksum = self.outgoing.checksum(parts);
        self.outgoing.finish(checksum)
    }

    /// Checks the signature of the next incoming message.
    ///
    /// # Errors
    /// `BadSignature`.
    pub fn verify(&mut self, parts: &[&[u8]], signature: &[u8]) -> Result<(), BadSignature> {
        let checksum = self.incoming.checksum(parts);
        let expected = self.incoming.finish(checksum);
        if equal(&expected, signature) { Ok(()) } else { Err(BadSignature) }
    }

    /// Encrypts `body` and signs `before || plaintext body || after`. DCE/RPC: header (with header signing), stub and padding, sec_trailer.
    // MS-NLMP 3.4.3
    pub fn seal(&mut self, before: &[u8], body: &mut [u8], after: &[u8]) -> [u8; SIGNATURE_LENGTH] {
        let checksum = self.outgoing.checksum(&[before, body, after]);
        self.outgoing.stream.apply(body);
        self.outgoing.finish(checksum)
    }

    /// Decrypts `body` and checks the signature over `before || plaintext body || after`. On an error the body's content is not to be used.
    ///
    /// # Errors
    /// `BadSignature`.
    pub fn unseal(&mut self, before: &[u8], body: &mut [u8], after: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        self.incoming.stream.apply(body);
        self.verify(&[before, body, after], signature)
    }

    /// Makes our mechListMIC and puts the outgoing key stream back to its start; the sequence number runs on.
    // MS-SPNG 3.2.5.1
    pub fn make_mech_list_mic(&mut self, mech_types: &[u8]) -> [u8; SIGNATURE_LENGTH] {
        let mic = self.sign(&[mech_types]);
        self.outgoing.restore_stream();
        mic
    }

    /// Checks the peer's mechListMIC and puts the incoming key stream back to its start; the sequence number runs on.
    ///
    /// # Errors
    /// `BadSignature`.
    // MS-SPNG 3.2.5.1
    pub fn check_mech_list_mic(&mut self, mech_types: &[u8], mic: &[u8]) -> Result<(), BadSignature> {
        self.verify(&[mech_types], mic)?;
        self.incoming.restore_stream();
        Ok(())
    }

    /// The outgoing signing and sealing keys.
    #[cfg(test)]
    pub(crate) const fn key_pairs(&self) -> [[u8; 16]; 2] {
        [self.outgoing.sign_key, self.outgoing.seal_key]
    }
}

impl fmt::Debug for NtlmContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NtlmContext {{ sent: {}, received: {} }}", self.outgoing.sequence, self.incoming.sequence)
    }
}

impl Direction {
    fn new(sender: Role, key: &[u8; 16], flags: NegotiateFlags) -> Self {
        let [sign, seal]: [&[u8]; 2] = match sender {
            Role::Client => [
                b"session key to client-to-server signing key magic constant\0",
                b"session key to client-to-server sealing key magic constant\0",
            ],
            Role::Server => [
                b"session key to server-to-client signing key magic constant\0",
                b"session key to server-to-client sealing key magic constant\0",
            ],
        };
        let seal_key = md5(&[key, seal]);
        Self {
            sign_key: md5(&[key, sign]),
            seal_key,
            stream: Rc4::new(&seal_key),
            sequence: 0,
            encrypts_checksum: flags.contains(NegotiateFlags::KEY_EXCH),
        }
    }

    /// The first half of HMAC-MD5 over the sequence number and the plaintext.
    fn checksum(&self, parts: &[&[u8]]) -> [u8; 8] {
        let sequence = self.sequence.to_le_bytes();
        let mut all: Vec<&[u8]> = Vec::with_capacity(1 + parts.len());
        all.push(&sequence);
        all.extend_from_slice(parts);
        let mac = hmac_md5(&self.sign_key, &all);
        let mut out = [0; 8];
        out.copy_from_slice(&mac[..8]);
        out
    }

    /// Turns a checksum into a signature and steps the sequence number.
    // MS-NLMP 3.4.4.2
    fn finish(&mut self, mut checksum: [u8; 8]) -> [u8; SIGNATURE_LENGTH] {
        if self.encrypts_checksum {
            self.stream.apply(&mut checksum);
        }
        let mut out = [0; SIGNATURE_LENGTH];
        out[0] = 1;
        out[4..12].copy_from_slice(&checksum);
        out[12..].copy_from_slice(&self.sequence.to_le_bytes());
        // The number wraps by definition (a 32-bit counter).
        self.sequence = self.sequence.wrapping_add(1);
        out
    }

    fn restore_stream(&mut self) {
        self.stream = Rc4::new(&self.seal_key);
    }
}
