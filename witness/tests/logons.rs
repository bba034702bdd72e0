//! Whoever watches logons to RPC services hears of each, and may forbid to try.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use dcerpc_rs::security::auth_type;
use dcerpc_rs::{SecurityContext as _, SecurityProvider as _, Step};
use smb_auth::{AcceptorConfig, Account, AuthError, Credentials, NtHash};
use witness::{LogonWatch, NtlmInitiator, NtlmSecurity};

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// User, address, and why it failed.
type Heard = (String, Option<IpAddr>, Option<AuthError>);

#[derive(Default)]
struct Watch {
    heard: Mutex<Vec<Heard>>,
    forbids: AtomicBool,
}

impl LogonWatch for Watch {
    fn may_try(&self, _user: &str, _peer: Option<IpAddr>) -> bool {
        !self.forbids.load(Ordering::Relaxed)
    }

    fn ended(&self, user: &str, peer: Option<IpAddr>, failure: Option<AuthError>) {
        self.heard.lock().unwrap().push((user.to_owned(), peer, failure));
    }
}

/// Whether a logon succeeds.
fn log_on(security: &NtlmSecurity, user: &str, password: &str) -> bool {
    let mut server = security.acceptor(auth_type::SPNEGO, &[], Some(PEER)).unwrap();
    let mut client = NtlmInitiator::spnego(Credentials::password(user, "", password), "TEST", "");
    let mut token = Vec::new();
    loop {
        let (Step::Continue(next) | Step::Done { token: next, .. }) = client.step(&token).unwrap();
        match server.step(&next) {
            Ok(Step::Continue(answer)) => token = answer,
            Ok(Step::Done { .. }) => return true,
            Err(_) => return false,
        }
    }
}

#[test]
fn every_logon_is_heard_of_and_none_is_tried_that_must_not() {
    let account = |user: &str, _: &str| (user == "ann").then(|| Account { nt_hash: NtHash::of_password("right"), disabled: false });
    let watch = Arc::new(Watch::default());
    let security = NtlmSecurity::new(Arc::new(AcceptorConfig::default()), Arc::new(account)).watched(watch.clone());
    assert!(log_on(&security, "ann", "right"));
    assert!(!log_on(&security, "ann", "wrong"));
    assert!(!log_on(&security, "eve", "right"));
    let heard = |user: &str, failure| (user.to_owned(), Some(PEER), failure);
    let all = [heard("ann", None), heard("ann", Some(AuthError::WrongPassword)), heard("eve", Some(AuthError::UnknownAccount))];
    assert_eq!(*watch.heard.lock().unwrap(), all);
    watch.forbids.store(true, Ordering::Relaxed);
    assert!(!log_on(&security, "ann", "right"), "the right password tells nothing while it must not be tried");
    assert_eq!(watch.heard.lock().unwrap().len(), all.len());
}
