//! The value of `security.NTACL`: a security descriptor in Samba's NDR layout, so that both servers agree about a file's rights.
//!
//! Version 1 is written: version u16, the union's switch u16, a pointer's referent u32, the descriptor. Versions 1 to 4 are read; what the
//! later ones add (hashes of other access lists, a time) is passed over. Offsets inside the descriptor count from the value's first byte.

/// The name of the extended attribute: only a process with CAP_SYS_ADMIN can change it.
pub(crate) const XATTR_NAME: &str = "security.NTACL";
/// Where descriptors are kept by a process without that capability.
pub(crate) const XATTR_NAME_UNPRIVILEGED: &str = "user.NTACL";

const VERSION: u16 = 1;
const REFERENT: u32 = 0x0002_0000;
/// Length of the descriptor's own header: revision, control, four offsets.
const DESCRIPTOR_HEADER: usize = 20;
/// Where the four offsets stand in it.
const OFFSETS: [usize; 4] = [4, 8, 12, 16];
/// Where version 1 has its descriptor.
const DESCRIPTOR_AT: usize = 8;

/// Wraps a self-relative descriptor; None when it has no header.
pub(crate) fn encode(descriptor: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(DESCRIPTOR_AT + descriptor.len());
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&REFERENT.to_le_bytes());
    out.extend_from_slice(&shifted(descriptor, |offset| offset.checked_add(u32::try_from(DESCRIPTOR_AT).ok()?))?);
    Some(out)
}

/// Gives the self-relative descriptor of a value; None when the value makes no sense.
pub(crate) fn decode(value: &[u8]) -> Option<Vec<u8>> {
    let version = u16::from_le_bytes(bytes(value, 0)?);
    if u16::from_le_bytes(bytes(value, 2)?) != version || u32::from_le_bytes(bytes(value, 4)?) == 0 {
        return None;
    }
    // Behind the outer pointer: the descriptor, or a structure whose first member points to it and that comes first.
    let at = match version {
        1 => DESCRIPTOR_AT,
        2 => DESCRIPTOR_AT + 4 + 16,
        3 => DESCRIPTOR_AT + 4 + 2 + 64,
        4 => {
            let description = DESCRIPTOR_AT + 4 + 2 + 64;
            let length = value.get(description..)?.iter().position(|byte| *byte == 0)?;
            (description + length + 1).next_multiple_of(4) + 8 + 64
        }
        _ => return None,
    };
    let at = at.next_multiple_of(4);
    let shift = u32::try_from(at).ok()?;
    shifted(value.get(at..)?, |offset| offset.checked_sub(shift))
}

/// The descriptor with other offsets; 0 stays 0, for it means that there is no such part.
fn shifted(descriptor: &[u8], shift: impl Fn(u32) -> Option<u32>) -> Option<Vec<u8>> {
    if descriptor.len() < DESCRIPTOR_HEADER {
        return None;
    }
    let mut out = descriptor.to_vec();
    for field in OFFSETS {
        let offset = u32::from_le_bytes(bytes(descriptor, field)?);
        if offset != 0 {
            out[field..field + 4].copy_from_slice(&shift(offset)?.to_le_bytes());
        }
    }
    Some(out)
}

fn bytes<const N: usize>(value: &[u8], at: usize) -> Option<[u8; N]> {
    value.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Written by Samba 4.25 (samba.ndr.ndr_pack of xattr.NTACL), all of the same descriptor.
    const DESCRIPTOR: &str = include_str!("ntacl/descriptor.hex");
    const VERSIONS: [&str; 4] =
        [include_str!("ntacl/v1.hex"), include_str!("ntacl/v2.hex"), include_str!("ntacl/v3.hex"), include_str!("ntacl/v4.hex")];

    fn unhex(text: &str) -> Vec<u8> {
        let text = text.trim();
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn what_samba_writes_is_read_and_version_1_is_written_as_samba_does() {
        let descriptor = unhex(DESCRIPTOR);
        for version in VERSIONS {
            assert_eq!(decode(&unhex(version)).unwrap(), descriptor);
        }
        assert_eq!(encode(&descriptor).unwrap(), unhex(VERSIONS[0]));
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_nothing_panics() {
        for version in VERSIONS {
            let good = unhex(version);
            for cut in 0..good.len() {
                let _ = decode(&good[..cut]);
            }
            for at in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 0xff;
                let _ = decode(&bad);
            }
        }
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&unhex(VERSIONS[0])[..12]), None);
        let mut other = unhex(VERSIONS[0]);
        other[0] = 9;
        assert_eq!(decode(&other), None, "version and switch must agree, and be known");
        assert_eq!(encode(&[1, 0, 4]), None);
    }
}
