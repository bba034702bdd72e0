//! The NTLMv2 computations (MS-NLMP 3.3.2), and the MIC.

use smb_types::FileTime;

use crate::crypto::{hmac_md5, utf16};
use crate::ntlm::hash::NtHash;

/// Where the AV pairs start in NTLMv2_CLIENT_CHALLENGE ("temp").
pub(crate) const TEMP_AV_PAIRS: usize = 28;
/// Length of NTProofStr, which precedes temp.
pub(crate) const PROOF_LENGTH: usize = 16;
/// An NT response of this length is NTLMv1's.
pub(crate) const V1_RESPONSE_LENGTH: usize = 24;

/// What a password proves over a challenge.
pub(crate) struct Proof {
    /// NTProofStr.
    pub(crate) nt_proof: [u8; 16],
    /// SessionBaseKey, in NTLMv2 the same as KeyExchangeKey.
    pub(crate) session_base_key: [u8; 16],
}

/// NTOWFv2: the user is upper-cased, the domain taken as typed.
pub(crate) fn nt_owf_v2(hash: &NtHash, user: &str, domain: &str) -> [u8; 16] {
    hmac_md5(hash.expose(), &[&utf16(&uppercase_simple(user)), &utf16(domain)])
}

/// Computes NTProofStr and the base key over a challenge and temp.
pub(crate) fn prove(owf: &[u8; 16], server_challenge: &[u8; 8], temp: &[u8]) -> Proof {
    let nt_proof = hmac_md5(owf, &[server_challenge, temp]);
    Proof { nt_proof, session_base_key: hmac_md5(owf, &[&nt_proof]) }
}

/// Builds temp.
pub(crate) fn temp(time: FileTime, client_challenge: &[u8; 8], av_pairs: &[u8]) -> Vec<u8> {
    let mut out = vec![1, 1, 0, 0, 0, 0, 0, 0];
    out.extend_from_slice(&time.0.to_le_bytes());
    out.extend_from_slice(client_challenge);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(av_pairs);
    out.extend_from_slice(&[0; 4]);
    out
}

/// LMv2: what a client sends beside NTLMv2 when the challenge has no timestamp.
pub(crate) fn lm_v2_response(owf: &[u8; 16], server_challenge: &[u8; 8], client_challenge: &[u8; 8]) -> Vec<u8> {
    let mut out = hmac_md5(owf, &[server_challenge, client_challenge]).to_vec();
    out.extend_from_slice(client_challenge);
    out
}

/// MIC over the three raw messages. `authenticate` has zeros where its MIC belongs, or is replaced there by the caller.
pub(crate) fn mic(exported_session_key: &[u8; 16], negotiate: &[u8], challenge: &[u8], authenticate: &[u8]) -> [u8; 16] {
    hmac_md5(exported_session_key, &[negotiate, challenge, authenticate])
}

/// Upper-cases character by character; one whose upper case is several characters stays as it is, as on Windows.
fn uppercase_simple(s: &str) -> String {
    s.chars()
        .map(|c| {
            let mut upper = c.to_uppercase();
            match (upper.next(), upper.next()) {
                (Some(u), None) => u,
                _ => c,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uppercase_is_simple() {
        assert_eq!(uppercase_simple("jürgen ß ñ"), "JÜRGEN ß Ñ");
    }
}
