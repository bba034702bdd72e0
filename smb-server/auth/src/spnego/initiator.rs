//! The client's end of a logon: SPNEGO around NTLM, or NTLM alone.

use std::fmt;

use smb_types::FileTime;

use crate::AuthError;
use crate::gss::NtlmContext;
use crate::ntlm::flags::NegotiateFlags;
use crate::ntlm::initiator::{Credentials, NtlmInitiator};
use crate::secret::SessionKey;
use crate::spnego::der::BAD;
use crate::spnego::token::{Init, Mechanism, NegState, Response};

/// Whom to log on as, and how.
#[derive(Clone, Debug)]
pub struct InitiatorConfig {
    /// The account.
    pub credentials: Credentials,
    /// Our own machine's name.
    pub workstation: String,
    /// SPN of the server (`cifs/name`); may be empty.
    pub target: String,
    /// Mechanisms to list, NTLM among them. Where NTLM is not the first, no token is sent with the list.
    pub offer: Vec<Mechanism>,
    /// Speak NTLM without SPNEGO.
    pub raw: bool,
}

impl InitiatorConfig {
    /// The usual way: SPNEGO with NTLM only.
    #[must_use]
    pub fn new(credentials: Credentials, workstation: &str, target: &str) -> Self {
        Self { credentials, workstation: workstation.to_owned(), target: target.to_owned(), offer: vec![Mechanism::Ntlm], raw: false }
    }
}

/// What a server's token led to.
#[derive(Debug)]
pub enum InitiatorStep {
    /// Send this token and wait for the server's next. After AUTHENTICATE, `Initiator::session_key` is known.
    Continue(Vec<u8>),
    /// The server accepted. There is nothing more to send.
    Done(Box<Initiated>),
}

/// A logon that succeeded.
#[derive(Debug)]
pub struct Initiated {
    /// What keys are derived from.
    pub session_key: SessionKey,
    /// For DCE/RPC: where sequence numbers stand after this logon.
    pub security_context: NtlmContext,
}

/// The client's end of one logon.
pub struct Initiator {
    ntlm: NtlmInitiator,
    offer: Vec<Mechanism>,
    raw: bool,
    anonymous: bool,
    mech_types: Vec<u8>,
    state: State,
}

enum State {
    Start,
    /// Waiting for the server's choice (NTLM was not first in the list) or for its challenge.
    Offered {
        negotiate_sent: bool,
    },
    /// AUTHENTICATE is out.
    Authenticated {
        session_key: SessionKey,
        context: Box<NtlmContext>,
        mic_sent: bool,
    },
    Over,
}

impl Initiator {
    /// Starts a logon.
    #[must_use]
    pub fn new(config: InitiatorConfig) -> Self {
        let anonymous = config.credentials == Credentials::Anonymous;
        let ntlm = NtlmInitiator::new(config.credentials, &config.workstation, &config.target);
        Self { ntlm, offer: config.offer, raw: config.raw, anonymous, mech_types: Vec::new(), state: State::Start }
    }

    /// The first token. The server's hint in its NEGOTIATE response is not needed for it.
    ///
    /// # Errors
    /// `OutOfOrder` when called twice, `NoCommonMechanism` when NTLM is not offered.
    pub fn start(&mut self) -> Result<Vec<u8>, AuthError> {
        let State::Start = std::mem::replace(&mut self.state, State::Over) else { return Err(AuthError::OutOfOrder) };
        let negotiate = self.ntlm.negotiate().to_vec();
        if self.raw {
            self.state = State::Offered { negotiate_sent: true };
            return Ok(negotiate);
        }
        if !self.offer.contains(&Mechanism::Ntlm) {
            return Err(AuthError::NoCommonMechanism);
        }
        let first = self.offer.first() == Some(&Mechanism::Ntlm);
        let init = Init::new(&self.offer, first.then_some(negotiate));
        self.mech_types.clone_from(&init.mech_types);
        self.state = State::Offered { negotiate_sent: first };
        Ok(init.to_bytes())
    }

    /// Takes the server's next token. Both byte arrays are random, fresh for every call.
    ///
    /// # Errors
    /// The logon failed and is over.
    pub fn step(
        &mut self,
        token: &[u8],
        client_challenge: [u8; 8],
        random_session_key: [u8; 16],
        now: FileTime,
    ) -> Result<InitiatorStep, AuthError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Offered { negotiate_sent } => {
                if self.raw {
                    return self.authenticate(token, client_challenge, random_session_key, now);
                }
                let response = Response::parse(token)?;
                match response.state {
                    Some(NegState::Reject) => return Err(AuthError::Rejected),
                    Some(NegState::AcceptCompleted) => return Err(AuthError::OutOfOrder),
                    Some(NegState::AcceptIncomplete | NegState::RequestMic) | None => {}
                }
                if response.supported_mech.is_some_and(|m| m != Mechanism::Ntlm) {
                    return Err(AuthError::NoCommonMechanism);
                }
                if !negotiate_sent {
                    self.state = State::Offered { negotiate_sent: true };
                    let negotiate = Response { response_token: Some(self.ntlm.negotiate().to_vec()), ..Response::default() };
                    return Ok(InitiatorStep::Continue(negotiate.to_bytes()));
                }
                self.authenticate(&response.response_token.ok_or(BAD)?, client_challenge, random_session_key, now)
            }
            State::Authenticated { session_key, context, mic_sent } => self.finish(token, session_key, context, mic_sent),
            State::Start | State::Over => Err(AuthError::OutOfOrder),
        }
    }

    /// The session key, as soon as AUTHENTICATE is made: the client needs it to check the signature of the response that carries the last token.
    #[must_use]
    pub const fn session_key(&self) -> Option<&SessionKey> {
        match &self.state {
            State::Authenticated { session_key, .. } => Some(session_key),
            State::Start | State::Offered { .. } | State::Over => None,
        }
    }

    /// Ends a logon whose last leg has no answer (NTLM in auth3 of DCE/RPC); None when AUTHENTICATE is not made yet.
    #[must_use]
    pub fn into_established(self) -> Option<Initiated> {
        match self.state {
            State::Authenticated { session_key, context, .. } => Some(Initiated { session_key, security_context: *context }),
            State::Start | State::Offered { .. } | State::Over => None,
        }
    }

    fn authenticate(
        &mut self,
        challenge: &[u8],
        client_challenge: [u8; 8],
        random_session_key: [u8; 16],
        now: FileTime,
    ) -> Result<InitiatorStep, AuthError> {
        let (message, established) = self.ntlm.authenticate(challenge, client_challenge, random_session_key, now)?;
        let mut context = Box::new(established.security_context());
        let mic_sent = !self.raw && !self.anonymous && established.flags.contains(NegotiateFlags::SIGN);
        let token = if self.raw {
            message
        } else {
            let mic = mic_sent.then(|| context.make_mech_list_mic(&self.mech_types).to_vec());
            Response { response_token: Some(message), mech_list_mic: mic, ..Response::default() }.to_bytes()
        };
        self.state = State::Authenticated { session_key: established.session_key, context, mic_sent };
        Ok(InitiatorStep::Continue(token))
    }

    /// The server's last token: it must accept, and answer our mechListMIC.
    fn finish(
        &self,
        token: &[u8],
        session_key: SessionKey,
        mut context: Box<NtlmContext>,
        mic_sent: bool,
    ) -> Result<InitiatorStep, AuthError> {
        if self.raw {
            if !token.is_empty() {
                return Err(AuthError::OutOfOrder);
            }
        } else {
            let response = Response::parse(token)?;
            match response.state {
                Some(NegState::AcceptCompleted) => {}
                Some(NegState::Reject) => return Err(AuthError::Rejected),
                Some(NegState::AcceptIncomplete | NegState::RequestMic) | None => return Err(AuthError::OutOfOrder),
            }
            match response.mech_list_mic {
                Some(mic) => context.check_mech_list_mic(&self.mech_types, &mic).map_err(|_| AuthError::MechListMic)?,
                None if mic_sent => return Err(AuthError::MechListMic),
                None => {}
            }
        }
        Ok(InitiatorStep::Done(Box::new(Initiated { session_key, security_context: *context })))
    }
}

impl fmt::Debug for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Start => "Initiator(start)",
            State::Offered { .. } => "Initiator(offered)",
            State::Authenticated { .. } => "Initiator(authenticated)",
            State::Over => "Initiator(over)",
        })
    }
}
