//! Kerberos for dcerpc-rs, alone or inside SPNEGO: MIT's library with a keytab behind the seam of the security packages. Beside it NTLM goes on.
//!
//! Whoever the realm vouches for is let in: a Windows client's witness comes as the account of its machine, which no list of users has.

mod gss;

use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use dcerpc_rs::security::auth_type;
use dcerpc_rs::{Identity, SecurityContext, SecurityError, SecurityProvider, Step};
use smb_auth::spnego;

use self::gss::{Context, Credential, Leg, Mechanism, Name};
use crate::security::split;

pub use self::gss::GssError;

/// The keys of a service. Clones are the same keys; a key that is added to the file later counts, too.
#[derive(Clone)]
pub struct Keytab(Arc<Credential>);

impl Keytab {
    /// Opens a keytab. It needs the key of `cifs/NAME` for every name that clients connect to.
    ///
    /// # Errors
    /// There is no such file, or no key in it.
    pub fn open(path: &Path) -> Result<Self, GssError> {
        Credential::of_keytab(&path.to_string_lossy()).map(|credential| Self(Arc::new(credential)))
    }
}

/// Accepts by the keys of a keytab; who does not come with Kerberos is handed to another provider.
pub struct KerberosSecurity {
    keytab: Keytab,
    others: Arc<dyn SecurityProvider>,
}

impl KerberosSecurity {
    /// Puts Kerberos before what was there.
    pub fn new(keytab: Keytab, others: Arc<dyn SecurityProvider>) -> Self {
        Self { keytab, others }
    }

    fn kerberos(&self) -> KerberosAcceptor {
        KerberosAcceptor { keytab: self.keytab.clone(), protection: Protection::new() }
    }
}

impl SecurityProvider for KerberosSecurity {
    fn acceptor(&self, auth_type: u8, peer: Option<IpAddr>) -> Option<Box<dyn SecurityContext>> {
        match auth_type {
            auth_type::KERBEROS => Some(Box::new(self.kerberos())),
            auth_type::SPNEGO => {
                let other = self.others.acceptor(auth_type, peer);
                Some(Box::new(Negotiated::Open { kerberos: Some(self.kerberos()), other }))
            }
            _ => self.others.acceptor(auth_type, peer),
        }
    }
}

/// SPNEGO before and after the client has said what it prefers.
enum Negotiated {
    Open { kerberos: Option<KerberosAcceptor>, other: Option<Box<dyn SecurityContext>> },
    Chosen(Box<dyn SecurityContext>),
}

impl Negotiated {
    fn chosen(&mut self) -> Result<&mut dyn SecurityContext, SecurityError> {
        match self {
            Self::Chosen(context) => Ok(context.as_mut()),
            Self::Open { .. } => Err(SecurityError("the logon has not begun".into())),
        }
    }
}

impl SecurityContext for Negotiated {
    // MS-SPNG 3.2.5.2: the token that comes with the list is for the client's first choice.
    fn step(&mut self, token: &[u8]) -> Result<Step, SecurityError> {
        if let Self::Open { kerberos, other } = self {
            let wants_kerberos = matches!(spnego::first_choice(token), Some(spnego::Mechanism::Kerberos | spnego::Mechanism::MsKerberos));
            let kerberos = kerberos.take().filter(|_| wants_kerberos).map(|kerberos| Box::new(kerberos) as Box<dyn SecurityContext>);
            let chosen = kerberos.or_else(|| other.take()).ok_or_else(|| SecurityError("nobody serves what the client offers".into()))?;
            *self = Self::Chosen(chosen);
        }
        self.chosen()?.step(token)
    }

    fn signature_bytes(&self, sealed: bool) -> usize {
        match self {
            Self::Chosen(context) => context.signature_bytes(sealed),
            Self::Open { .. } => 0,
        }
    }

    fn always_signs_headers(&self) -> bool {
        matches!(self, Self::Chosen(context) if context.always_signs_headers())
    }

    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, SecurityError> {
        self.chosen()?.sign(message)
    }

    fn verify(&mut self, message: &[u8], signature: &[u8]) -> Result<(), SecurityError> {
        self.chosen()?.verify(message, signature)
    }

    fn seal(&mut self, message: &mut [u8], sealed: Range<usize>) -> Result<Vec<u8>, SecurityError> {
        self.chosen()?.seal(message, sealed)
    }

    fn unseal(&mut self, message: &mut [u8], sealed: Range<usize>, signature: &[u8]) -> Result<(), SecurityError> {
        self.chosen()?.unseal(message, sealed, signature)
    }
}

/// An established context, with what its tokens take.
struct Protection {
    context: Context,
    sign_bytes: usize,
    seal_bytes: usize,
}

impl Protection {
    fn new() -> Self {
        Self { context: Context::new(), sign_bytes: 0, seal_bytes: 0 }
    }

    fn established(&mut self) -> Result<(), SecurityError> {
        self.sign_bytes = self.context.sign_bytes().map_err(refused)?;
        self.seal_bytes = self.context.seal_bytes().map_err(refused)?;
        Ok(())
    }

    fn signature_bytes(&self, sealed: bool) -> usize {
        if sealed { self.seal_bytes } else { self.sign_bytes }
    }

    fn seal(&mut self, message: &mut [u8], sealed: Range<usize>) -> Result<Vec<u8>, SecurityError> {
        let (before, body, after) = split(message, sealed)?;
        self.context.seal(before, body, after, self.seal_bytes).map_err(refused)
    }

    fn unseal(&mut self, message: &mut [u8], sealed: Range<usize>, signature: &[u8]) -> Result<(), SecurityError> {
        let (before, body, after) = split(message, sealed)?;
        self.context.unseal(before, body, after, signature).map_err(refused)
    }
}

struct KerberosAcceptor {
    keytab: Keytab,
    protection: Protection,
}

impl SecurityContext for KerberosAcceptor {
    fn step(&mut self, token: &[u8]) -> Result<Step, SecurityError> {
        match self.protection.context.accept(&self.keytab.0, token).map_err(refused)? {
            Leg::Continue(token) => Ok(Step::Continue(token)),
            Leg::Done(token) => {
                self.protection.established()?;
                let identity = identity_of(&self.protection.context.initiator().map_err(refused)?);
                Ok(Step::Done { token, identity })
            }
        }
    }

    fn signature_bytes(&self, sealed: bool) -> usize {
        self.protection.signature_bytes(sealed)
    }

    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, SecurityError> {
        self.protection.context.sign(message).map_err(refused)
    }

    fn verify(&mut self, message: &[u8], signature: &[u8]) -> Result<(), SecurityError> {
        self.protection.context.verify(message, signature).map_err(refused)
    }

    fn seal(&mut self, message: &mut [u8], sealed: Range<usize>) -> Result<Vec<u8>, SecurityError> {
        self.protection.seal(message, sealed)
    }

    fn unseal(&mut self, message: &mut [u8], sealed: Range<usize>, signature: &[u8]) -> Result<(), SecurityError> {
        self.protection.unseal(message, sealed, signature)
    }
}

/// The initiating side, for [`dcerpc_rs::ClientSecurity`], with the tickets of a cache.
pub struct KerberosInitiator {
    credential: Credential,
    target: Name,
    mechanism: Mechanism,
    protection: Protection,
}

impl KerberosInitiator {
    /// Logs on with SPNEGO around Kerberos to the service of a host, for example `cifs@fs1.example.com`.
    ///
    /// # Errors
    /// There is no such cache, or no ticket in it.
    pub fn spnego(cache: &Path, service: &str) -> Result<Self, GssError> {
        Self::new(cache, service, Mechanism::Spnego)
    }

    /// As [`Self::spnego`], with Kerberos alone.
    ///
    /// # Errors
    /// There is no such cache, or no ticket in it.
    pub fn raw(cache: &Path, service: &str) -> Result<Self, GssError> {
        Self::new(cache, service, Mechanism::Kerberos)
    }

    fn new(cache: &Path, service: &str, mechanism: Mechanism) -> Result<Self, GssError> {
        let credential = Credential::of_cache(&cache.to_string_lossy())?;
        Ok(Self { credential, target: Name::of_service(service)?, mechanism, protection: Protection::new() })
    }

    /// Its authentication type.
    pub fn auth_type(&self) -> u8 {
        match self.mechanism {
            Mechanism::Kerberos => auth_type::KERBEROS,
            Mechanism::Spnego => auth_type::SPNEGO,
        }
    }
}

impl SecurityContext for KerberosInitiator {
    fn step(&mut self, token: &[u8]) -> Result<Step, SecurityError> {
        match self.protection.context.initiate(&self.credential, &self.target, self.mechanism, token).map_err(refused)? {
            Leg::Continue(token) => Ok(Step::Continue(token)),
            Leg::Done(token) => {
                self.protection.established()?;
                let identity = identity_of(&self.protection.context.initiator().map_err(refused)?);
                Ok(Step::Done { token, identity })
            }
        }
    }

    fn signature_bytes(&self, sealed: bool) -> usize {
        self.protection.signature_bytes(sealed)
    }

    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, SecurityError> {
        self.protection.context.sign(message).map_err(refused)
    }

    fn verify(&mut self, message: &[u8], signature: &[u8]) -> Result<(), SecurityError> {
        self.protection.context.verify(message, signature).map_err(refused)
    }

    fn seal(&mut self, message: &mut [u8], sealed: Range<usize>) -> Result<Vec<u8>, SecurityError> {
        self.protection.seal(message, sealed)
    }

    fn unseal(&mut self, message: &mut [u8], sealed: Range<usize>, signature: &[u8]) -> Result<(), SecurityError> {
        self.protection.unseal(message, sealed, signature)
    }
}

/// `user@REALM`; RFC 8062 names the principal that stands for nobody.
fn identity_of(principal: &str) -> Identity {
    let (user, domain) = principal.rsplit_once('@').unwrap_or((principal, ""));
    Identity {
        user: user.to_owned(),
        domain: domain.to_owned(),
        is_anonymous: user == "WELLKNOWN/ANONYMOUS" || domain == "WELLKNOWN:ANONYMOUS",
        is_administrator: false,
    }
}

fn refused(error: GssError) -> SecurityError {
    SecurityError(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_a_user_of_a_realm() {
        let seen = |principal| {
            let Identity { user, domain, is_anonymous, .. } = identity_of(principal);
            (user, domain, is_anonymous)
        };
        assert_eq!(seen("HV-07$@EXAMPLE.COM"), ("HV-07$".into(), "EXAMPLE.COM".into(), false));
        assert!(seen("WELLKNOWN/ANONYMOUS@EXAMPLE.COM").2 && seen("WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS").2);
    }

    #[test]
    fn a_keytab_that_is_not_there_is_named() {
        let error = Keytab::open(Path::new("/nowhere/a.keytab")).err().unwrap().to_string();
        assert!(error.contains("/nowhere/a.keytab"), "{error}");
    }
}
