//! NTLM, bare or inside SPNEGO, for dcerpc-rs: adapts the steps of smb-auth. Accounts come through a lookup.

use std::cell::RefCell;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use dcerpc_rs::security::auth_type;
use dcerpc_rs::{Identity, SecurityContext, SecurityError, SecurityProvider, Step};
use smb_auth::gss::SIGNATURE_LENGTH;
use smb_auth::spnego::{Initiator, InitiatorConfig, InitiatorStep};
use smb_auth::{Acceptor, AcceptorConfig, Account, AuthError, Credentials, LogonKind, NtlmContext};
use smb_types::FileTime;

/// Finds an account by user and domain. Called from connection tasks; must not wait.
pub type AccountLookup = Arc<dyn Fn(&str, &str) -> Option<Account> + Send + Sync>;

/// Where server challenges and their time come from.
pub type ChallengeSource = Arc<dyn Fn() -> Result<([u8; 8], FileTime), SecurityError> + Send + Sync>;

/// Slows down those who guess, and hears how logons end. Called from connection tasks; must not wait.
pub trait LogonWatch: Send + Sync {
    /// Whether a client may try to be this user now; if not it is refused, whatever it knows.
    fn may_try(&self, user: &str, peer: Option<IpAddr>) -> bool;

    /// A logon with a user's name has succeeded, or has failed for that reason. Not for those that were not to be tried.
    fn ended(&self, user: &str, peer: Option<IpAddr>, failure: Option<AuthError>);
}

/// Acceptors for a server.
pub struct NtlmSecurity {
    config: Arc<AcceptorConfig>,
    lookup: AccountLookup,
    challenges: ChallengeSource,
    watch: Option<Arc<dyn LogonWatch>>,
}

impl NtlmSecurity {
    /// Accepts whom the lookup knows.
    pub fn new(config: Arc<AcceptorConfig>, lookup: AccountLookup) -> Self {
        Self::with_challenges(config, lookup, Arc::new(|| Ok((random()?, now()))))
    }

    /// As [`Self::new`] with challenges of one's own: what happened once can be played again.
    pub fn with_challenges(config: Arc<AcceptorConfig>, lookup: AccountLookup, challenges: ChallengeSource) -> Self {
        Self { config, lookup, challenges, watch: None }
    }

    /// The same, with somebody who watches the logons.
    #[must_use]
    pub fn watched(self, watch: Arc<dyn LogonWatch>) -> Self {
        Self { watch: Some(watch), ..self }
    }
}

impl SecurityProvider for NtlmSecurity {
    fn acceptor(&self, auth_type: u8, _first_token: &[u8], peer: Option<IpAddr>) -> Option<Box<dyn SecurityContext>> {
        matches!(auth_type, auth_type::SPNEGO | auth_type::NTLMSSP).then(|| {
            let acceptor = Acceptor::new(Arc::clone(&self.config));
            let (lookup, challenges) = (Arc::clone(&self.lookup), Arc::clone(&self.challenges));
            let watch = self.watch.clone();
            let logon = Some(Box::new(Logon { acceptor, lookup, challenges, watch, peer }));
            Box::new(NtlmAcceptor { logon, context: None }) as Box<dyn SecurityContext>
        })
    }
}

struct NtlmAcceptor {
    /// Gone once it has succeeded: what is left of a connection that waits should be small.
    logon: Option<Box<Logon>>,
    context: Option<Box<NtlmContext>>,
}

struct Logon {
    acceptor: Acceptor,
    lookup: AccountLookup,
    challenges: ChallengeSource,
    watch: Option<Arc<dyn LogonWatch>>,
    peer: Option<IpAddr>,
}

impl Logon {
    fn step(&mut self, token: &[u8]) -> Result<smb_auth::Step, SecurityError> {
        let (challenge, time) = (self.challenges)()?;
        let named = RefCell::new(None);
        let lookup = |user: &str, domain: &str| {
            *named.borrow_mut() = Some(user.to_owned());
            (self.lookup)(user, domain)
        };
        let result = self.acceptor.step(token, challenge, time, &lookup);
        if let (Some(watch), Some(user)) = (&self.watch, named.into_inner()) {
            if !watch.may_try(&user, self.peer) {
                return Err(SecurityError("too many logons have failed: try again later".into()));
            }
            watch.ended(&user, self.peer, result.as_ref().err().copied());
        }
        result.map_err(refused)
    }
}

impl SecurityContext for NtlmAcceptor {
    fn step(&mut self, token: &[u8]) -> Result<Step, SecurityError> {
        let Some(logon) = &mut self.logon else { return Err(SecurityError("the logon is over".into())) };
        Ok(match logon.step(token)? {
            smb_auth::Step::Continue(token) => Step::Continue(token),
            smb_auth::Step::Done(accepted) => {
                self.logon = None;
                self.context = Some(Box::new(accepted.security_context));
                let identity = Identity {
                    user: accepted.identity.user,
                    domain: accepted.identity.domain,
                    is_anonymous: accepted.identity.kind != LogonKind::User,
                    is_administrator: false,
                };
                Step::Done { token: accepted.token, identity }
            }
        })
    }

    fn signature_bytes(&self, _sealed: bool) -> usize {
        SIGNATURE_LENGTH
    }

    fn always_signs_headers(&self) -> bool {
        true
    }

    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, SecurityError> {
        sign(&mut self.context, message)
    }

    fn verify(&mut self, message: &[u8], signature: &[u8]) -> Result<(), SecurityError> {
        verify(&mut self.context, message, signature)
    }

    fn seal(&mut self, message: &mut [u8], sealed: Range<usize>) -> Result<Vec<u8>, SecurityError> {
        seal(&mut self.context, message, sealed)
    }

    fn unseal(&mut self, message: &mut [u8], sealed: Range<usize>, signature: &[u8]) -> Result<(), SecurityError> {
        unseal(&mut self.context, message, sealed, signature)
    }
}

/// The initiating side, for [`dcerpc_rs::ClientSecurity`].
pub struct NtlmInitiator {
    initiator: Initiator,
    user: String,
    raw: bool,
    context: Option<Box<NtlmContext>>,
    started: bool,
}

impl NtlmInitiator {
    /// Logs on with SPNEGO around NTLM (authentication type SPNEGO).
    pub fn spnego(credentials: Credentials, workstation: &str, target: &str) -> Self {
        Self::new(InitiatorConfig::new(credentials, workstation, target))
    }

    /// Logs on with NTLM alone (authentication type NTLMSSP).
    pub fn raw(credentials: Credentials, workstation: &str, target: &str) -> Self {
        Self::new(InitiatorConfig { raw: true, ..InitiatorConfig::new(credentials, workstation, target) })
    }

    fn new(config: InitiatorConfig) -> Self {
        let user = match &config.credentials {
            Credentials::User { user, .. } => user.clone(),
            Credentials::Anonymous => String::new(),
        };
        let raw = config.raw;
        Self { initiator: Initiator::new(config), user, raw, context: None, started: false }
    }

    /// Its authentication type.
    pub fn auth_type(&self) -> u8 {
        if self.raw { auth_type::NTLMSSP } else { auth_type::SPNEGO }
    }

    fn done(&mut self, token: Vec<u8>, context: NtlmContext) -> Step {
        self.context = Some(Box::new(context));
        let identity = Identity { user: self.user.clone(), ..Identity::default() };
        Step::Done { token, identity }
    }
}

impl SecurityContext for NtlmInitiator {
    fn step(&mut self, token: &[u8]) -> Result<Step, SecurityError> {
        if !self.started {
            self.started = true;
            return Ok(Step::Continue(self.initiator.start().map_err(refused)?));
        }
        match self.initiator.step(token, random()?, random()?, now()).map_err(refused)? {
            // Bare NTLM has no answer to its last leg: the initiator is finished with it.
            InitiatorStep::Continue(last) if self.raw => match self.initiator.step(&[], random()?, random()?, now()).map_err(refused)? {
                InitiatorStep::Done(initiated) => Ok(self.done(last, initiated.security_context)),
                InitiatorStep::Continue(_) => Err(SecurityError("NTLM has no fourth leg".into())),
            },
            InitiatorStep::Continue(token) => Ok(Step::Continue(token)),
            InitiatorStep::Done(initiated) => Ok(self.done(Vec::new(), initiated.security_context)),
        }
    }

    fn signature_bytes(&self, _sealed: bool) -> usize {
        SIGNATURE_LENGTH
    }

    fn always_signs_headers(&self) -> bool {
        true
    }

    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, SecurityError> {
        sign(&mut self.context, message)
    }

    fn verify(&mut self, message: &[u8], signature: &[u8]) -> Result<(), SecurityError> {
        verify(&mut self.context, message, signature)
    }

    fn seal(&mut self, message: &mut [u8], sealed: Range<usize>) -> Result<Vec<u8>, SecurityError> {
        seal(&mut self.context, message, sealed)
    }

    fn unseal(&mut self, message: &mut [u8], sealed: Range<usize>, signature: &[u8]) -> Result<(), SecurityError> {
        unseal(&mut self.context, message, sealed, signature)
    }
}

fn established(context: &mut Option<Box<NtlmContext>>) -> Result<&mut NtlmContext, SecurityError> {
    context.as_deref_mut().ok_or_else(|| SecurityError("the logon is not finished".into()))
}

fn sign(context: &mut Option<Box<NtlmContext>>, message: &[u8]) -> Result<Vec<u8>, SecurityError> {
    Ok(established(context)?.sign(&[message]).to_vec())
}

fn verify(context: &mut Option<Box<NtlmContext>>, message: &[u8], signature: &[u8]) -> Result<(), SecurityError> {
    established(context)?.verify(&[message], signature).map_err(refused)
}

fn seal(context: &mut Option<Box<NtlmContext>>, message: &mut [u8], sealed: Range<usize>) -> Result<Vec<u8>, SecurityError> {
    let context = established(context)?;
    let (before, body, after) = split(message, sealed)?;
    Ok(context.seal(before, body, after).to_vec())
}

fn unseal(context: &mut Option<Box<NtlmContext>>, message: &mut [u8], sealed: Range<usize>, signature: &[u8]) -> Result<(), SecurityError> {
    let context = established(context)?;
    let (before, body, after) = split(message, sealed)?;
    context.unseal(before, body, after, signature).map_err(refused)
}

/// What comes before the sealed part, the sealed part, and what comes after it.
pub(crate) type Parts<'a> = (&'a [u8], &'a mut [u8], &'a [u8]);

pub(crate) fn split(message: &mut [u8], sealed: Range<usize>) -> Result<Parts<'_>, SecurityError> {
    let outside = || SecurityError("sealed part lies outside the message".into());
    let (head, after) = message.split_at_mut_checked(sealed.end).ok_or_else(outside)?;
    let (before, body) = head.split_at_mut_checked(sealed.start).ok_or_else(outside)?;
    Ok((before, body, after))
}

fn refused(error: impl std::fmt::Display) -> SecurityError {
    SecurityError(error.to_string())
}

fn random<const N: usize>() -> Result<[u8; N], SecurityError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| SecurityError("no random bytes".into()))?;
    Ok(bytes)
}

fn now() -> FileTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    FileTime::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
}
