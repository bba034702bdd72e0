//! Protocol towers of TCP over IPv4 and of named pipes: five floors, not aligned.

use std::net::Ipv4Addr;

use uuid::Uuid;

use crate::syntax::SyntaxId;

const FLOORS: u16 = 5;
const UUID_FLOOR: u8 = 0x0D;
const CONNECTION_ORIENTED: u8 = 0x0B;
const TCP: u8 = 0x07;
const IP: u8 = 0x09;
const NAMED_PIPE: u8 = 0x0F;
const NETBIOS: u8 = 0x11;

/// A tower for an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tower {
    /// The interface.
    pub interface: SyntaxId,
    /// The transfer syntax.
    pub transfer: SyntaxId,
    /// The way there.
    pub transport: Transport,
}

/// The floors under the RPC protocol. In questions their right sides say nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `ncacn_ip_tcp`
    Tcp {
        /// The port.
        port: u16,
        /// The address.
        address: Ipv4Addr,
    },
    /// `ncacn_np`
    NamedPipe {
        /// The pipe, for example `\pipe\srvsvc`.
        pipe: String,
        /// The server, for example `\\FS1`.
        host: String,
    },
}

impl Transport {
    /// TCP, as it is asked for.
    pub const ANY_TCP: Self = Self::Tcp { port: 0, address: Ipv4Addr::UNSPECIFIED };
}

impl Tower {
    /// Reads the octets; `None` if they are malformed or of other protocols.
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let mut rest = octets;
        if u16::from_le_bytes(take(&mut rest, 2)?.try_into().ok()?) != FLOORS {
            return None;
        }
        let interface = syntax_floor(&mut rest)?;
        let transfer = syntax_floor(&mut rest)?;
        let (protocol, _minor) = floor(&mut rest)?;
        let (session, endpoint) = floor(&mut rest)?;
        let (network, address) = floor(&mut rest)?;
        if protocol != [CONNECTION_ORIENTED] {
            return None;
        }
        let transport = match (session, network) {
            ([TCP], [IP]) => {
                let port = u16::from_be_bytes(endpoint.try_into().ok()?);
                Transport::Tcp { port, address: Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?) }
            }
            ([NAMED_PIPE], [NETBIOS]) => Transport::NamedPipe { pipe: text(endpoint)?, host: text(address)? },
            _ => return None,
        };
        Some(Self { interface, transfer, transport })
    }

    /// Writes the octets: 75 for TCP.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = FLOORS.to_le_bytes().to_vec();
        for syntax in [&self.interface, &self.transfer] {
            let mut left = vec![UUID_FLOOR];
            left.extend_from_slice(&syntax.uuid.to_bytes_le());
            left.extend_from_slice(&syntax.major.to_le_bytes());
            put_floor(&mut out, &left, &syntax.minor.to_le_bytes());
        }
        put_floor(&mut out, &[CONNECTION_ORIENTED], &[0, 0]);
        match &self.transport {
            Transport::Tcp { port, address } => {
                put_floor(&mut out, &[TCP], &port.to_be_bytes());
                put_floor(&mut out, &[IP], &address.octets());
            }
            Transport::NamedPipe { pipe, host } => {
                put_floor(&mut out, &[NAMED_PIPE], &with_nul(pipe));
                put_floor(&mut out, &[NETBIOS], &with_nul(host));
            }
        }
        out
    }
}

/// Up to the NUL, which questions may leave out.
fn text(octets: &[u8]) -> Option<String> {
    let end = octets.iter().position(|octet| *octet == 0).unwrap_or(octets.len());
    String::from_utf8(octets[..end].to_vec()).ok()
}

fn with_nul(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
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
        assert_eq!((tower.transfer, &tower.transport), (NDR20, &Transport::Tcp { port: 135, address: Ipv4Addr::UNSPECIFIED }));
        assert_eq!(tower.encode(), golden);
        for length in 0..golden.len() {
            assert_eq!(Tower::decode(&golden[..length]), None);
        }
    }

    #[test]
    fn a_pipe_is_named_with_its_server() {
        let interface = SyntaxId::new(uuid!("4b324fc8-1670-01d3-1278-5a47bf6ee188"), 3, 0);
        let transport = Transport::NamedPipe { pipe: r"\pipe\srvsvc".into(), host: r"\\FS1".into() };
        let tower = Tower { interface, transfer: NDR20, transport };
        let octets = tower.encode();
        assert!(octets.ends_with(b"\x01\0\x0F\x0D\0\\pipe\\srvsvc\0\x01\0\x11\x06\0\\\\FS1\0"));
        assert_eq!(Tower::decode(&octets), Some(tower.clone()));
        // As it is asked for: with empty texts, or with none.
        let asked = Transport::NamedPipe { pipe: String::new(), host: String::new() };
        let question = Tower { transport: asked, ..tower };
        assert_eq!(Tower::decode(&question.encode()), Some(question.clone()));
        let bare = [&question.encode()[..59], b"\x01\0\x0F\0\0\x01\0\x11\0\0"].concat();
        assert_eq!(Tower::decode(&bare), Some(question));
    }
}
