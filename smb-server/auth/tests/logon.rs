//! Both ends of a logon against each other, and what a meddler in the middle can do.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use smb_auth::ntlm::{NegotiateFlags, NtlmAcceptor, NtlmInitiator};
use smb_auth::spnego::{Accepted, Initiated, InitiatorConfig, InitiatorStep, Mechanism};
use smb_auth::{Acceptor, AcceptorConfig, Account, AuthError, Credentials, Initiator, LogonKind, NtHash, ServerNames, Step};
use smb_types::{FileTime, NtStatus};

const NOW: FileTime = FileTime(133_000_000_000_000_000);
const NO_MEDDLING: Meddle = |_, _| {};
/// Changes a token in flight; the number counts tokens from the client's first.
type Meddle = fn(usize, &mut Vec<u8>);

#[test]
fn spnego_with_ntlm_first() {
    let (server, client) = logon(alice(), NO_MEDDLING).unwrap();
    assert_eq!(server.identity.user, "alice");
    assert_eq!(server.identity.domain, "HOLD");
    assert_eq!(server.identity.workstation, "CLIENT");
    assert_eq!(server.identity.kind, LogonKind::User);
    // Both mechListMICs were made, so DCE/RPC starts at 1 in both directions.
    talk(server, client, 1);
}

#[test]
fn spnego_led_from_kerberos_to_ntlm() {
    let mut config = alice();
    config.offer = vec![Mechanism::MsKerberos, Mechanism::Kerberos, Mechanism::NegoEx, Mechanism::Ntlm];
    let (server, client) = logon(config, NO_MEDDLING).unwrap();
    talk(server, client, 1);
}

#[test]
fn raw_ntlm() {
    let mut config = alice();
    config.raw = true;
    let (server, client) = logon(config, NO_MEDDLING).unwrap();
    assert!(server.token.is_empty(), "bare NTLM has no last token");
    talk(server, client, 0);
}

#[test]
fn anonymous() {
    for raw in [false, true] {
        let mut config = InitiatorConfig::new(Credentials::Anonymous, "", "cifs/hold");
        config.raw = raw;
        let (server, client) = logon(config, NO_MEDDLING).unwrap();
        assert_eq!(server.identity.kind, LogonKind::Anonymous);
        assert_eq!(server.identity.user, "");
        talk(server, client, 0);
    }
    let strict = AcceptorConfig { anonymous_allowed: false, ..server_config() };
    let config = InitiatorConfig::new(Credentials::Anonymous, "", "");
    assert_eq!(logon_at(strict, config, NO_MEDDLING).unwrap_err(), AuthError::AnonymousRefused);
}

#[test]
fn refusals() {
    let with = |user, password| InitiatorConfig::new(Credentials::password(user, "HOLD", password), "CLIENT", "cifs/hold");
    for (config, error, status) in [
        (with("alice", "wrong"), AuthError::WrongPassword, NtStatus::LOGON_FAILURE),
        (with("nobody", "secret"), AuthError::UnknownAccount, NtStatus::LOGON_FAILURE),
        (with("bob", "secret"), AuthError::AccountDisabled, NtStatus::ACCOUNT_DISABLED),
        (with("bob", "wrong"), AuthError::WrongPassword, NtStatus::LOGON_FAILURE),
    ] {
        let e = logon(config, NO_MEDDLING).unwrap_err();
        assert_eq!((e, e.status()), (error, status));
    }
}

#[test]
fn unknown_account_as_guest() {
    let config = || InitiatorConfig::new(Credentials::password("nobody", "", "secret"), "CLIENT", "");
    let lenient = AcceptorConfig { guest_allowed: true, ..server_config() };
    let mut acceptor = Acceptor::new(Arc::new(lenient));
    let mut initiator = Initiator::new(config());
    let first = initiator.start().unwrap();
    let Step::Continue(challenge) = acceptor.step(&first, [1; 8], NOW, &lookup).unwrap() else { panic!("too early") };
    let InitiatorStep::Continue(authenticate) = initiator.step(&challenge, [2; 8], [3; 16], NOW).unwrap() else { panic!("too early") };
    let Step::Done(accepted) = acceptor.step(&authenticate, [1; 8], NOW, &lookup).unwrap() else { panic!("not done") };
    assert_eq!(accepted.identity.kind, LogonKind::Guest);
    assert_eq!(accepted.session_key.full(), [0; 16]);
    // A client that wanted to be sure of the server does not come in as a guest.
    assert_eq!(initiator.step(&accepted.token, [2; 8], [3; 16], NOW).unwrap_err(), AuthError::MechListMic);
}

#[test]
fn upper_case_user_and_empty_domain() {
    for (user, domain) in [("ALICE", "HOLD"), ("Alice", ""), ("alice", "elsewhere")] {
        let config = InitiatorConfig::new(Credentials::password(user, domain, "secret"), "C", "");
        let (server, _) = logon(config, NO_MEDDLING).unwrap();
        assert_eq!((server.identity.user.as_str(), server.identity.domain.as_str()), (user, domain), "names stay as typed");
    }
}

#[test]
fn tampered_flags_break_the_mic() {
    // Somebody strips SEAL from NEGOTIATE: only the MIC over the raw messages tells.
    let e = logon(alice(), |n, token| {
        if n == 0 {
            let at = ntlm_at(token);
            token[at + 12] &= !0x20;
        }
    });
    assert_eq!(e.unwrap_err(), AuthError::MicMismatch);
    // The same in the challenge, on its way to the client.
    let e = logon(alice(), |n, token| {
        if n == 1 {
            let at = ntlm_at(token);
            token[at + 20] &= !0x20;
        }
    });
    assert_eq!(e.unwrap_err(), AuthError::MicMismatch);
    // And the MIC itself.
    let e = logon(alice(), |n, token| {
        if n == 2 {
            let at = ntlm_at(token);
            token[at + 72] ^= 1;
        }
    });
    assert_eq!(e.unwrap_err(), AuthError::MicMismatch);
}

#[test]
fn tampered_mech_list_is_noticed() {
    // Kerberos' name is changed into something unknown: both ends still agree on NTLM, and only the mechListMIC tells.
    let mut config = alice();
    config.offer = vec![Mechanism::Kerberos, Mechanism::Ntlm];
    let meddle: Meddle = |n, token| {
        if n == 0 {
            let at = token.windows(4).position(|w| w == [0x2A, 0x86, 0x48, 0x86]).unwrap();
            token[at + 5] ^= 1;
        }
    };
    assert_eq!(logon(config, meddle).unwrap_err(), AuthError::MechListMic);
}

#[test]
fn missing_mech_list_mic_is_noticed() {
    let mut config = alice();
    config.offer = vec![Mechanism::Kerberos, Mechanism::Ntlm];
    // Token 4 is AUTHENTICATE; its last element [3] (0xA3, 18 bytes) is cut off and both outer lengths are put right.
    let meddle: Meddle = |n, token| {
        if n == 4 {
            token.truncate(token.len() - 20);
            for at in [2, 6] {
                let length = u16::from_be_bytes([token[at], token[at + 1]]) - 20;
                token[at..at + 2].copy_from_slice(&length.to_be_bytes());
            }
        }
    };
    assert_eq!(logon(config, meddle).unwrap_err(), AuthError::MechListMic);
}

#[test]
fn tampered_last_token_is_noticed() {
    let meddle: Meddle = |n, token| {
        if n == 3 {
            *token.last_mut().unwrap() ^= 1;
        }
    };
    assert_eq!(logon(alice(), meddle).unwrap_err(), AuthError::MechListMic);
}

#[test]
fn empty_first_token_gets_the_hint() {
    let mut acceptor = Acceptor::new(Arc::new(server_config()));
    let Step::Continue(hint) = acceptor.step(&[], [1; 8], NOW, &lookup).unwrap() else { panic!("too early") };
    assert_eq!(hint, Acceptor::server_hint());
    let mut initiator = Initiator::new(alice());
    let first = initiator.start().unwrap();
    assert!(
        matches!(acceptor.step(&first, [1; 8], NOW, &lookup), Ok(Step::Continue(t)) if !t.is_empty()),
        "the logon goes on after a hint"
    );
}

#[test]
fn token_in_pieces() {
    let mut acceptor = Acceptor::new(Arc::new(server_config()));
    let first = Initiator::new(alice()).start().unwrap();
    let (last, pieces) = first.as_chunks::<1>().0.split_last().unwrap();
    for piece in pieces {
        assert!(matches!(acceptor.step(piece, [1; 8], NOW, &lookup), Ok(Step::Continue(t)) if t.is_empty()));
    }
    assert!(matches!(acceptor.step(last, [1; 8], NOW, &lookup), Ok(Step::Continue(t)) if !t.is_empty()));
}

#[test]
fn token_that_never_ends() {
    let mut acceptor = Acceptor::new(Arc::new(server_config()));
    let huge = [&[0x60, 0x83, 0x01, 0x00, 0x01][..], &[0; 100]].concat();
    assert!(matches!(acceptor.step(&huge, [1; 8], NOW, &lookup), Err(AuthError::BadToken(_))), "longer than the limit says its header");
    assert_eq!(acceptor.step(&[], [1; 8], NOW, &lookup).unwrap_err(), AuthError::OutOfOrder, "a failed logon stays failed");
    let mut acceptor = Acceptor::new(Arc::new(server_config()));
    let begun = [&[0x60, 0x82, 0xFF, 0xFF][..], &[0; 0x8000]].concat();
    assert!(matches!(acceptor.step(&begun, [1; 8], NOW, &lookup), Ok(Step::Continue(_))));
    assert!(matches!(acceptor.step(&[0; 0x8000], [1; 8], NOW, &lookup), Err(AuthError::BadToken(_))), "more pieces than the limit");
}

#[test]
fn messages_out_of_order() {
    let config = Arc::new(server_config());
    let client = NtlmInitiator::new(Credentials::password("alice", "HOLD", "secret"), "C", "");
    let mut server = NtlmAcceptor::new(config.clone());
    assert_eq!(server.accept_authenticate(&[], &lookup).unwrap_err(), AuthError::OutOfOrder);
    let mut server = NtlmAcceptor::new(config);
    let challenge = server.accept_negotiate(client.negotiate(), [1; 8], NOW).unwrap();
    let (authenticate, established) = client.authenticate(&challenge, [2; 8], [3; 16], NOW).unwrap();
    let done = server.accept_authenticate(&authenticate, &lookup).unwrap();
    assert_eq!(done.session_key, established.session_key);
    assert!(done.flags.contains(NegotiateFlags::SEAL.union(NegotiateFlags::SIGN)));
    assert_eq!(server.accept_authenticate(&authenticate, &lookup).unwrap_err(), AuthError::OutOfOrder, "an answer counts once");
}

#[test]
fn old_ntlm_is_refused() {
    let client = NtlmInitiator::new(Credentials::password("alice", "HOLD", "secret"), "C", "");
    let mut server = NtlmAcceptor::new(Arc::new(server_config()));
    let challenge = server.accept_negotiate(client.negotiate(), [1; 8], NOW).unwrap();
    let (mut authenticate, _) = client.authenticate(&challenge, [2; 8], [3; 16], NOW).unwrap();
    authenticate[20..22].copy_from_slice(&24u16.to_le_bytes());
    assert_eq!(server.accept_authenticate(&authenticate, &lookup).unwrap_err(), AuthError::NtlmV1);
    let mut weak = client.negotiate().to_vec();
    weak[15] &= !0x20;
    let e = NtlmAcceptor::new(Arc::new(server_config())).accept_negotiate(&weak, [1; 8], NOW).unwrap_err();
    assert_eq!(e, AuthError::WeakFlags);
}

#[test]
fn only_other_mechanisms() {
    let first = hex_token();
    let e = Acceptor::new(Arc::new(server_config())).step(&first, [1; 8], NOW, &lookup).unwrap_err();
    assert_eq!(e, AuthError::NoCommonMechanism);
}

/// Signs and seals in both directions; sequence numbers start at `start`.
fn talk(mut server: Box<Accepted>, mut client: Box<Initiated>, start: u8) {
    assert_eq!(server.session_key, client.session_key);
    let (s, c) = (&mut server.security_context, &mut client.security_context);
    for n in start..start + 3 {
        let mut body = *b"sixteen bytes of";
        let signature = c.seal(b"header", &mut body, b"trailer");
        assert_eq!((signature[12], &body != b"sixteen bytes of"), (n, true));
        s.unseal(b"header", &mut body, b"trailer", &signature).unwrap();
        assert_eq!(&body, b"sixteen bytes of");
        let signature = s.sign(&[b"header", b"answer"]);
        assert_eq!(signature[12], n);
        c.verify(&[b"headeranswer"], &signature).unwrap();
    }
    let signature = c.sign(&[b"one"]);
    assert!(s.verify(&[b"two"], &signature).is_err());
}

fn alice() -> InitiatorConfig {
    InitiatorConfig::new(Credentials::password("alice", "HOLD", "secret"), "CLIENT", "cifs/hold")
}

fn server_config() -> AcceptorConfig {
    let names = ServerNames {
        nb_computer: "HOLD".to_owned(),
        nb_domain: "HOLD".to_owned(),
        dns_computer: "hold.example".to_owned(),
        dns_domain: "example".to_owned(),
    };
    AcceptorConfig { names, anonymous_allowed: true, guest_allowed: false }
}

fn lookup(user: &str, _domain: &str) -> Option<Account> {
    let disabled = match user.to_lowercase().as_str() {
        "alice" => false,
        "bob" => true,
        _ => return None,
    };
    Some(Account { nt_hash: NtHash::of_password("secret"), disabled })
}

fn logon(config: InitiatorConfig, meddle: Meddle) -> Result<(Box<Accepted>, Box<Initiated>), AuthError> {
    logon_at(server_config(), config, meddle)
}

/// Runs a whole logon; every token passes through `meddle`.
fn logon_at(server: AcceptorConfig, client: InitiatorConfig, meddle: Meddle) -> Result<(Box<Accepted>, Box<Initiated>), AuthError> {
    let mut acceptor = Acceptor::new(Arc::new(server));
    let mut initiator = Initiator::new(client);
    let mut token = initiator.start()?;
    for n in (0..10).step_by(2) {
        meddle(n, &mut token);
        let (mut answer, accepted) = match acceptor.step(&token, [0x11; 8], NOW, &lookup)? {
            Step::Continue(t) => (t, None),
            Step::Done(a) => (a.token.clone(), Some(a)),
        };
        meddle(n + 1, &mut answer);
        if let Some(a) = &accepted {
            assert_eq!(initiator.session_key(), Some(&a.session_key), "the client knows the key before the last token");
        }
        match (initiator.step(&answer, [0x22; 8], [0x33; 16], NOW)?, accepted) {
            (InitiatorStep::Continue(t), None) => token = t,
            (InitiatorStep::Done(i), Some(a)) => return Ok((a, i)),
            (step, accepted) => panic!("the ends disagree: {step:?}, {accepted:?}"),
        }
    }
    panic!("the logon does not end");
}

/// Where NTLM's message starts in a token.
fn ntlm_at(token: &[u8]) -> usize {
    token.windows(8).position(|w| w == b"NTLMSSP\0").unwrap()
}

/// A first token that lists Kerberos alone.
fn hex_token() -> Vec<u8> {
    let list = [&[0xA0, 0x0D, 0x30, 0x0B, 0x06, 0x09][..], &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x12, 0x01, 0x02, 0x02]].concat();
    [&[0x60, 0x1B, 0x06, 0x06, 0x2B, 0x06, 0x01, 0x05, 0x05, 0x02, 0xA0, 0x11, 0x30, 0x0F][..], &list].concat()
}
