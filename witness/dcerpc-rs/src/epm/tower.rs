//! Protocol towers of TCP over IPv4: five floors, not aligned.

use std::net::Ipv4Addr;

use uuid::Uuid;

use crate::syntax::SyntaxId;

const FLOORS: u16 = 5;
const UUID_FLOOR: u8 = 0x0D;
const CONNECTION_ORIENTED: u8 = 0x0B;
const TCP: u8 = 0x07;
const IP: u8 = 0x09;

/// A tower for an interface over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tower {
    /// The interface.
    pub interface: SyntaxId,
    /// The transfer syntax.
    pub transfer: SyntaxId,
    /// The port, 0 in questions.
    pub port: u16,
    /// The address, 0.0.0.0 in questions.
    pub address: Ipv4Addr,
}

impl Tower {
    /// Reads the octets; `None` if they are malformed or of other protocols than TCP over IP.
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let mut rest = octets;
        if u16::from_le_bytes(take(&mut rest, 2)?.try_into().ok()?) != FLOORS {
            return None;
        }
        let interface = syntax_floor(&mut rest)?;
        let transfer = syntax_floor(&mut rest)?;
        let (protocol, _minor) = floor(&mut rest)?;
        let (transport, port) = floor(&mut rest)?;
        let (network, address) = floor(&mut rest)?;
        if protocol != [CONNECTION_ORIENTED] || transport != [TCP] || network != [IP] {
            return None;
        }
        let port = u16::from_be_bytes(port.try_into().ok()?);
        let address = Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?);
        Some(Self { interface, transfer, port, address })
    }

    /// Writes the 75 octets.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = FLOORS.to_le_bytes().to_vec();
        for syntax in [&self.interface, &self.transfer] {
            let mut left = vec![UUID_FLOOR];
            left.extend_from_slice(&syntax.uuid.to_bytes_le());
            left.extend_from_slice(&syntax.major.to_le_bytes());
            put_floor(&mut out, &left, &syntax.minor.to_le_bytes());
        }
        put_floor(&mut out, &[CONNECTION_ORIENTED], &[0, 0]);
        put_floor(&mut out, &[TCP], &self.port.to_be_bytes());
        put_floor(&mut out, &[IP], &self.address.octets());
        out
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(head)
}

fn counted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u16::from_le_bytes(take(rest, 2)?.try_into().ok()?);
    take(rest, usize::from(length))
}

fn floor<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    Some((counted(rest)?, counted(rest)?))
}

fn syntax_floor(rest: &mut &[u8]) -> Option<SyntaxId> {
    let (left, right) = floor(rest)?;
    let [kind, identifier @ ..] = left else { return None };
    if *kind != UUID_FLOOR || identifier.len() != 18 {
        return None;
    }
    let uuid = Uuid::from_bytes_le(identifier[..16].try_into().ok()?);
    let major = u16::from_le_bytes(identifier[16..].try_into().ok()?);
    let minor = u16::from_le_bytes(right.try_into().ok()?);
    Some(SyntaxId::new(uuid, major, minor))
}

fn put_floor(out: &mut Vec<u8>, left: &[u8], right: &[u8]) {
    for side in [left, right] {
        let length = u16::try_from(side.len()).expect("floors are short");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(side);
    }
}

#[cfg(test)]
mod tests {
    use uuid::uuid;

    use super::*;
    use crate::syntax::NDR20;

    #[test]
    fn golden_tower() {
        let text = "05001300 0D74C0D8CCE5D0404A92B4D074FAA6BA280100 02000100 13000D045D888AEB1CC9119FE808002B1048600200 02000000
            01000B02000000 01000702000087 0100090400 00000000";
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let golden: Vec<u8> = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect();
        assert_eq!(golden.len(), 75);
        let tower = Tower::decode(&golden).unwrap();
        assert_eq!(tower.interface, SyntaxId::new(uuid!("ccd8c074-d0e5-4a40-92b4-d074faa6ba28"), 1, 1));
        assert_eq!((tower.transfer, tower.port, tower.address), (NDR20, 135, Ipv4Addr::UNSPECIFIED));
        assert_eq!(tower.encode(), golden);
        for length in 0..golden.len() {
            assert_eq!(Tower::decode(&golden[..length]), None);
        }
    }
}
