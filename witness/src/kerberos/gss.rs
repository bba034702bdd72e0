//! The few calls of GSSAPI that a security context of DCE/RPC needs, made safe: whatever the library gives is owned here and given back.
//! Knows nothing of RPC. Documented in RFC 2743, RFC 4121 and MIT's `gssapi_ext.h`.
#![allow(unsafe_code, reason = "GSSAPI is a C library")]

use std::ffi::CString;
use std::ptr;

use libgssapi_sys as sys;

const KERBEROS_OID: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x12, 0x01, 0x02, 0x02];
const SPNEGO_OID: &[u8] = &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x02];
/// GSS_C_NT_HOSTBASED_SERVICE.
const HOST_SERVICE_OID: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x12, 0x01, 0x02, 0x01, 0x04];

/// What the library says went wrong, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {text}")]
pub struct GssError {
    call: &'static str,
    text: String,
}

/// A mechanism, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    /// Kerberos alone.
    Kerberos,
    /// SPNEGO, which takes Kerberos.
    Spnego,
}

/// One leg of an authentication.
pub(super) enum Leg {
    /// The peer has to answer this token.
    Continue(Vec<u8>),
    /// Both know each other; a last token for the peer, if not empty.
    Done(Vec<u8>),
}

fn check(call: &'static str, major: sys::OM_uint32, minor: sys::OM_uint32) -> Result<(), GssError> {
    // The two upper bytes are errors, the lower ones say more of a success.
    if major >> 16 == 0 {
        return Ok(());
    }
    let code_of_call = status_text(major, sys::GSS_C_GSS_CODE);
    let code_of_mechanism = if minor == 0 { String::new() } else { status_text(minor, sys::GSS_C_MECH_CODE) };
    let text = [code_of_call, code_of_mechanism].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ");
    Err(GssError { call, text })
}

fn status_text(status: sys::OM_uint32, kind: u32) -> String {
    let mut texts = Vec::new();
    let mut more = 0;
    loop {
        let mut minor = 0;
        let mut buffer = Output::empty();
        let kind = std::ffi::c_int::try_from(kind).expect("1 or 2");
        // SAFETY: every pointer is to a value of this frame; no mechanism is named; `buffer` is released by its drop.
        let major = unsafe { sys::gss_display_status(&raw mut minor, status, kind, ptr::null_mut(), &raw mut more, &raw mut buffer.0) };
        if major >> 16 != 0 {
            break;
        }
        texts.push(String::from_utf8_lossy(buffer.bytes()).into_owned());
        if more == 0 {
            break;
        }
    }
    texts.join(", ")
}

/// A buffer that the library has filled.
struct Output(sys::gss_buffer_desc);

impl Output {
    const fn empty() -> Self {
        Self(sys::gss_buffer_desc { length: 0, value: ptr::null_mut() })
    }

    fn bytes(&self) -> &[u8] {
        if self.0.value.is_null() {
            return &[];
        }
        // SAFETY: the library says that so many bytes are there, and they stay until the drop.
        unsafe { std::slice::from_raw_parts(self.0.value.cast::<u8>(), self.0.length) }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: filled by the library or empty, and released once.
        unsafe { sys::gss_release_buffer(&raw mut minor, &raw mut self.0) };
    }
}

/// A buffer that the library reads.
fn input(bytes: &[u8]) -> sys::gss_buffer_desc {
    sys::gss_buffer_desc { length: bytes.len(), value: bytes.as_ptr().cast_mut().cast() }
}

fn oid(bytes: &'static [u8]) -> sys::gss_OID_desc {
    let length = sys::OM_uint32::try_from(bytes.len()).expect("a few bytes");
    sys::gss_OID_desc { length, elements: bytes.as_ptr().cast_mut().cast() }
}

/// A name of the library.
pub(super) struct Name(sys::gss_name_t);

// SAFETY: a name is not changed once it is made.
unsafe impl Send for Name {}

impl Name {
    /// The service of a host, `service@host`.
    pub(super) fn of_service(service: &str) -> Result<Self, GssError> {
        let mut minor = 0;
        let mut name = ptr::null_mut();
        let mut text = input(service.as_bytes());
        let mut kind = oid(HOST_SERVICE_OID);
        // SAFETY: every pointer is to a value of this frame or static; the library copies what it keeps.
        let major = unsafe { sys::gss_import_name(&raw mut minor, &raw mut text, &raw mut kind, &raw mut name) };
        check("gss_import_name", major, minor)?;
        Ok(Self(name))
    }

    fn text(&self) -> Result<String, GssError> {
        let mut minor = 0;
        let mut text = Output::empty();
        // SAFETY: the name lives; `text` is released by its drop; the kind of the name is not wanted.
        let major = unsafe { sys::gss_display_name(&raw mut minor, self.0, &raw mut text.0, ptr::null_mut()) };
        check("gss_display_name", major, minor)?;
        Ok(String::from_utf8_lossy(text.bytes()).into_owned())
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: made by the library and released once.
        unsafe { sys::gss_release_name(&raw mut minor, &raw mut self.0) };
    }
}

/// Keys of a service, or tickets of a user.
pub(super) struct Credential(sys::gss_cred_id_t);

// SAFETY: the library guards its credentials by locks of its own (MIT krb5 since 1.10).
unsafe impl Send for Credential {}
// SAFETY: as above.
unsafe impl Sync for Credential {}

impl Credential {
    /// The keys of a keytab, to accept with.
    pub(super) fn of_keytab(path: &str) -> Result<Self, GssError> {
        Self::from("keytab", path, sys::GSS_C_ACCEPT)
    }

    /// The tickets of a cache, to log on with.
    pub(super) fn of_cache(path: &str) -> Result<Self, GssError> {
        Self::from("ccache", path, sys::GSS_C_INITIATE)
    }

    fn from(kind: &str, path: &str, usage: u32) -> Result<Self, GssError> {
        let no_nul =
            |text: String| CString::new(text).map_err(|_| GssError { call: "gss_acquire_cred_from", text: "NUL in a path".into() });
        let (key, value) = (no_nul(kind.to_owned())?, no_nul(format!("FILE:{path}"))?);
        let mut element = sys::gss_key_value_element_desc { key: key.as_ptr(), value: value.as_ptr() };
        let store = sys::gss_key_value_set_desc { count: 1, elements: &raw mut element };
        let mut minor = 0;
        let mut credential = ptr::null_mut();
        let usage = std::ffi::c_int::try_from(usage).expect("1 or 2");
        // SAFETY: every pointer is to a value of this frame; neither a name nor mechanisms are asked for or wanted back.
        let major = unsafe {
            sys::gss_acquire_cred_from(
                &raw mut minor,
                ptr::null_mut(),
                sys::_GSS_C_INDEFINITE,
                ptr::null_mut(),
                usage,
                &raw const store,
                &raw mut credential,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        check("gss_acquire_cred_from", major, minor)?;
        Ok(Self(credential))
    }
}

impl Drop for Credential {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: made by the library and released once.
        unsafe { sys::gss_release_cred(&raw mut minor, &raw mut self.0) };
    }
}

/// One authentication and the protection that it leads to.
pub(super) struct Context(sys::gss_ctx_id_t);

// SAFETY: it is used by one thread at a time, and is bound to none.
unsafe impl Send for Context {}

impl Context {
    pub(super) const fn new() -> Self {
        Self(ptr::null_mut())
    }

    /// Takes the client's token.
    pub(super) fn accept(&mut self, credential: &Credential, token: &[u8]) -> Result<Leg, GssError> {
        let mut minor = 0;
        let mut taken = input(token);
        let mut answer = Output::empty();
        // SAFETY: every pointer is to a value of this frame or to `self`; what is not wanted is null; `answer` is released by its drop.
        let major = unsafe {
            sys::gss_accept_sec_context(
                &raw mut minor,
                &raw mut self.0,
                credential.0,
                &raw mut taken,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
                &raw mut answer.0,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        leg("gss_accept_sec_context", major, minor, &answer)
    }

    /// Takes the server's token, empty at first.
    pub(super) fn initiate(&mut self, credential: &Credential, target: &Name, mechanism: Mechanism, token: &[u8]) -> Result<Leg, GssError> {
        let flags = sys::GSS_C_MUTUAL_FLAG
            | sys::GSS_C_REPLAY_FLAG
            | sys::GSS_C_SEQUENCE_FLAG
            | sys::GSS_C_CONF_FLAG
            | sys::GSS_C_INTEG_FLAG
            | sys::GSS_C_DCE_STYLE;
        let mut wanted = oid(match mechanism {
            Mechanism::Kerberos => KERBEROS_OID,
            Mechanism::Spnego => SPNEGO_OID,
        });
        let mut minor = 0;
        let mut taken = input(token);
        let mut answer = Output::empty();
        // SAFETY: as in `accept`.
        let major = unsafe {
            sys::gss_init_sec_context(
                &raw mut minor,
                credential.0,
                &raw mut self.0,
                target.0,
                &raw mut wanted,
                flags,
                0,
                ptr::null_mut(),
                &raw mut taken,
                ptr::null_mut(),
                &raw mut answer.0,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        leg("gss_init_sec_context", major, minor, &answer)
    }

    /// Who initiated: `user@REALM`.
    pub(super) fn initiator(&self) -> Result<String, GssError> {
        let mut minor = 0;
        let mut name = ptr::null_mut();
        // SAFETY: the context is established (the library checks it); the name is released by `Name`.
        let major = unsafe {
            sys::gss_inquire_context(
                &raw mut minor,
                self.0,
                &raw mut name,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        check("gss_inquire_context", major, minor)?;
        Name(name).text()
    }

    /// Signs.
    pub(super) fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, GssError> {
        let mut minor = 0;
        let mut message = input(message);
        let mut token = Output::empty();
        // SAFETY: the message lives as long as this call; `token` is released by its drop.
        let major = unsafe { sys::gss_get_mic(&raw mut minor, self.0, 0, &raw mut message, &raw mut token.0) };
        check("gss_get_mic", major, minor)?;
        Ok(token.bytes().to_vec())
    }

    /// Checks what the peer has signed.
    pub(super) fn verify(&mut self, message: &[u8], token: &[u8]) -> Result<(), GssError> {
        let mut minor = 0;
        let (mut message, mut token) = (input(message), input(token));
        // SAFETY: both live as long as this call.
        let major = unsafe { sys::gss_verify_mic(&raw mut minor, self.0, &raw mut message, &raw mut token, ptr::null_mut()) };
        check("gss_verify_mic", major, minor)?;
        in_order("gss_verify_mic", major)
    }

    /// Encrypts `body` in place; the token covers all three parts.
    pub(super) fn seal(&mut self, before: &[u8], body: &mut [u8], after: &[u8], token_bytes: usize) -> Result<Vec<u8>, GssError> {
        let mut token = vec![0; token_bytes];
        let mut parts = parts(&mut token, before, body, after);
        let mut minor = 0;
        let mut is_sealed = 0;
        let count = std::ffi::c_int::try_from(parts.len()).expect("four");
        // SAFETY: the parts lie in borrowed memory that outlives this call; those that are only signed are not written.
        let major = unsafe { sys::gss_wrap_iov(&raw mut minor, self.0, 1, 0, &raw mut is_sealed, parts.as_mut_ptr(), count) };
        check("gss_wrap_iov", major, minor)?;
        let length = parts[0].buffer.length;
        if is_sealed == 0 {
            return Err(GssError { call: "gss_wrap_iov", text: "the mechanism does not encrypt".into() });
        }
        token.truncate(length);
        Ok(token)
    }

    /// Decrypts `body` in place and checks all three parts.
    pub(super) fn unseal(&mut self, before: &[u8], body: &mut [u8], after: &[u8], token: &[u8]) -> Result<(), GssError> {
        // It is decrypted in place, too.
        let mut token = token.to_vec();
        let mut parts = parts(&mut token, before, body, after);
        let mut minor = 0;
        let mut was_sealed = 0;
        let count = std::ffi::c_int::try_from(parts.len()).expect("four");
        // SAFETY: as in `seal`.
        let major = unsafe { sys::gss_unwrap_iov(&raw mut minor, self.0, &raw mut was_sealed, ptr::null_mut(), parts.as_mut_ptr(), count) };
        check("gss_unwrap_iov", major, minor)?;
        if was_sealed == 0 {
            return Err(GssError { call: "gss_unwrap_iov", text: "it was not encrypted".into() });
        }
        in_order("gss_unwrap_iov", major)
    }

    /// How long every signature is.
    pub(super) fn sign_bytes(&self) -> Result<usize, GssError> {
        let mut message = [0; 16];
        let mut parts = [part(sys::GSS_IOV_BUFFER_TYPE_DATA, &mut message), part(sys::GSS_IOV_BUFFER_TYPE_MIC_TOKEN, &mut [])];
        let mut minor = 0;
        // SAFETY: nothing is written but the lengths in `parts`.
        let major = unsafe { sys::gss_get_mic_iov_length(&raw mut minor, self.0, 0, parts.as_mut_ptr(), 2) };
        check("gss_get_mic_iov_length", major, minor)?;
        Ok(parts[1].buffer.length)
    }

    /// How long the token of every sealed message is, whose sealed part is a multiple of 16 bytes.
    pub(super) fn seal_bytes(&self) -> Result<usize, GssError> {
        let mut body = [0; 16];
        let mut parts = parts(&mut [], &[], &mut body, &[]);
        let mut minor = 0;
        let mut is_sealed = 0;
        let count = std::ffi::c_int::try_from(parts.len()).expect("four");
        // SAFETY: nothing is written but the lengths in `parts`.
        let major = unsafe { sys::gss_wrap_iov_length(&raw mut minor, self.0, 1, 0, &raw mut is_sealed, parts.as_mut_ptr(), count) };
        check("gss_wrap_iov_length", major, minor)?;
        Ok(parts[0].buffer.length)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: null, or made by the library; deleted once, and no token of its end is wanted.
        unsafe { sys::gss_delete_sec_context(&raw mut minor, &raw mut self.0, ptr::null_mut()) };
    }
}

fn leg(call: &'static str, major: sys::OM_uint32, minor: sys::OM_uint32, answer: &Output) -> Result<Leg, GssError> {
    check(call, major, minor)?;
    let token = answer.bytes().to_vec();
    Ok(if major & sys::_GSS_S_CONTINUE_NEEDED == 0 { Leg::Done(token) } else { Leg::Continue(token) })
}

/// A message that was sent before, or that is missing, is a success with a remark for the library.
fn in_order(call: &'static str, major: sys::OM_uint32) -> Result<(), GssError> {
    let out_of_order = sys::_GSS_S_DUPLICATE_TOKEN | sys::_GSS_S_OLD_TOKEN | sys::_GSS_S_UNSEQ_TOKEN | sys::_GSS_S_GAP_TOKEN;
    if major & out_of_order == 0 { Ok(()) } else { Err(GssError { call, text: "a message was repeated, or one is missing".into() }) }
}

fn part(kind: u32, bytes: &mut [u8]) -> sys::gss_iov_buffer_desc {
    sys::gss_iov_buffer_desc { type_: kind, buffer: sys::gss_buffer_desc { length: bytes.len(), value: bytes.as_mut_ptr().cast() } }
}

/// A message of DCE/RPC: its token first, then the PDU in its order (MS-RPCE 3.3.1.5.2.2).
fn parts(token: &mut [u8], before: &[u8], body: &mut [u8], after: &[u8]) -> [sys::gss_iov_buffer_desc; 4] {
    let signed = |bytes: &[u8]| sys::gss_iov_buffer_desc { type_: sys::GSS_IOV_BUFFER_TYPE_SIGN_ONLY, buffer: input(bytes) };
    [part(sys::GSS_IOV_BUFFER_TYPE_HEADER, token), signed(before), part(sys::GSS_IOV_BUFFER_TYPE_DATA, body), signed(after)]
}
