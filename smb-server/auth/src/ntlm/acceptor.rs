//! The server's end of an NTLM logon.
//!
//! Two steps, in order, each once: NEGOTIATE in, CHALLENGE out; AUTHENTICATE in, identity and keys out.

use std::fmt;
use std::sync::Arc;

use smb_types::FileTime;

use crate::crypto::{equal, rc4_block};
use crate::gss::NtlmContext;
use crate::ntlm::av_pairs::{self, AvPairs};
use crate::ntlm::flags::NegotiateFlags;
use crate::ntlm::hash::NtHash;
use crate::ntlm::message::{Authenticate, Challenge, MIC, Negotiate};
use crate::ntlm::v2;
use crate::secret::{Secret, SessionKey};
use crate::{AuthError, Role};

/// What the server calls itself in challenges.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServerNames {
    /// NetBIOS name of the server, upper case.
    pub nb_computer: String,
    /// NetBIOS domain; the server's own name when it is in none.
    pub nb_domain: String,
    /// DNS name of the server.
    pub dns_computer: String,
    /// DNS domain; may be the server's own name.
    pub dns_domain: String,
}

/// What the server allows, and its names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AcceptorConfig {
    /// The names of challenges.
    pub names: ServerNames,
    /// Anonymous logons are let in (the session can reach IPC$ only; the caller sees to it).
    pub anonymous_allowed: bool,
    /// Unknown accounts are let in as guests. Modern clients refuse such sessions.
    pub guest_allowed: bool,
}

/// What the server knows of an account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// The account's NT hash.
    pub nt_hash: NtHash,
    /// The account may not log on.
    pub disabled: bool,
}

/// Finds an account by user and domain, both as the client typed them.
pub type Lookup<'a> = &'a dyn Fn(&str, &str) -> Option<Account>;

/// How somebody came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogonKind {
    /// With a password that fits.
    User,
    /// As a guest: no keys, nothing is signed (SMB2_SESSION_FLAG_IS_GUEST).
    Guest,
    /// Without a name (SMB2_SESSION_FLAG_IS_NULL).
    Anonymous,
}

/// Who logged on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// User, as typed; empty when anonymous.
    pub user: String,
    /// Domain, as typed.
    pub domain: String,
    /// The client machine's name, as it says.
    pub workstation: String,
    /// How.
    pub kind: LogonKind,
}

/// A finished logon.
#[derive(Clone, Debug)]
pub struct Authenticated {
    /// Who.
    pub identity: Identity,
    /// ExportedSessionKey.
    pub session_key: SessionKey,
    /// What both ends agreed on.
    pub flags: NegotiateFlags,
}

impl Authenticated {
    /// Makes the server's context for signing and sealing, at its start. To be called once: a second one would repeat key streams.
    #[must_use]
    pub fn security_context(&self) -> NtlmContext {
        NtlmContext::new(Role::Server, &self.session_key.first_16(), self.flags)
    }
}

/// The server's end of one NTLM logon.
pub struct NtlmAcceptor {
    config: Arc<AcceptorConfig>,
    state: State,
}

enum State {
    Start,
    Challenged { negotiate: Vec<u8>, challenge: Vec<u8>, flags: NegotiateFlags, server_challenge: [u8; 8] },
    Over,
}

impl NtlmAcceptor {
    /// Starts a logon.
    #[must_use]
    pub const fn new(config: Arc<AcceptorConfig>) -> Self {
        Self { config, state: State::Start }
    }

    /// Takes NEGOTIATE and makes CHALLENGE. `server_challenge` is random.
    ///
    /// # Errors
    /// `BadToken`, `WeakFlags`, `OutOfOrder`.
    // MS-NLMP 3.2.5.1.1
    // The timestamp is always sent: it makes clients send a MIC and no LM response.
    pub fn accept_negotiate(&mut self, negotiate: &[u8], server_challenge: [u8; 8], now: FileTime) -> Result<Vec<u8>, AuthError> {
        let State::Start = std::mem::replace(&mut self.state, State::Over) else { return Err(AuthError::OutOfOrder) };
        let wanted = Negotiate::parse(negotiate)?.flags;
        if !wanted.contains(NegotiateFlags::REQUIRED) {
            return Err(AuthError::WeakFlags);
        }
        let flags = wanted
            .intersection(NegotiateFlags::SUPPORTED)
            .union(NegotiateFlags::TARGET_TYPE_SERVER)
            .union(NegotiateFlags::TARGET_INFO)
            .union(NegotiateFlags::REQUEST_TARGET)
            .union(NegotiateFlags::NTLM);
        let names = &self.config.names;
        let mut info = AvPairs::default();
        info.put_name(av_pairs::NB_DOMAIN_NAME, &names.nb_domain);
        info.put_name(av_pairs::NB_COMPUTER_NAME, &names.nb_computer);
        info.put_name(av_pairs::DNS_DOMAIN_NAME, &names.dns_domain);
        info.put_name(av_pairs::DNS_COMPUTER_NAME, &names.dns_computer);
        info.put(av_pairs::TIMESTAMP, now.0.to_le_bytes().to_vec());
        let challenge =
            Challenge { flags, server_challenge, target_name: names.nb_computer.clone(), target_info: info.to_bytes() }.to_bytes();
        self.state = State::Challenged { negotiate: negotiate.to_vec(), challenge: challenge.clone(), flags, server_challenge };
        Ok(challenge)
    }

    /// Takes AUTHENTICATE and says who it is.
    ///
    /// # Errors
    /// Everything of `AuthError` that can go wrong in NTLM.
    // MS-NLMP 3.2.5.1.2
    pub fn accept_authenticate(&mut self, authenticate: &[u8], lookup: Lookup<'_>) -> Result<Authenticated, AuthError> {
        let State::Challenged { negotiate, challenge, flags, server_challenge } = std::mem::replace(&mut self.state, State::Over) else {
            return Err(AuthError::OutOfOrder);
        };
        let message = Authenticate::parse(authenticate)?;
        let flags = flags.intersection(message.flags);
        // Nothing is protected for nobody: Samba leaves the strong flags out of an anonymous AUTHENTICATE.
        if is_anonymous(&message) {
            if !self.config.anonymous_allowed {
                return Err(AuthError::AnonymousRefused);
            }
            let key = exported_session_key(&message, flags, &[0; 16])?;
            return Ok(finish(message, LogonKind::Anonymous, key.expose(), flags));
        }
        if !flags.contains(NegotiateFlags::REQUIRED) {
            return Err(AuthError::WeakFlags);
        }
        if message.nt_response.len() <= v2::V1_RESPONSE_LENGTH {
            return Err(AuthError::NtlmV1);
        }
        let temp = message.nt_response.get(v2::PROOF_LENGTH..).unwrap_or_default();
        if !temp.starts_with(&[1, 1]) {
            return Err(AuthError::BadToken("NTLMv2 response"));
        }
        let pairs = AvPairs::parse(temp.get(v2::TEMP_AV_PAIRS..).unwrap_or_default())?;
        let Some(account) = lookup(&message.user, &message.domain) else {
            if self.config.guest_allowed {
                return Ok(finish(message, LogonKind::Guest, &[0; 16], flags));
            }
            // As much work as for an account that is there: the time tells nothing of names. Nobody's password has this hash by intent, and
            // whoever hits it is refused all the same.
            let _ = check_proof(&message, &NtHash::from_bytes([0; 16]), &server_challenge, temp);
            return Err(AuthError::UnknownAccount);
        };
        let key_exchange_key = check_proof(&message, &account.nt_hash, &server_challenge, temp)?;
        // Only who knows the password learns that the account is disabled.
        if account.disabled {
            return Err(AuthError::AccountDisabled);
        }
        let key = exported_session_key(&message, flags, key_exchange_key.expose())?;
        if pairs.flags() & av_pairs::FLAG_MIC_PRESENT != 0 {
            check_mic(&message, key.expose(), &negotiate, &challenge, authenticate)?;
        }
        Ok(finish(message, LogonKind::User, key.expose(), flags))
    }

    /// Goes on from a challenge that somebody else made.
    #[cfg(test)]
    pub(crate) fn with_challenge(config: Arc<AcceptorConfig>, negotiate: &[u8], challenge: &[u8]) -> Self {
        let parsed = Challenge::parse(challenge).unwrap();
        let (flags, server_challenge) = (parsed.flags, parsed.server_challenge);
        Self { config, state: State::Challenged { negotiate: negotiate.to_vec(), challenge: challenge.to_vec(), flags, server_challenge } }
    }
}

impl fmt::Debug for NtlmAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Start => "NtlmAcceptor(start)",
            State::Challenged { .. } => "NtlmAcceptor(challenged)",
            State::Over => "NtlmAcceptor(over)",
        })
    }
}

/// No user, no NT response, and an LM response that is empty or one zero byte. The ANONYMOUS flag is not always set.
// MS-NLMP 3.2.5.1.2
fn is_anonymous(message: &Authenticate) -> bool {
    message.user.is_empty() && message.nt_response.is_empty() && matches!(message.lm_response.as_slice(), [] | [0])
}

/// Checks NTProofStr with the domain as typed, then with none; returns the key exchange key.
fn check_proof(message: &Authenticate, hash: &NtHash, server_challenge: &[u8; 8], temp: &[u8]) -> Result<Secret<16>, AuthError> {
    let claimed = message.nt_response.get(..v2::PROOF_LENGTH).unwrap_or_default();
    for domain in [message.domain.as_str(), ""] {
        let proof = v2::prove(&v2::nt_owf_v2(hash, &message.user, domain), server_challenge, temp);
        if equal(&proof.nt_proof, claimed) {
            return Ok(Secret::new(proof.session_base_key));
        }
    }
    Err(AuthError::WrongPassword)
}

/// The key the client chose, or the exchange key itself.
fn exported_session_key(message: &Authenticate, flags: NegotiateFlags, key_exchange_key: &[u8; 16]) -> Result<Secret<16>, AuthError> {
    if !flags.contains(NegotiateFlags::KEY_EXCH) {
        return Ok(Secret::new(*key_exchange_key));
    }
    match <&[u8; 16]>::try_from(message.encrypted_session_key.as_slice()) {
        // A client that neither signs nor seals sends a key only if it means to use it.
        Ok(encrypted) => Ok(Secret::new(rc4_block(key_exchange_key, encrypted))),
        Err(_) if flags.intersects(NegotiateFlags::SIGN.union(NegotiateFlags::SEAL)) => {
            Err(AuthError::BadToken("EncryptedRandomSessionKey"))
        }
        Err(_) => Ok(Secret::new(*key_exchange_key)),
    }
}

fn check_mic(message: &Authenticate, key: &[u8; 16], negotiate: &[u8], challenge: &[u8], authenticate: &[u8]) -> Result<(), AuthError> {
    let claimed = message.mic.ok_or(AuthError::MicMismatch)?;
    let mut zeroed = authenticate.to_vec();
    zeroed.get_mut(MIC).ok_or(AuthError::MicMismatch)?.fill(0);
    if equal(&v2::mic(key, negotiate, challenge, &zeroed), &claimed) { Ok(()) } else { Err(AuthError::MicMismatch) }
}

fn finish(message: Authenticate, kind: LogonKind, key: &[u8; 16], flags: NegotiateFlags) -> Authenticated {
    let identity = Identity { user: message.user, domain: message.domain, workstation: message.workstation, kind };
    Authenticated { identity, session_key: SessionKey::new(key), flags }
}
