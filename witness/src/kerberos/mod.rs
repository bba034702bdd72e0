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
}

impl SecurityProvider for KerberosSecurity {
    // MS-SPNG 3.2.5.2: the token that comes with the list of mechanisms is for the client's first choice.
    fn acceptor(&self, auth_type: u8, first_token: &[u8], peer: Option<IpAddr>) -> Option<Box<dyn SecurityContext>> {
        let is_kerberos = match auth_type {
            auth_type::KERBEROS => true,
            auth_type::SPNEGO => {
                matches!(spnego::first_choice(first_token), Some(spnego::Mechanism::Kerberos | spnego::Mechanism::MsKerberos))
            }
            _ => false,
        };
        if is_kerberos {
            Some(Box::new(KerberosContext::new(End::Acceptor(self.keytab.clone()))))
        } else {
            self.others.acceptor(auth_type, first_token, peer)
        }
    }
}

/// Which end of the conversation a context is.
enum End {
    Acceptor(Keytab),
    Initiator { tickets: Credential, target: Name, mechanism: Mechanism },
}

/// One authentication and its protection. Made by [`KerberosSecurity`], or as the initiating side for [`dcerpc_rs::ClientSecurity`] with
/// the tickets of a cache.
pub struct KerberosContext {
    end: End,
    context: Context,
    /// What tokens take, once it is established.
    sign_bytes: usize,
    seal_bytes: usize,
}

impl KerberosContext {
    /// Logs on with SPNEGO around Kerberos to the service of a host, for example `cifs@fs1.example.com`.
    ///
    /// # Errors
    /// There is no such cache, or no ticket in it.
    pub fn spnego(cache: &Path, service: &str) -> Result<Self, GssError> {
        Self::initiator(cache, service, Mechanism::Spnego)
    }

    /// As [`Self::spnego`], with Kerberos alone.
    ///
    /// # Errors
    /// There is no such cache, or no ticket in it.
    pub fn raw(cache: &Path, service: &str) -> Result<Self, GssError> {
        Self::initiator(cache, service, Mechanism::Kerberos)
    }

    fn initiator(cache: &Path, service: &str, mechanism: Mechanism) -> Result<Self, GssError> {
        let tickets = Credential::of_cache(&cache.to_string_lossy())?;
        Ok(Self::new(End::Initiator { tickets, target: Name::of_service(service)?, mechanism }))
    }

    fn new(end: End) -> Self {
        Self { end, context: Context::new(), sign_bytes: 0, seal_bytes: 0 }
    }
}

impl SecurityContext for KerberosContext {
    fn step(&mut self, token: &[u8]) -> Result<Step, SecurityError> {
        let leg = match &self.end {
            End::Acceptor(keytab) => self.context.accept(&keytab.0, token),
            End::Initiator { tickets, target, mechanism } => self.context.initiate(tickets, target, *mechanism, token),
        };
        let token = match leg.map_err(refused)? {
            Leg::Continue(token) => return Ok(Step::Continue(token)),
            Leg::Done(token) => token,
        };
        self.sign_bytes = self.context.sign_bytes().map_err(refused)?;
        self.seal_bytes = self.context.seal_bytes().map_err(refused)?;
        let identity = identity_of(&self.context.initiator().map_err(refused)?);
        Ok(Step::Done { token, identity })
    }

    fn signature_bytes(&self, sealed: bool) -> usize {
        if sealed { self.seal_bytes } else { self.sign_bytes }
    }

    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, SecurityError> {
        self.context.sign(message).map_err(refused)
    }

    fn verify(&mut self, message: &[u8], signature: &[u8]) -> Result<(), SecurityError> {
        self.context.verify(message, signature).map_err(refused)
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
