//! Published numbers: MS-NLMP's NTLMv2 example, and the worked examples of SMB 3 keys, logon and encryption on Microsoft's open-specifications
//! blog. Where a number is our own calculation from the rules, the test says so.

use std::sync::Arc;

use smb_types::{Dialect, FileTime};

use crate::crypto::rc4_block;
use crate::keys::{CipherKey, channel_signing_key};
use crate::ntlm::acceptor::NtlmAcceptor;
use crate::ntlm::message::{Authenticate, Challenge};
use crate::ntlm::{NegotiateFlags, v2};
use crate::sealing::{SealNonce, TRANSFORM_HEADER_LENGTH};
use crate::spnego::token::{Init, Response};
use crate::*;

#[test]
fn ntlm_v2_example() {
    let hash = NtHash::of_password("Password");
    assert_eq!(hash.expose(), &bytes("a4f49c406510bdcab6824ee7c30fd852"));
    let owf = v2::nt_owf_v2(&hash, "User", "Domain");
    assert_eq!(owf, bytes("0c868a403bfd7a93a3001ef22ef02e3f"));
    let pairs = hex("02000c0044006f006d00610069006e00 01000c00530065007200760065007200 00000000");
    let temp = v2::temp(FileTime(0), &[0xAA; 8], &pairs);
    let server_challenge = bytes("0123456789abcdef");
    let proof = v2::prove(&owf, &server_challenge, &temp);
    assert_eq!(proof.nt_proof, bytes("68cd0ab851e51c96aabc927bebef6a1c"));
    assert_eq!(proof.session_base_key, bytes("8de40ccadbc14a82f15cb0ad0de95ca3"));
    assert_eq!(rc4_block(&proof.session_base_key, &[0x55; 16]), bytes("c5dad2544fc9799094ce1ce90bc9d03e"));
    assert_eq!(v2::lm_v2_response(&owf, &server_challenge, &[0xAA; 8]), hex("86c35097ac9cec102554764a57cccc19 aaaaaaaaaaaaaaaa"));
}

#[test]
fn ntlm_sealing_example() {
    let flags = NegotiateFlags(0xE28A_8233);
    let mut client = NtlmContext::new(Role::Client, &[0x55; 16], flags);
    let mut server = NtlmContext::new(Role::Server, &[0x55; 16], flags);
    assert_eq!(client.key_pairs(), ["4788dc861b4782f35d43fd98fe1a2d39", "59f600973cc4960a25480a7c196e4c58"].map(bytes));
    // Self-made: the server's pair.
    assert_eq!(server.key_pairs(), ["d04d6f10741041d1d246d64188d7a8ad", "9355f3a957c1583d25c4c2f11e40390e"].map(bytes));
    let plain = crypto::utf16("Plaintext");
    let mut body = plain.clone();
    let signature = client.seal(&[], &mut body, &[]);
    assert_eq!(body, hex("54e50165bf1936dc996020c1811b0f06fb5f"));
    assert_eq!(signature, bytes("010000007fb38ec5c55d497600000000"));
    server.unseal(&[], &mut body, &[], &signature).unwrap();
    assert_eq!(body, plain);
    // Without key exchange the checksum stays as HMAC made it.
    let mut bare = NtlmContext::new(Role::Client, &[0x55; 16], NegotiateFlags(0xA28A_8233));
    assert_eq!(bare.sign(&[&plain]), bytes("010000007035285 1f2564309 00000000"));
}

#[test]
fn keys_of_3_0() {
    let key = SessionKey::new(&hex("7CD451825D0450D235424E44BA6E78CC"));
    let keys = SessionKeys::derive(Dialect::Smb300, &key, &PreauthHash::START, Some(CipherId::Aes128Ccm));
    assert_eq!(keys.signing.expose(), &bytes("0B7E9C5CAC36C0F6EA9AB275298CEDCE"));
    assert_eq!(keys.application.expose(), &bytes("BB23A4575AA26C721AF525AF15A87B4F"));
    let cipher = keys.cipher.unwrap();
    assert_eq!(cipher.client_to_server.expose(), hex("FAD27796665B313EBB578F388632B4F7"));
    assert_eq!(cipher.server_to_client.expose(), hex("B0F0427F7CEB416D1D9DCC0CD4F99447"));
    let second = SessionKey::new(&hex("4E01A2B313BCF660CC250BEF021AEDE6"));
    assert_eq!(channel_signing_key(Dialect::Smb302, &second, &PreauthHash::START).expose(), &bytes("BA1A17DBBFEC349BCA105563D598952F"));
}

#[test]
fn keys_by_dialect_and_cipher() {
    let key = SessionKey::new(&[7; 32]);
    let old = SessionKeys::derive(Dialect::Smb210, &key, &PreauthHash::START, Some(CipherId::Aes128Gcm));
    assert_eq!((old.signing.expose(), old.application.expose(), old.cipher), (&[7; 16], &[7; 16], None), "2.x has one key and no cipher");
    let derive = |k: &[u8], c| SessionKeys::derive(Dialect::Smb311, &SessionKey::new(k), &PreauthHash::START, Some(c));
    let (long, short) = (derive(&[7; 32], CipherId::Aes256Gcm), derive(&[7; 16], CipherId::Aes256Gcm));
    assert_eq!(long.signing, short.signing, "signing keys come from the first 16 bytes");
    assert_eq!(long.signing, derive(&[7; 32], CipherId::Aes128Gcm).signing, "and do not depend on the cipher");
    let (long, short) = (long.cipher.unwrap(), short.cipher.unwrap());
    assert!(matches!(long.client_to_server, CipherKey::Aes256(_)));
    assert_ne!(long.client_to_server, short.client_to_server, "AES-256 keys come from the whole exported key");
}

/// The logon of the blog's 3.1.1 example, through our acceptor.
#[test]
fn logon_of_3_1_1() {
    let account = || Account { nt_hash: NtHash::of_password("Password01!"), disabled: false };
    assert_eq!(account().nt_hash.expose(), &bytes("7C4FE5EADA682714A036E39378362BAB"));
    assert_eq!(v2::nt_owf_v2(&account().nt_hash, "administrator", "SUT311"), bytes("AEE3959B44A815F1EB28C9511B4F533B"));
    let hash = hash_chain();

    // First leg: what we answer differs from Windows in the version alone.
    let name = || "SUT311".to_owned();
    let names = ServerNames { nb_computer: name(), nb_domain: name(), dns_computer: name(), dns_domain: name() };
    let config = Arc::new(AcceptorConfig { names, ..AcceptorConfig::default() });
    let first = security_buffer(&message("ss1_req"), 88, 0x4A);
    let now = FileTime(u64::from_le_bytes(bytes("A1A1F5ADCBAED001")));
    let mut ours = Acceptor::new(config.clone());
    let Step::Continue(answer) = ours.step(&first, bytes("0D1D8BA31179D008"), now, &|_, _| None).unwrap() else { panic!("too early") };
    let theirs = security_buffer(&message("ss1_resp"), 72, 0xB3);
    let blank = |token: &[u8]| {
        let mut challenge = Response::parse(token).unwrap().response_token.unwrap();
        challenge[48..56].fill(0);
        (challenge, token.len(), token[..31].to_vec())
    };
    assert_eq!(blank(&answer), blank(&theirs));

    // Second leg, on Windows' own challenge: proof, key exchange, MIC and both mechListMICs.
    let init = Init::parse(&first).unwrap();
    assert_eq!(init.mech_types, hex("300C060A2B06010401823702020A"));
    let challenge = Response::parse(&theirs).unwrap().response_token.unwrap();
    assert_eq!(Challenge::parse(&challenge).unwrap().server_challenge, bytes("0D1D8BA31179D008"));
    let second = security_buffer(&message("ss2_req"), 88, 0x1CF);
    let parsed = Authenticate::parse(&Response::parse(&second).unwrap().response_token.unwrap()).unwrap();
    assert_eq!(parsed.nt_response[..16], hex("63078EB639FE03E20A231C3AE3BF2308"));
    assert_eq!(parsed.encrypted_session_key, hex("3B9BDFF38F5EE8F9663F11A0F4C03A78"));
    assert_eq!(parsed.mic, Some(bytes("ECAC77A5F385A8BF9C38C706EEEDDCD3")));
    let go_on = || {
        let ntlm = NtlmAcceptor::with_challenge(config.clone(), &init.mech_token.clone().unwrap(), &challenge);
        Acceptor::with_challenge(ntlm, init.mech_types.clone())
    };
    let lookup = |user: &str, domain: &str| (user == "administrator" && domain == "SUT311").then(account);
    let Step::Done(accepted) = go_on().step(&second, [0; 8], now, &lookup).unwrap() else { panic!("not done") };
    let identity = &accepted.identity;
    assert_eq!((identity.user.as_str(), identity.domain.as_str(), identity.workstation.as_str()), ("administrator", "SUT311", "DRIVER311"));
    assert_eq!(identity.kind, LogonKind::User);
    assert_eq!(accepted.session_key.full(), hex("270E1BA896585EEB7AF3472D3B4C75A7"));
    let last = message("final_resp");
    assert_eq!(accepted.token, security_buffer(&last, 72, 0x1D), "accept-completed with our mechListMIC");

    // A flipped bit anywhere is noticed, but for the client's negState, which nothing protects and nobody needs.
    const NEG_STATE: usize = 12;
    for at in (0..second.len()).filter(|&at| at != NEG_STATE) {
        let mut bad = second.clone();
        bad[at] ^= 1;
        assert!(go_on().step(&bad, [0; 8], now, &lookup).is_err(), "byte {at}");
    }

    // Keys, and the signature of the last response.
    let keys = SessionKeys::derive(Dialect::Smb311, &accepted.session_key, &hash, Some(CipherId::Aes128Gcm));
    assert_eq!(keys.signing.expose(), &bytes("73FE7A9A77BEF0BDE49C650D8CCB5F76"));
    assert_eq!(keys.application.expose(), &bytes("6D7AD7954E9EC61E907B4D473DC178FF"));
    let cipher = keys.cipher.clone().unwrap();
    assert_eq!(cipher.client_to_server.expose(), hex("629BCBC54422A0F572B97F45989B6073"));
    assert_eq!(cipher.server_to_client.expose(), hex("E2AF0DCEFAC68DA71A0DFBD0D1350D74"));
    let cmac = keys.signing_key(SigningAlgorithm::AesCmac);
    let mut signed = last.clone();
    assert!(cmac.verify(&mut signed, Role::Server) && cmac.verify_shared(&signed, Role::Server));
    assert_eq!(signed, last, "verifying leaves the message as it was");
    signed[48..64].fill(0xEE);
    cmac.sign(&mut signed, Role::Server);
    assert_eq!(signed, last);
    // Self-made: the same with GMAC.
    keys.signing_key(SigningAlgorithm::AesGmac).sign(&mut signed, Role::Server);
    assert_eq!(signed[48..64], hex("75D05BAC99FF7FCC52A44C354381D559"));
}

#[test]
fn second_channel_of_3_1_1() {
    let hash =
        "EA3BF912B11CBFEC5B1889E8209614218687F82FA5294521AD3063425E49E88A10BD022124CE25123BC9111F52D9566BA88BF46344E6063DC5E3FF0389026F6C";
    let key = SessionKey::new(&hex("84B9DBB730116A8FA6E9889555C265F9"));
    let signing = channel_signing_key(Dialect::Smb311, &key, &PreauthHash::from_bytes(bytes(hash)));
    assert_eq!(signing.expose(), &bytes("C962BCA1A9DD1697B030644199705431"));
}

#[test]
fn sealing_ccm_3_0() {
    let key = SessionKey::new(&hex("B4546771B515F766A86735532DD6C4F0"));
    let keys = SessionKeys::derive(Dialect::Smb300, &key, &PreauthHash::START, Some(CipherId::Aes128Ccm)).cipher.unwrap();
    assert_eq!(keys.client_to_server.expose(), hex("261B72350558F2E9DCF613070383EDBF"));
    assert_eq!(keys.server_to_client.expose(), hex("8FE2B57EC34D2DB5B1A9727F526BBDB5"));
    let plain = hex(include_str!("seal_ccm_plain.hex"));
    // The example fills all 16 bytes of the Nonce field; only the cipher's 11 are ours to choose, but all 16 are authenticated.
    let mut packet = hex("FD534D42 81A286535415445DAE393921E44FA42E 66E69A111892584FB5ED524A744DA3EE 87000000 0000 0100 1100001400E40800");
    let aad = packet[20..].to_vec();
    let mut body = plain.clone();
    let sealing = keys.encryption(Role::Client);
    let tag = sealing.seal_for_test(&bytes("66E69A111892584FB5ED524A744DA3EE"), &aad, &mut body);
    assert_eq!(tag, bytes("81A286535415445DAE393921E44FA42E"));
    assert_eq!(body[..16], hex("25C8FEE16605A437832D1CD52DA9F464"));
    packet.extend_from_slice(&body);
    let header = keys.decryption(Role::Server).decrypt(&mut packet).unwrap();
    assert_eq!((header.session_id, header.original_message_size), (0x0008_E400_1400_0011, 135));
    assert_eq!(packet[TRANSFORM_HEADER_LENGTH..], plain);
}

#[test]
fn sealing_gcm_3_1_1() {
    let hash =
        "B23F3CBFD69487D9832B79B1594A367CDD950909B774C3A4C412B4FCEA9EDDDBA7DB256BA2EA30E977F11F9B113247578E0E915C6D2A513B8F2FCA5707DC8770";
    let key = SessionKey::new(&hex("419FDDF34C1E001909D362AE7FB6AF79"));
    let keys = SessionKeys::derive(Dialect::Smb311, &key, &PreauthHash::from_bytes(bytes(hash)), Some(CipherId::Aes128Gcm)).cipher.unwrap();
    assert_eq!(keys.client_to_server.expose(), hex("A2F5E80E5D59103034F32E52F698E5EC"));
    assert_eq!(keys.server_to_client.expose(), hex("748C50868C90F302962A5C35F5F9A8BF"));
    let plain = hex(include_str!("seal_gcm_plain.hex"));
    let nonce = SealNonce::assume_unique(bytes("C7D6822D269CAF48904C664C00000000"));
    let mut packet = keys.encryption(Role::Client).encrypt_copy(&plain, 0x0000_1000_0000_0025, nonce).unwrap();
    let expected = "FD534D42 BD73D97D2BC9001BCAFAC0FDFF5FEEBC C7D6822D269CAF48904C664C00000000 87000000 0000 0100 2500000000100000 6ECDD2A7AFC7B47763057A041B8FD4DA";
    assert_eq!(packet[..TRANSFORM_HEADER_LENGTH + 16], hex(expected));
    keys.decryption(Role::Server).decrypt(&mut packet).unwrap();
    assert_eq!(packet[TRANSFORM_HEADER_LENGTH..], plain);
}

/// Connections are served by many threads: what a session keeps must be movable, and its keys shared.
#[test]
fn keys_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    fn movable<T: Send>() {}
    shared::<SigningKey>();
    shared::<SealingKey>();
    shared::<NonceSequence>();
    shared::<SessionKeys>();
    movable::<Acceptor>();
    movable::<Initiator>();
    movable::<NtlmContext>();
}

/// The hash after SESSION_SETUP's last request, every step checked.
fn hash_chain() -> PreauthHash {
    let mut hash = PreauthHash::START;
    for (name, expected) in [
        (
            "neg_req",
            "DD94EFC5321BB618A2E208BA8920D2F422992526947A409B5037DE1E0FE8C7362B8C47122594CDE0CE26AA9DFC8BCDBDE0621957672623351A7540F1E54A0426",
        ),
        (
            "neg_resp",
            "324BFA92A4F3A190E466EBEA08D9C110DC88BFED758D9846ECC6F541CC1D02AE3C94A79F36011E997E13F841B91B50957AD07B19C8E2539C0B23FDAE09D2C513",
        ),
        (
            "ss1_req",
            "AC0B0F2B9986257700365E416D142A6EDC96DF03594A19E52A15F6BD0D041CD5D432F8ED42C55E33197A50C9EC00F1462B50C592211B1471A04B56088FDFD5F9",
        ),
        (
            "ss1_resp",
            "2729E3440DFDDD839E37193F6E8F20C20CEFB3469E453A70CD980EEC06B8835740A73760085633364C8989895ECE81BF102DEEB14D4B7D48AFA76901A7A38387",
        ),
        (
            "ss2_req",
            "0DD13628CC3ED218EF9DF9772D436D0887AB9814BFAE63A80AA845F36909DB7928622DDDAD522D9751640A459762C5A9D6BB084CBB3CE6BDADEF5D5BCE3C6C01",
        ),
    ] {
        hash.update(&message(name));
        assert_eq!(hash.value(), &bytes(expected), "{name}");
    }
    hash
}

/// A message of the example logon.
fn message(name: &str) -> Vec<u8> {
    hex(match name {
        "neg_req" => include_str!("logon_neg_req.hex"),
        "neg_resp" => include_str!("logon_neg_resp.hex"),
        "ss1_req" => include_str!("logon_ss1_req.hex"),
        "ss1_resp" => include_str!("logon_ss1_resp.hex"),
        "ss2_req" => include_str!("logon_ss2_req.hex"),
        "final_resp" => include_str!("logon_final_resp.hex"),
        other => panic!("no message {other}"),
    })
}

fn security_buffer(message: &[u8], offset: usize, length: usize) -> Vec<u8> {
    message[offset..offset + length].to_vec()
}

/// Bytes from hexadecimal digits; white space is skipped.
fn hex(s: &str) -> Vec<u8> {
    let digits: Vec<_> = s.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|d| u8::try_from(d[0] << 4 | d[1]).unwrap()).collect()
}

fn bytes<const N: usize>(s: &str) -> [u8; N] {
    hex(s).try_into().unwrap()
}
