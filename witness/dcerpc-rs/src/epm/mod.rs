//! The endpoint mapper: which port and which pipe serves which interface. The registry is shared with whoever listens; the interface
//! answers `ept_map`, `ept_lookup` and `ept_lookup_handle_free`. Nobody registers over the wire.

mod tower;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures::FutureExt;
use parking_lot::Mutex;
use uuid::{Uuid, uuid};

pub use tower::{Tower, Transport};

use crate::association::ContextHandle;
use crate::client::{Client, ClientError};
use crate::fault::Fault;
use crate::interface::{CallContext, CallFuture, Interface};
use crate::ndr::{NdrError, NdrReader, NdrWriter};
use crate::syntax::{SyntaxId, TransferSyntax};

/// The endpoint mapper's own interface.
pub const EPMAPPER: SyntaxId = SyntaxId::new(uuid!("e1af8308-5d1f-11c9-91a4-08002b14a0fa"), 3, 0);

/// Towers or entries of one answer.
const TOWERS_MAX: usize = 500;
/// Bytes of an annotation without its NUL.
const ANNOTATION_BYTES_MAX: usize = 63;

const STATUS_OK: u32 = 0;
const STATUS_NOT_REGISTERED: u32 = 0x16C9_A0D6;

const OPNUM_LOOKUP: u16 = 2;
const OPNUM_MAP: u16 = 3;
const OPNUM_LOOKUP_HANDLE_FREE: u16 = 4;

/// One registered endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What is served there.
    pub interface: SyntaxId,
    /// Where.
    pub place: Place,
    /// What a list of endpoints says about it.
    pub annotation: String,
}

/// Where an interface is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A TCP port, at whatever address the client has reached us.
    Port(u16),
    /// A named pipe, for example `\pipe\srvsvc`, of the server of this name.
    Pipe {
        /// The pipe.
        pipe: String,
        /// The server, for example `\\FS1`.
        host: String,
    },
}

impl Place {
    fn transport(&self, address: Ipv4Addr) -> Transport {
        match self {
            Self::Port(port) => Transport::Tcp { port: *port, address },
            Self::Pipe { pipe, host } => Transport::NamedPipe { pipe: pipe.clone(), host: host.clone() },
        }
    }

    fn answers(&self, asked: &Transport) -> bool {
        matches!((self, asked), (Self::Port(_), Transport::Tcp { .. }) | (Self::Pipe { .. }, Transport::NamedPipe { .. }))
    }
}

/// The registry: which interface is at which port or pipe of this node.
#[derive(Default)]
pub struct EndpointMap {
    endpoints: Mutex<Vec<Endpoint>>,
}

impl EndpointMap {
    /// An empty registry.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Registers an endpoint; one of the same interface version and the same kind of place is replaced.
    pub fn insert(&self, endpoint: Endpoint) {
        let mut endpoints = self.endpoints.lock();
        let kind = |endpoint: &Endpoint| std::mem::discriminant(&endpoint.place);
        endpoints.retain(|other| other.interface != endpoint.interface || kind(other) != kind(&endpoint));
        endpoints.push(endpoint);
    }

    /// Forgets an interface, wherever it is.
    pub fn remove(&self, interface: &SyntaxId) {
        self.endpoints.lock().retain(|endpoint| endpoint.interface != *interface);
    }

    /// Everything registered, in the order of registration.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.endpoints.lock().clone()
    }
}

/// The interface over a registry.
pub struct EndpointMapper {
    map: Arc<EndpointMap>,
}

impl EndpointMapper {
    /// Answers from this registry.
    pub fn new(map: Arc<EndpointMap>) -> Self {
        Self { map }
    }

    fn dispatch(&self, opnum: u16, stub: &[u8], local: Option<SocketAddr>) -> Result<Vec<u8>, Fault> {
        match opnum {
            OPNUM_MAP => self.map(stub, ipv4_of(local)),
            OPNUM_LOOKUP => self.lookup(stub, ipv4_of(local)),
            OPNUM_LOOKUP_HANDLE_FREE => {
                let mut out = NdrWriter::new(TransferSyntax::Ndr20);
                out.context_handle(ContextHandle::NULL);
                out.u32(STATUS_OK);
                Ok(out.finish())
            }
            // Registration is for the node itself.
            0 | 1 | 5 | 6 | 7 => Err(Fault::ACCESS_DENIED),
            _ => Err(Fault::OPNUM_OUT_OF_RANGE),
        }
    }

    // MS-RPCE 2.2.1.2.5 ept_map
    fn map(&self, stub: &[u8], address: Ipv4Addr) -> Result<Vec<u8>, Fault> {
        let mut reader = NdrReader::new(stub, TransferSyntax::Ndr20);
        if reader.pointer()? {
            let _object = reader.uuid()?;
        }
        let mut wanted = None;
        if reader.pointer()? {
            let max_count = reader.u32()?;
            let length = reader.count(1)?;
            if u32::try_from(length) != Ok(max_count) {
                return Err(NdrError("tower length is not its count").into());
            }
            // A tower of other protocols is a fair question without an answer.
            wanted = Tower::decode(reader.bytes(length)?);
        }
        let _handle = reader.context_handle()?;
        let max_towers = reader.u32()?;
        let room = usize::try_from(max_towers).unwrap_or(usize::MAX).min(TOWERS_MAX);
        let mut towers = Vec::new();
        if let Some(wanted) = wanted {
            let endpoints = self.map.endpoints();
            let serves = |endpoint: &&Endpoint| endpoint.interface.serves(&wanted.interface) && endpoint.place.answers(&wanted.transport);
            let tower = |endpoint: &Endpoint| Tower { transport: endpoint.place.transport(address), ..wanted.clone() };
            towers.extend(endpoints.iter().filter(serves).take(room).map(tower));
        }
        let mut out = NdrWriter::new(TransferSyntax::Ndr20);
        out.context_handle(ContextHandle::NULL);
        out.length(towers.len());
        out.u32(max_towers);
        out.u32(0);
        out.length(towers.len());
        for _ in &towers {
            out.pointer(true);
        }
        for tower in &towers {
            write_tower(&mut out, tower);
        }
        out.u32(if towers.is_empty() { STATUS_NOT_REGISTERED } else { STATUS_OK });
        Ok(out.finish())
    }

    // MS-RPCE 2.2.1.2.4 ept_lookup
    fn lookup(&self, stub: &[u8], address: Ipv4Addr) -> Result<Vec<u8>, Fault> {
        let mut reader = NdrReader::new(stub, TransferSyntax::Ndr20);
        let inquiry = reader.u32()?;
        let object = if reader.pointer()? { reader.uuid()? } else { Uuid::nil() };
        let interface = if reader.pointer()? {
            let uuid = reader.uuid()?;
            Some(SyntaxId::new(uuid, reader.u16()?, reader.u16()?))
        } else {
            None
        };
        let version_option = reader.u32()?;
        let handle = reader.context_handle()?;
        let start = position_of(&handle).ok_or(Fault::CONTEXT_MISMATCH)?;
        let max_entries = reader.u32()?;
        let by_interface = matches!(inquiry, 1 | 3);
        let by_object = matches!(inquiry, 2 | 3);
        let room = usize::try_from(max_entries).unwrap_or(usize::MAX).min(TOWERS_MAX);
        let mut entries = self.map.endpoints();
        entries.retain(|endpoint| {
            let fits = interface.is_none_or(|wanted| version_fits(&endpoint.interface, &wanted, version_option));
            (!by_interface || fits) && (!by_object || object.is_nil())
        });
        entries.drain(..start.min(entries.len()));
        let is_last = entries.len() < room;
        entries.truncate(room);
        let mut out = NdrWriter::new(TransferSyntax::Ndr20);
        // Clients ask on with the handle until it comes back null: with fewer entries than they asked for. One that got
        // as many as it asked for asks once more and is told that there are none.
        out.context_handle(if is_last { ContextHandle::NULL } else { handle_at(start + entries.len()) });
        out.length(entries.len());
        out.u32(max_entries);
        out.u32(0);
        out.length(entries.len());
        for entry in &entries {
            out.uuid(Uuid::nil());
            out.pointer(true);
            let annotation: Vec<u8> = entry.annotation.bytes().take(ANNOTATION_BYTES_MAX).collect();
            out.u32(0);
            out.length(annotation.len() + 1);
            out.bytes(&annotation);
            out.u8(0);
            out.align(4);
        }
        for entry in &entries {
            let transport = entry.place.transport(address);
            write_tower(&mut out, &Tower { interface: entry.interface, transfer: crate::syntax::NDR20, transport });
        }
        out.u32(if entries.is_empty() { STATUS_NOT_REGISTERED } else { STATUS_OK });
        Ok(out.finish())
    }
}

impl Interface for EndpointMapper {
    fn syntax(&self) -> SyntaxId {
        EPMAPPER
    }

    fn call(&self, opnum: u16, stub: Vec<u8>, context: CallContext) -> CallFuture {
        let result = self.dispatch(opnum, &stub, context.local);
        std::future::ready(result).boxed()
    }
}

/// The upper half of a lookup handle; the lower half is the position, so that a lookup keeps nothing with us.
const LOOKUP_HANDLE: u64 = 0x6570_745f_6c6f_6f6b;

fn handle_at(position: usize) -> ContextHandle {
    let position = u64::try_from(position).expect("positions are small");
    ContextHandle { attributes: 0, uuid: Uuid::from_u64_pair(LOOKUP_HANDLE, position) }
}

fn position_of(handle: &ContextHandle) -> Option<usize> {
    if handle.is_null() {
        return Some(0);
    }
    let (kind, position) = handle.uuid.as_u64_pair();
    if kind == LOOKUP_HANDLE { usize::try_from(position).ok() } else { None }
}

fn write_tower(out: &mut NdrWriter, tower: &Tower) {
    let octets = tower.encode();
    out.length(octets.len());
    out.length(octets.len());
    out.bytes(&octets);
    out.align(4);
}

fn version_fits(ours: &SyntaxId, wanted: &SyntaxId, option: u32) -> bool {
    if ours.uuid != wanted.uuid {
        return false;
    }
    match option {
        // Peers number the options from 0 or from 1; "all" is the first of both, "up to" the last.
        0 | 1 => true,
        2 => ours.serves(wanted),
        3 => ours == wanted,
        4 => ours.major == wanted.major,
        _ => (ours.major, ours.minor) <= (wanted.major, wanted.minor),
    }
}

/// The address that the client came to; for an IPv6 client none, it keeps its host and takes the port.
fn ipv4_of(local: Option<SocketAddr>) -> Ipv4Addr {
    match local.map(|local| local.ip().to_canonical()) {
        Some(IpAddr::V4(address)) => address,
        Some(IpAddr::V6(_)) | None => Ipv4Addr::UNSPECIFIED,
    }
}

/// Asks the mapper at this address for the port of an interface.
pub async fn resolve(mapper: SocketAddr, interface: SyntaxId) -> Result<SocketAddr, ClientError> {
    let client = Client::connect(mapper, EPMAPPER, None).await?;
    let answer = client.call(OPNUM_MAP, question(interface, Transport::ANY_TCP)).await?;
    let port = read_map_answer(&answer).map_err(|_| ClientError::Protocol("answer of the endpoint mapper is malformed"))?;
    let port = port.ok_or(ClientError::NotRegistered)?;
    Ok(SocketAddr::new(mapper.ip(), port))
}

/// The stub of ept_map, as Windows asks: with an object that is nil, and for four towers.
fn question(interface: SyntaxId, transport: Transport) -> Vec<u8> {
    let mut stub = NdrWriter::new(TransferSyntax::Ndr20);
    stub.pointer(true);
    stub.uuid(Uuid::nil());
    stub.pointer(true);
    write_tower(&mut stub, &Tower { interface, transfer: crate::syntax::NDR20, transport });
    stub.context_handle(ContextHandle::NULL);
    stub.u32(4);
    stub.finish()
}

fn read_map_answer(stub: &[u8]) -> Result<Option<u16>, NdrError> {
    let mut reader = NdrReader::new(stub, TransferSyntax::Ndr20);
    reader.context_handle()?;
    let towers = reader.u32()?;
    let _max = reader.u32()?;
    let _offset = reader.u32()?;
    let actual = reader.count(4)?;
    for _ in 0..actual {
        reader.pointer()?;
    }
    let mut port = None;
    for _ in 0..actual {
        let _max = reader.u32()?;
        let length = reader.count(1)?;
        let tower = Tower::decode(reader.bytes(length)?);
        if let Some(Tower { transport: Transport::Tcp { port: found, .. }, .. }) = tower {
            port = port.or(Some(found));
        }
    }
    let status = reader.u32()?;
    Ok(if status == STATUS_OK && towers > 0 { port } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookup_goes_on_until_its_handle_is_null() {
        let map = EndpointMap::new();
        for number in 1..=3 {
            let interface = SyntaxId::new(Uuid::from_u128(number), 1, 0);
            map.insert(Endpoint { interface, place: Place::Port(135), annotation: format!("number {number}") });
        }
        let mapper = EndpointMapper::new(map);
        let ask = |handle, max_entries| {
            let mut out = NdrWriter::new(TransferSyntax::Ndr20);
            out.u32(0);
            out.pointer(false);
            out.pointer(false);
            out.u32(1);
            out.context_handle(handle);
            out.u32(max_entries);
            let answer = mapper.dispatch(OPNUM_LOOKUP, &out.finish(), None).unwrap();
            let mut reader = NdrReader::new(&answer, TransferSyntax::Ndr20);
            (reader.context_handle().unwrap(), reader.u32().unwrap(), answer[answer.len() - 4..].to_vec())
        };
        let (handle, count, status) = ask(ContextHandle::NULL, 2);
        assert!(!handle.is_null() && count == 2 && status == STATUS_OK.to_le_bytes());
        let (handle, count, status) = ask(handle, 2);
        assert!(handle.is_null() && count == 1 && status == STATUS_OK.to_le_bytes());
        let (handle, count, _) = ask(ContextHandle::NULL, 3);
        assert!(!handle.is_null() && count == 3);
        let (handle, count, status) = ask(handle, 3);
        assert!(handle.is_null() && count == 0 && status == STATUS_NOT_REGISTERED.to_le_bytes());
        assert_eq!(ask(ContextHandle::NULL, 500).1, 3);
        let stranger = ContextHandle { attributes: 0, uuid: Uuid::from_u128(9) };
        let mut stub = vec![0; 16];
        stub.extend_from_slice(&stranger.uuid.to_bytes_le());
        assert_eq!(
            mapper.dispatch(OPNUM_LOOKUP, &[vec![0; 16], vec![0; 4], stub[16..].to_vec(), vec![1, 0, 0, 0]].concat(), None),
            Err(Fault::CONTEXT_MISMATCH)
        );
    }

    #[test]
    fn a_question_for_a_pipe_is_answered_with_the_pipe() {
        let map = EndpointMap::new();
        let interface = SyntaxId::new(uuid!("4b324fc8-1670-01d3-1278-5a47bf6ee188"), 3, 0);
        let pipe = Place::Pipe { pipe: r"\pipe\srvsvc".into(), host: r"\\FS1".into() };
        let server = |place| Endpoint { interface, place, annotation: "server".into() };
        map.insert(server(pipe.clone()));
        let mapper = EndpointMapper::new(Arc::clone(&map));
        let ask = |transport| mapper.dispatch(OPNUM_MAP, &question(interface, transport), None).unwrap();
        let any_pipe = Transport::NamedPipe { pipe: String::new(), host: String::new() };
        let octets = Tower { interface, transfer: crate::syntax::NDR20, transport: pipe.transport(Ipv4Addr::UNSPECIFIED) }.encode();
        assert!(ask(any_pipe.clone()).windows(octets.len()).any(|part| part == octets));
        assert_eq!(read_map_answer(&ask(Transport::ANY_TCP)), Ok(None), "it has no port");
        map.insert(server(Place::Port(4711)));
        assert_eq!(map.endpoints().len(), 2);
        assert_eq!(read_map_answer(&ask(Transport::ANY_TCP)), Ok(Some(4711)));
        assert!(ask(any_pipe).windows(octets.len()).any(|part| part == octets));
        map.remove(&interface);
        assert!(map.endpoints().is_empty());
    }

    #[test]
    fn map_answers_with_our_port_and_address() {
        let map = EndpointMap::new();
        let interface = SyntaxId::new(uuid!("ccd8c074-d0e5-4a40-92b4-d074faa6ba28"), 1, 1);
        map.insert(Endpoint { interface, place: Place::Port(135), annotation: "witness".into() });
        let mapper = EndpointMapper::new(map);
        let local = Some("192.0.2.1:135".parse().unwrap());
        let answer = mapper.dispatch(OPNUM_MAP, &question(interface, Transport::ANY_TCP), local).unwrap();
        let mut expected = vec![0; 20];
        expected.extend_from_slice(&[1, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0, 75, 0, 0, 0, 75, 0, 0, 0]);
        let transport = Transport::Tcp { port: 135, address: Ipv4Addr::new(192, 0, 2, 1) };
        expected.extend_from_slice(&Tower { interface, transfer: crate::syntax::NDR20, transport }.encode());
        expected.extend_from_slice(&[0; 5]);
        assert_eq!(answer, expected);
        assert_eq!(read_map_answer(&answer), Ok(Some(135)));
        let answer = mapper.dispatch(OPNUM_MAP, &question(EPMAPPER, Transport::ANY_TCP), local).unwrap();
        assert_eq!(answer[20..], [0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xD6, 0xA0, 0xC9, 0x16]);
        assert_eq!(mapper.dispatch(OPNUM_MAP, &[1; 30], local), Err(Fault::BAD_STUB_DATA));
        assert_eq!(mapper.dispatch(99, &[], local), Err(Fault::OPNUM_OUT_OF_RANGE));
    }
}
