//! Bytes from anywhere never panic, and sealing and signing hold for any message.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use proptest::prelude::*;
use smb_auth::ntlm::av_pairs::AvPairs;
use smb_auth::ntlm::message::{Authenticate, Challenge, Negotiate};
use smb_auth::ntlm::{NtlmAcceptor, NtlmInitiator};
use smb_auth::sealing::{SealError, TRANSFORM_HEADER_LENGTH};
use smb_auth::spnego::{InitiatorConfig, InitiatorStep};
use smb_auth::{
    Acceptor, AcceptorConfig, Account, CipherId, Credentials, Initiator, NonceSequence, NtHash, PreauthHash, Role, Secret, SessionKey,
    SessionKeys, SigningAlgorithm, SigningKey, Step, TransformHeader,
};
use smb_types::{Dialect, FileTime};

const ALGORITHMS: [SigningAlgorithm; 3] = [SigningAlgorithm::HmacSha256, SigningAlgorithm::AesCmac, SigningAlgorithm::AesGmac];
const CIPHERS: [CipherId; 4] = [CipherId::Aes128Ccm, CipherId::Aes128Gcm, CipherId::Aes256Ccm, CipherId::Aes256Gcm];

proptest! {
    #[test]
    fn decoders_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0u8..5) {
        // Most of the time what follows a header that looks right.
        let bytes = if kind == 0 { bytes } else { [b"NTLMSSP\0".as_slice(), &[kind, 0, 0, 0], &bytes].concat() };
        let _ = Negotiate::parse(&bytes);
        let _ = Challenge::parse(&bytes);
        let _ = Authenticate::parse(&bytes);
        let _ = AvPairs::parse(&bytes);
        let _ = TransformHeader::parse(&bytes);
        let _ = acceptor().step(&bytes, [0; 8], FileTime(0), &lookup);
        let mut initiator = Initiator::new(config());
        initiator.start().unwrap();
        let _ = initiator.step(&bytes, [0; 8], [0; 16], FileTime(0));
    }

    #[test]
    fn changed_tokens_never_panic(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        leg in 0usize..3,
        cut in any::<proptest::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let meddle = |n: usize, token: &mut Vec<u8>| {
            if n == leg {
                for (at, value) in &changes {
                    let at = at.index(token.len());
                    token[at] = *value;
                }
                if cuts {
                    token.truncate(cut.index(token.len()));
                }
            }
        };
        let (mut acceptor, mut initiator) = (acceptor(), Initiator::new(config()));
        let mut token = initiator.start().unwrap();
        meddle(0, &mut token);
        let Ok(Step::Continue(mut token)) = acceptor.step(&token, [1; 8], FileTime(5), &lookup) else { return Ok(()) };
        meddle(1, &mut token);
        let Ok(InitiatorStep::Continue(mut token)) = initiator.step(&token, [2; 8], [3; 16], FileTime(5)) else { return Ok(()) };
        meddle(2, &mut token);
        let _ = acceptor.step(&token, [1; 8], FileTime(5), &lookup);
    }

    #[test]
    fn changed_authenticate_never_gets_in(at in any::<proptest::sample::Index>(), bit in 0u8..8) {
        let client = NtlmInitiator::new(Credentials::password("u", "d", "p"), "w", "t");
        let mut server = NtlmAcceptor::new(Arc::new(AcceptorConfig { anonymous_allowed: true, ..AcceptorConfig::default() }));
        let challenge = server.accept_negotiate(client.negotiate(), [1; 8], FileTime(5)).unwrap();
        let (mut authenticate, _) = client.authenticate(&challenge, [2; 8], [3; 16], FileTime(5)).unwrap();
        let at = at.index(authenticate.len());
        authenticate[at] ^= 1 << bit;
        prop_assert!(server.accept_authenticate(&authenticate, &lookup).is_err());
    }

    #[test]
    fn signatures_hold(mut message in proptest::collection::vec(any::<u8>(), 64..400), at in any::<proptest::sample::Index>(), bit in 0u8..8) {
        for algorithm in ALGORITHMS {
            let key = SigningKey::new(algorithm, &Secret::new([9; 16]));
            key.sign(&mut message, Role::Client);
            prop_assert!(key.verify(&mut message, Role::Client));
            prop_assert!(key.verify_shared(&message, Role::Client));
            let mut bad = message.clone();
            let at = at.index(bad.len());
            bad[at] ^= 1 << bit;
            prop_assert!(!key.verify(&mut bad, Role::Client) && !key.verify_shared(&bad, Role::Client), "{algorithm:?}");
        }
        let gmac = SigningKey::new(SigningAlgorithm::AesGmac, &Secret::new([9; 16]));
        prop_assert!(!gmac.verify(&mut message, Role::Server), "GMAC tells the two senders apart");
    }

    #[test]
    fn sealing_holds(message in proptest::collection::vec(any::<u8>(), 0..400), at in any::<proptest::sample::Index>(), bit in 0u8..8, id in any::<u64>()) {
        for cipher in CIPHERS {
            let keys = SessionKeys::derive(Dialect::Smb311, &SessionKey::new(&[4; 16]), &PreauthHash::START, Some(cipher)).cipher.unwrap();
            let nonces = NonceSequence::new([1, 2, 3, 4]);
            let packet = keys.encryption(Role::Server).encrypt_copy(&message, id, nonces.draw().unwrap()).unwrap();
            let key = keys.decryption(Role::Client);
            let mut good = packet.clone();
            let header = key.decrypt(&mut good).unwrap();
            prop_assert_eq!(header.session_id, id);
            prop_assert_eq!(&good[TRANSFORM_HEADER_LENGTH..], &message);
            let mut bad = packet.clone();
            let at = at.index(bad.len());
            bad[at] ^= 1 << bit;
            prop_assert!(key.decrypt(&mut bad).is_err(), "{:?} byte {}", cipher, at);
            prop_assert_eq!(keys.encryption(Role::Client).decrypt(&mut packet.clone()), Err(SealError::BadTag), "the other direction's key");
        }
    }
}

#[test]
fn short_messages_are_not_signed_messages() {
    for algorithm in ALGORITHMS {
        let key = SigningKey::new(algorithm, &Secret::new([9; 16]));
        for length in 0..64 {
            assert!(!key.verify(&mut vec![0; length], Role::Client) && !key.verify_shared(&vec![0; length], Role::Client));
        }
    }
}

#[test]
fn nonces_differ_and_keep_their_tail() {
    let keys =
        SessionKeys::derive(Dialect::Smb300, &SessionKey::new(&[4; 16]), &PreauthHash::START, Some(CipherId::Aes128Ccm)).cipher.unwrap();
    let (key, nonces) = (keys.encryption(Role::Server), NonceSequence::new([1, 2, 3, 4]));
    let fields: Vec<_> =
        (0..3).map(|_| TransformHeader::parse(&key.encrypt_copy(b"x", 1, nonces.draw().unwrap()).unwrap()).unwrap().nonce).collect();
    for (n, field) in (0u8..).zip(fields) {
        assert_eq!(field, [n, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0, 0], "CCM uses 11 bytes");
    }
    assert_eq!(key.encrypt(&mut [0; 51], 1, nonces.draw().unwrap()), Err(SealError::BadLength), "no room for the header");
}

fn acceptor() -> Acceptor {
    Acceptor::new(Arc::new(AcceptorConfig { anonymous_allowed: true, guest_allowed: true, ..AcceptorConfig::default() }))
}

fn config() -> InitiatorConfig {
    InitiatorConfig::new(Credentials::password("u", "d", "p"), "w", "t")
}

fn lookup(user: &str, _domain: &str) -> Option<Account> {
    (user == "u").then(|| Account { nt_hash: NtHash::of_password("p"), disabled: false })
}
