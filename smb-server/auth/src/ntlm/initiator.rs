//! The client's end of an NTLM logon.

use std::fmt;

use smb_types::FileTime;

use crate::crypto::{rc4_block, utf16};
use crate::gss::NtlmContext;
use crate::ntlm::av_pairs::{self, AvPairs};
use crate::ntlm::flags::NegotiateFlags;
use crate::ntlm::hash::NtHash;
use crate::ntlm::message::{Authenticate, Challenge, MIC, Negotiate};
use crate::ntlm::v2;
use crate::secret::SessionKey;
use crate::{AuthError, Role};

/// Whom a client logs on as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Credentials {
    /// An account.
    User {
        /// User name.
        user: String,
        /// Domain; may be empty.
        domain: String,
        /// The password's hash.
        nt_hash: NtHash,
    },
    /// Nobody.
    Anonymous,
}

impl Credentials {
    /// Credentials from a password.
    #[must_use]
    pub fn password(user: &str, domain: &str, password: &str) -> Self {
        Self::User { user: user.to_owned(), domain: domain.to_owned(), nt_hash: NtHash::of_password(password) }
    }
}

/// What the client has once AUTHENTICATE is made. Whether the server agrees shows later.
#[derive(Clone, Debug)]
pub struct Established {
    /// ExportedSessionKey.
    pub session_key: SessionKey,
    /// What both ends agreed on.
    pub flags: NegotiateFlags,
}

impl Established {
    /// Makes the client's context for signing and sealing, at its start. To be called once: a second one would repeat key streams.
    #[must_use]
    pub fn security_context(&self) -> NtlmContext {
        NtlmContext::new(Role::Client, &self.session_key.first_16(), self.flags)
    }
}

/// The client's end of one NTLM logon.
pub struct NtlmInitiator {
    credentials: Credentials,
    workstation: String,
    /// SPN of the server (`cifs/name`); may be empty.
    target: String,
    negotiate: Vec<u8>,
}

impl NtlmInitiator {
    /// Starts a logon. `target` is the server's SPN (`cifs/name`), or empty.
    #[must_use]
    pub fn new(credentials: Credentials, workstation: &str, target: &str) -> Self {
        let negotiate = Negotiate { flags: NegotiateFlags::CLIENT }.to_bytes();
        Self { credentials, workstation: workstation.to_owned(), target: target.to_owned(), negotiate }
    }

    /// The NEGOTIATE message.
    #[must_use]
    pub fn negotiate(&self) -> &[u8] {
        &self.negotiate
    }

    /// Takes CHALLENGE and makes AUTHENTICATE. Both byte arrays are random; `now` serves servers that send no time.
    ///
    /// # Errors
    /// `BadToken`, `WeakFlags`.
    // MS-NLMP 3.1.5.1.2
    pub fn authenticate(
        &self,
        challenge: &[u8],
        client_challenge: [u8; 8],
        random_session_key: [u8; 16],
        now: FileTime,
    ) -> Result<(Vec<u8>, Established), AuthError> {
        let parsed = Challenge::parse(challenge)?;
        let flags = parsed.flags.intersection(NegotiateFlags::CLIENT);
        if !flags.contains(NegotiateFlags::REQUIRED) {
            return Err(AuthError::WeakFlags);
        }
        let (mut message, key_exchange_key, has_mic) = match &self.credentials {
            Credentials::User { user, domain, nt_hash } => {
                let owf = v2::nt_owf_v2(nt_hash, user, domain);
                self.user_message(&parsed, &owf, &client_challenge, now, user, domain)?
            }
            Credentials::Anonymous => (self.empty_message(vec![0]), [0; 16], false),
        };
        message.flags = match self.credentials {
            Credentials::Anonymous => flags.union(NegotiateFlags::ANONYMOUS),
            Credentials::User { .. } => flags,
        };
        let exported = if flags.contains(NegotiateFlags::KEY_EXCH) {
            message.encrypted_session_key = rc4_block(&key_exchange_key, &random_session_key).to_vec();
            random_session_key
        } else {
            key_exchange_key
        };
        let mut bytes = message.to_bytes();
        if has_mic {
            let mic = v2::mic(&exported, &self.negotiate, challenge, &bytes);
            bytes[MIC].copy_from_slice(&mic);
        }
        Ok((bytes, Established { session_key: SessionKey::new(&exported), flags }))
    }

    /// A message with NTLMv2 responses, the key exchange key, and whether it needs a MIC.
    fn user_message(
        &self,
        challenge: &Challenge,
        owf: &[u8; 16],
        client_challenge: &[u8; 8],
        now: FileTime,
        user: &str,
        domain: &str,
    ) -> Result<(Authenticate, [u8; 16], bool), AuthError> {
        let mut pairs = if challenge.target_info.is_empty() { AvPairs::default() } else { AvPairs::parse(&challenge.target_info)? };
        let server_time = pairs.timestamp();
        let lm_response = match server_time {
            // A server that sends its time wants a MIC and no LM response.
            Some(_) => {
                pairs.put(av_pairs::FLAGS, (pairs.flags() | av_pairs::FLAG_MIC_PRESENT).to_le_bytes().to_vec());
                vec![0; 24]
            }
            None => v2::lm_v2_response(owf, &challenge.server_challenge, client_challenge),
        };
        pairs.put(av_pairs::CHANNEL_BINDINGS, vec![0; 16]);
        pairs.put(av_pairs::TARGET_NAME, utf16(&self.target));
        let temp = v2::temp(server_time.unwrap_or(now), client_challenge, &pairs.to_bytes());
        let proof = v2::prove(owf, &challenge.server_challenge, &temp);
        let mut message = self.empty_message(lm_response);
        message.nt_response = [proof.nt_proof.as_slice(), &temp].concat();
        message.user = user.to_owned();
        message.domain = domain.to_owned();
        Ok((message, proof.session_base_key, server_time.is_some()))
    }

    fn empty_message(&self, lm_response: Vec<u8>) -> Authenticate {
        Authenticate {
            flags: NegotiateFlags::default(),
            lm_response,
            nt_response: Vec::new(),
            domain: String::new(),
            user: String::new(),
            workstation: self.workstation.clone(),
            encrypted_session_key: Vec::new(),
            mic: None,
        }
    }
}

impl fmt::Debug for NtlmInitiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NtlmInitiator(to {:?})", self.target)
    }
}
