//! NegTokenInit, NegTokenInit2 and NegTokenResp.

use crate::AuthError;
use crate::spnego::der::{BAD, Reader, element, only};

/// Most mechanisms a client may list.
pub(crate) const MECHANISMS_MAX: usize = 32;

const TAG_OCTET_STRING: u8 = 0x04;
const TAG_OID: u8 = 0x06;
const TAG_ENUMERATED: u8 = 0x0A;
const TAG_GENERAL_STRING: u8 = 0x1B;
const TAG_SEQUENCE: u8 = 0x30;
/// [APPLICATION 0]: what the initial token is wrapped in.
pub(crate) const TAG_INITIAL: u8 = 0x60;
/// NegTokenResp, as a choice of NegotiationToken.
pub(crate) const TAG_RESPONSE: u8 = 0xA1;

/// Context tag `[n]`, constructed.
const fn context(n: u8) -> u8 {
    0xA0 | n
}

const OID_SPNEGO: &[u8] = &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x02];
const OID_NTLM: &[u8] = &[0x2B, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x0A];
const OID_NEGOEX: &[u8] = &[0x2B, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x1E];
const OID_KERBEROS: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x12, 0x01, 0x02, 0x02];
const OID_MS_KERBEROS: &[u8] = &[0x2A, 0x86, 0x48, 0x82, 0xF7, 0x12, 0x01, 0x02, 0x02];
/// What a server's hint says in place of a host name.
const HINT_NAME: &[u8] = b"not_defined_in_RFC4178@please_ignore";

/// A security mechanism that SPNEGO can name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mechanism {
    /// NTLM.
    Ntlm,
    /// Kerberos 5.
    Kerberos,
    /// Kerberos 5 under the OID of Windows 2000.
    MsKerberos,
    /// NegoEx.
    NegoEx,
    /// Any other.
    Other,
}

impl Mechanism {
    /// The mechanism with this OID.
    #[must_use]
    pub fn from_oid(oid: &[u8]) -> Self {
        match oid {
            OID_NTLM => Self::Ntlm,
            OID_KERBEROS => Self::Kerberos,
            OID_MS_KERBEROS => Self::MsKerberos,
            OID_NEGOEX => Self::NegoEx,
            _ => Self::Other,
        }
    }

    /// Its OID, without tag and length; empty for `Other`.
    #[must_use]
    pub const fn oid(self) -> &'static [u8] {
        match self {
            Self::Ntlm => OID_NTLM,
            Self::Kerberos => OID_KERBEROS,
            Self::MsKerberos => OID_MS_KERBEROS,
            Self::NegoEx => OID_NEGOEX,
            Self::Other => &[],
        }
    }
}

/// The mechanism that a client's first token prefers, and whose token it may hold. `None` for anything but such a token.
#[must_use]
pub fn first_choice(token: &[u8]) -> Option<Mechanism> {
    Init::parse(token).ok()?.mechanisms.first().copied()
}

/// negState of NegTokenResp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NegState {
    /// 0.
    AcceptCompleted,
    /// 1.
    AcceptIncomplete,
    /// 2.
    Reject,
    /// 3: as incomplete, and a mechListMIC is needed.
    RequestMic,
}

impl NegState {
    const fn from_wire(v: u8) -> Option<Self> {
        Some(match v {
            0 => Self::AcceptCompleted,
            1 => Self::AcceptIncomplete,
            2 => Self::Reject,
            3 => Self::RequestMic,
            _ => return None,
        })
    }

    const fn to_wire(self) -> u8 {
        match self {
            Self::AcceptCompleted => 0,
            Self::AcceptIncomplete => 1,
            Self::Reject => 2,
            Self::RequestMic => 3,
        }
    }
}

/// A client's first token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Init {
    /// In the client's order of preference.
    pub(crate) mechanisms: Vec<Mechanism>,
    /// The SEQUENCE OF OID exactly as it came: what mechListMIC is made over.
    pub(crate) mech_types: Vec<u8>,
    /// A token for the first mechanism.
    pub(crate) mech_token: Option<Vec<u8>>,
}

impl Init {
    /// Reads a NegTokenInit or NegTokenInit2 in its GSS wrapping.
    // MS-SPNG 2.2.1
    pub(crate) fn parse(token: &[u8]) -> Result<Self, AuthError> {
        let mut outer = Reader::new(only(token, TAG_INITIAL)?);
        if outer.expect(TAG_OID)? != OID_SPNEGO {
            return Err(BAD);
        }
        let mut fields = Reader::new(only(outer.expect(context(0))?, TAG_SEQUENCE)?);
        let mut init = Self { mechanisms: Vec::new(), mech_types: Vec::new(), mech_token: None };
        while !fields.is_empty() {
            let field = fields.next()?;
            if field.tag == context(0) {
                init.read_mech_types(field.content)?;
            } else if field.tag == context(2) {
                init.mech_token = Some(only(field.content, TAG_OCTET_STRING)?.to_vec());
            }
            // reqFlags, negHints and a first token's mechListMIC say nothing we need.
        }
        if init.mechanisms.is_empty() { Err(BAD) } else { Ok(init) }
    }

    fn read_mech_types(&mut self, wrapped: &[u8]) -> Result<(), AuthError> {
        let mut list = Reader::new(only(wrapped, TAG_SEQUENCE)?);
        self.mech_types = wrapped.to_vec();
        self.mechanisms.clear();
        while !list.is_empty() {
            if self.mechanisms.len() == MECHANISMS_MAX {
                return Err(BAD);
            }
            self.mechanisms.push(Mechanism::from_oid(list.expect(TAG_OID)?));
        }
        Ok(())
    }

    /// Builds a client's first token.
    pub(crate) fn new(mechanisms: &[Mechanism], mech_token: Option<Vec<u8>>) -> Self {
        Self { mechanisms: mechanisms.to_vec(), mech_types: mech_types(mechanisms), mech_token }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let types = element(context(0), &[&self.mech_types]);
        let token = self.mech_token.as_ref().map_or_else(Vec::new, |t| element(context(2), &[&element(TAG_OCTET_STRING, &[t])]));
        wrap_initial(&[&types, &token])
    }
}

/// The token a server puts into its NEGOTIATE response: it speaks NTLM.
// MS-SPNG 2.2.1 (NegTokenInit2)
#[must_use]
pub fn server_hint() -> Vec<u8> {
    let types = element(context(0), &[&mech_types(&[Mechanism::Ntlm])]);
    let name = element(context(0), &[&element(TAG_GENERAL_STRING, &[HINT_NAME])]);
    let hints = element(context(3), &[&element(TAG_SEQUENCE, &[&name])]);
    wrap_initial(&[&types, &hints])
}

fn wrap_initial(fields: &[&[u8]]) -> Vec<u8> {
    let inner = element(context(0), &[&element(TAG_SEQUENCE, fields)]);
    element(TAG_INITIAL, &[&element(TAG_OID, &[OID_SPNEGO]), &inner])
}

fn mech_types(mechanisms: &[Mechanism]) -> Vec<u8> {
    let oids: Vec<_> = mechanisms.iter().map(|m| element(TAG_OID, &[m.oid()])).collect();
    element(TAG_SEQUENCE, &oids.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// Every token but the first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Response {
    pub(crate) state: Option<NegState>,
    pub(crate) supported_mech: Option<Mechanism>,
    pub(crate) response_token: Option<Vec<u8>>,
    pub(crate) mech_list_mic: Option<Vec<u8>>,
}

impl Response {
    /// Reads a NegTokenResp.
    // MS-SPNG 2.2.2
    pub(crate) fn parse(token: &[u8]) -> Result<Self, AuthError> {
        let mut fields = Reader::new(only(only(token, TAG_RESPONSE)?, TAG_SEQUENCE)?);
        let mut out = Self::default();
        while !fields.is_empty() {
            let field = fields.next()?;
            match field.tag & 0x1F {
                _ if field.tag & 0xE0 != context(0) => return Err(BAD),
                0 => {
                    let [v] = *only(field.content, TAG_ENUMERATED)? else { return Err(BAD) };
                    out.state = Some(NegState::from_wire(v).ok_or(BAD)?);
                }
                1 => out.supported_mech = Some(Mechanism::from_oid(only(field.content, TAG_OID)?)),
                2 => out.response_token = Some(only(field.content, TAG_OCTET_STRING)?.to_vec()),
                3 => out.mech_list_mic = Some(only(field.content, TAG_OCTET_STRING)?.to_vec()),
                _ => {}
            }
        }
        Ok(out)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        if let Some(s) = self.state {
            fields.extend(element(context(0), &[&element(TAG_ENUMERATED, &[&[s.to_wire()]])]));
        }
        if let Some(m) = self.supported_mech {
            fields.extend(element(context(1), &[&element(TAG_OID, &[m.oid()])]));
        }
        if let Some(t) = &self.response_token {
            fields.extend(element(context(2), &[&element(TAG_OCTET_STRING, &[t])]));
        }
        if let Some(m) = &self.mech_list_mic {
            fields.extend(element(context(3), &[&element(TAG_OCTET_STRING, &[m])]));
        }
        element(TAG_RESPONSE, &[&element(TAG_SEQUENCE, &[&fields])])
    }
}
