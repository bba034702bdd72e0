//! The server's end of a logon: SPNEGO around NTLM, or NTLM alone.

use std::fmt;
use std::sync::Arc;

use smb_types::FileTime;

use crate::AuthError;
use crate::gss::NtlmContext;
use crate::ntlm::acceptor::{AcceptorConfig, Authenticated, Identity, LogonKind, Lookup, NtlmAcceptor};
use crate::ntlm::flags::NegotiateFlags;
use crate::ntlm::message;
use crate::secret::SessionKey;
use crate::spnego::der::{BAD, TOKEN_LENGTH_MAX, whole_length};
use crate::spnego::token::{Init, Mechanism, NegState, Response, server_hint};

/// What a token led to.
#[derive(Debug)]
pub enum Step {
    /// Send this (possibly empty) token with STATUS_MORE_PROCESSING_REQUIRED and wait for the next.
    Continue(Vec<u8>),
    /// The logon succeeded.
    Done(Box<Accepted>),
}

/// A logon that succeeded.
#[derive(Debug)]
pub struct Accepted {
    /// The last token for the client; empty where NTLM came without SPNEGO.
    pub token: Vec<u8>,
    /// Who it is.
    pub identity: Identity,
    /// What keys are derived from.
    pub session_key: SessionKey,
    /// For DCE/RPC: where sequence numbers stand after this logon. SMB2 has no use for it.
    pub security_context: NtlmContext,
}

/// The server's end of one logon.
pub struct Acceptor {
    ntlm: NtlmAcceptor,
    state: State,
    /// The beginning of a token that comes in pieces.
    partial: Vec<u8>,
}

enum State {
    /// Nothing yet (or an empty token).
    Start,
    /// Bare NTLM: NEGOTIATE is done.
    RawChallenged,
    /// SPNEGO chose NTLM; its NEGOTIATE is still to come.
    Chosen(Offer),
    /// SPNEGO: the challenge is out.
    Challenged(Offer),
    /// Succeeded or failed.
    Over,
}

/// What must be remembered of the client's first token.
struct Offer {
    mech_types: Vec<u8>,
    /// NTLM was not the client's first choice: only a mechListMIC shows that nobody meddled with the list.
    needs_mic: bool,
}

impl Acceptor {
    /// Starts a logon.
    #[must_use]
    pub const fn new(config: Arc<AcceptorConfig>) -> Self {
        Self { ntlm: NtlmAcceptor::new(config), state: State::Start, partial: Vec::new() }
    }

    /// The token for a NEGOTIATE response.
    #[must_use]
    pub fn server_hint() -> Vec<u8> {
        server_hint()
    }

    /// Takes the client's next token. `server_challenge` is random, fresh for every call; `lookup` finds accounts.
    ///
    /// # Errors
    /// The logon failed and is over; `AuthError::status` is what the client gets.
    // MS-SMB2 3.3.5.5.3, MS-SPNG 3.2.5.2
    pub fn step(&mut self, token: &[u8], server_challenge: [u8; 8], now: FileTime, lookup: Lookup<'_>) -> Result<Step, AuthError> {
        if matches!(self.state, State::Over) {
            return Err(AuthError::OutOfOrder);
        }
        let Some(token) = self.assemble(token)? else { return Ok(Step::Continue(Vec::new())) };
        match std::mem::replace(&mut self.state, State::Over) {
            State::Start if token.is_empty() => {
                self.state = State::Start;
                Ok(Step::Continue(server_hint()))
            }
            State::Start if token.starts_with(message::SIGNATURE) => {
                let challenge = self.ntlm.accept_negotiate(&token, server_challenge, now)?;
                self.state = State::RawChallenged;
                Ok(Step::Continue(challenge))
            }
            State::Start => self.first(&token, server_challenge, now),
            State::RawChallenged => {
                let logon = self.ntlm.accept_authenticate(&token, lookup)?;
                let security_context = logon.security_context();
                Ok(done(Vec::new(), logon, security_context))
            }
            State::Chosen(offer) => {
                let negotiate = Response::parse(&token)?.response_token.ok_or(BAD)?;
                self.challenge(&negotiate, offer, server_challenge, now)
            }
            State::Challenged(offer) => self.last(&token, &offer, lookup),
            State::Over => Err(AuthError::OutOfOrder),
        }
    }

    /// Puts a token together that comes in pieces; None while some are missing.
    // MS-SPNG 3.1.5.4 (fragments go by the length the outermost DER element announces)
    fn assemble(&mut self, piece: &[u8]) -> Result<Option<Vec<u8>>, AuthError> {
        if self.partial.is_empty() && (piece.is_empty() || piece.starts_with(message::SIGNATURE)) {
            return Ok(Some(piece.to_vec()));
        }
        let sofar = self.partial.len().saturating_add(piece.len());
        if piece.is_empty() || sofar > TOKEN_LENGTH_MAX {
            return Err(self.fail(BAD));
        }
        self.partial.extend_from_slice(piece);
        match whole_length(&self.partial) {
            Err(e) => Err(self.fail(e)),
            Ok(Some(length)) if length <= self.partial.len() => Ok(Some(std::mem::take(&mut self.partial))),
            Ok(_) => Ok(None),
        }
    }

    fn fail(&mut self, error: AuthError) -> AuthError {
        self.state = State::Over;
        error
    }

    /// The client's list of mechanisms, and perhaps its NEGOTIATE.
    fn first(&mut self, token: &[u8], server_challenge: [u8; 8], now: FileTime) -> Result<Step, AuthError> {
        let init = Init::parse(token)?;
        if !init.mechanisms.contains(&Mechanism::Ntlm) {
            return Err(AuthError::NoCommonMechanism);
        }
        let needs_mic = init.mechanisms.first() != Some(&Mechanism::Ntlm);
        let offer = Offer { mech_types: init.mech_types, needs_mic };
        match init.mech_token {
            Some(negotiate) if !needs_mic && !negotiate.is_empty() => self.challenge(&negotiate, offer, server_challenge, now),
            // No token, or one for a mechanism we do not speak: it is ignored.
            _ => {
                let state = if needs_mic { NegState::RequestMic } else { NegState::AcceptIncomplete };
                self.state = State::Chosen(offer);
                Ok(Step::Continue(Response { state: Some(state), supported_mech: Some(Mechanism::Ntlm), ..Response::default() }.to_bytes()))
            }
        }
    }

    fn challenge(&mut self, negotiate: &[u8], offer: Offer, server_challenge: [u8; 8], now: FileTime) -> Result<Step, AuthError> {
        let challenge = self.ntlm.accept_negotiate(negotiate, server_challenge, now)?;
        self.state = State::Challenged(offer);
        let response = Response {
            state: Some(NegState::AcceptIncomplete),
            supported_mech: Some(Mechanism::Ntlm),
            response_token: Some(challenge),
            mech_list_mic: None,
        };
        Ok(Step::Continue(response.to_bytes()))
    }

    /// AUTHENTICATE, and perhaps a mechListMIC, which is answered in kind.
    // MS-SPNG 3.2.5.1
    fn last(&mut self, token: &[u8], offer: &Offer, lookup: Lookup<'_>) -> Result<Step, AuthError> {
        let response = Response::parse(token)?;
        if response.state == Some(NegState::Reject) {
            return Err(AuthError::Rejected);
        }
        let logon = self.ntlm.accept_authenticate(&response.response_token.ok_or(BAD)?, lookup)?;
        let mut context = logon.security_context();
        let can_sign = logon.identity.kind == LogonKind::User && logon.flags.contains(NegotiateFlags::SIGN);
        let mic = match response.mech_list_mic {
            // A guest's key is not known here.
            _ if logon.identity.kind == LogonKind::Guest => None,
            Some(theirs) => {
                context.check_mech_list_mic(&offer.mech_types, &theirs).map_err(|_| AuthError::MechListMic)?;
                Some(context.make_mech_list_mic(&offer.mech_types).to_vec())
            }
            None if offer.needs_mic && can_sign => return Err(AuthError::MechListMic),
            None => None,
        };
        let token = Response { state: Some(NegState::AcceptCompleted), mech_list_mic: mic, ..Response::default() }.to_bytes();
        Ok(done(token, logon, context))
    }

    /// Goes on from a challenge that somebody else made.
    #[cfg(test)]
    pub(crate) fn with_challenge(ntlm: NtlmAcceptor, mech_types: Vec<u8>) -> Self {
        Self { ntlm, state: State::Challenged(Offer { mech_types, needs_mic: false }), partial: Vec::new() }
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Start => "Acceptor(start)",
            State::RawChallenged => "Acceptor(challenged, NTLM alone)",
            State::Chosen(_) => "Acceptor(NTLM chosen)",
            State::Challenged(_) => "Acceptor(challenged)",
            State::Over => "Acceptor(over)",
        })
    }
}

fn done(token: Vec<u8>, logon: Authenticated, security_context: NtlmContext) -> Step {
    Step::Done(Box::new(Accepted { token, identity: logon.identity, session_key: logon.session_key, security_context }))
}
