//! The attacks: what strangers can do to a node with a socket, each as much as a machine can.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use smb_proto::Command;
use smb_proto::message::change_notify::{ChangeNotifyRequest, CompletionFilter};
use smb_proto::message::create::CreateRequest;
use smb_proto::message::ioctl::IoctlRequest;
use smb_proto::message::lock::LockRequest;
use smb_proto::message::query_directory::QueryDirectoryRequest;
use smb_proto::message::query_info::{InfoType, QueryInfoRequest};
use smb_proto::message::read::ReadRequest;
use smb_proto::message::set_info::SetInfoRequest;
use smb_proto::message::write::WriteRequest;
use smb_types::FileId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::wire::{self, Wire};
use crate::client::{Call, ClientIdentity, Connection, OpenPlan, Session, Tree, Try};
use crate::rng::Rng;

/// Connections that are made at one time.
const AT_ONCE: usize = 64;
/// How long is written to a server that does not read.
const STALL: Duration = Duration::from_millis(300);
/// Longest message that direct TCP can announce beyond what any server takes: 8 MiB.
const LONG_BYTES: usize = 8 << 20;
/// As long as a message may be before a logon.
const LIMIT_BYTES: usize = 64 << 10;

/// Where an attack goes, and what decides its randomness.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) smb: SocketAddr,
    pub(super) seed: u64,
}

/// What an attack leaves: connections that are still open go with it.
#[derive(Default)]
pub(super) struct Left {
    /// Connections that were made.
    pub(super) made: usize,
    pub(super) wires: Vec<Wire>,
    pub(super) sessions: Vec<Session>,
}

/// A source address of many: each has ports of its own, and limits of its own.
pub(super) fn source(number: usize) -> IpAddr {
    let [_, _, high, low] = u32::try_from(number + 1).unwrap_or(1).to_be_bytes();
    IpAddr::from([127, 200, high, low])
}

/// Makes `count` connections, some at one time, each by `make`; those that could be made.
async fn many<T: Send + 'static, F>(count: usize, make: impl Fn(usize) -> F) -> Vec<T>
where
    F: Future<Output = Option<T>> + Send + 'static,
{
    let (mut tasks, mut made, mut next) = (JoinSet::new(), Vec::new(), 0);
    loop {
        while next < count && tasks.len() < AT_ONCE {
            tasks.spawn(make(next));
            next += 1;
        }
        match tasks.join_next().await {
            None => return made,
            Some(done) => made.extend(done.ok().flatten()),
        }
    }
}

/// Connections that say nothing.
pub(super) async fn connections(target: Target, count: usize, per_source: Option<usize>) -> Left {
    let wires = many(count, move |number| async move {
        let from = per_source.map(|each| source(number / each.max(1)));
        Wire::connect(from, target.smb).await.ok()
    });
    let wires = wires.await;
    Left { made: wires.len(), wires, ..Left::default() }
}

/// Connections each with `each` logons that are begun and not ended.
pub(super) async fn half_open_logons(target: Target, count: usize, each: usize) -> Left {
    let wires = many(count, move |_| async move {
        let mut wire = Wire::connect(None, target.smb).await.ok()?;
        if !wire.negotiate().await {
            return None;
        }
        for _ in 0..each {
            wire.begin_logon().await.ok()?;
            wire.receive().await?;
        }
        Some(wire)
    });
    let wires = wires.await;
    Left { made: count, wires, ..Left::default() }
}

/// Wrong passwords for as long as `time`, by `workers` at one time.
pub(super) async fn refused_logons(target: Target, workers: usize, time: Duration) -> Left {
    let until = Instant::now() + time;
    let mut tasks = JoinSet::new();
    for worker in 0..workers {
        tasks.spawn(async move {
            let mut made = 0;
            while Instant::now() < until {
                let Ok(mut wire) = Wire::connect(Some(source(worker)), target.smb).await else { continue };
                made += 1;
                if wire.negotiate().await {
                    // Every second one names a user that there is.
                    let user = if made % 2 == 0 { "guess" } else { "nobody-here" };
                    _ = tokio::time::timeout(until.saturating_duration_since(Instant::now()), wire.refused_logon(user)).await;
                }
            }
            made
        });
    }
    let mut made = 0;
    while let Some(done) = tasks.join_next().await {
        made += done.unwrap_or(0);
    }
    Left { made, ..Left::default() }
}

/// Messages of 8 MiB before a logon: half of them announced with the first message, half after NEGOTIATE.
pub(super) async fn long_messages(target: Target, count: usize) -> Left {
    let message: bytes::Bytes = wire::framed(&vec![0; LONG_BYTES]).into();
    let wires = many(count, move |number| {
        let message = message.clone();
        async move {
            let mut wire = Wire::connect(None, target.smb).await.ok()?;
            if number % 2 == 0 {
                wire.negotiate().await;
            }
            push(&mut wire, &message).await;
            Some(wire)
        }
    });
    let wires = wires.await;
    Left { made: count, wires, ..Left::default() }
}

/// Messages as long as they may be before a logon: all but their last byte, and then nothing.
pub(super) async fn unfinished_messages(target: Target, count: usize) -> Left {
    let wires = many(count, move |_| async move {
        let mut wire = Wire::connect(None, target.smb).await.ok()?;
        wire.negotiate().await;
        let whole = wire::framed(&vec![0xFE; LIMIT_BYTES]);
        push(&mut wire, &whole[..whole.len() - 1]).await;
        Some(wire)
    });
    let wires = wires.await;
    Left { made: count, wires, ..Left::default() }
}

/// Many first legs of logons one after the other, and none of their answers is read.
pub(super) async fn unread_answers(target: Target, count: usize, each: usize) -> Left {
    let wires = many(count, move |_| async move {
        let mut wire = Wire::connect(None, target.smb).await.ok()?;
        wire.negotiate().await;
        let mut token = wire::first_token();
        token.resize(48 << 10, 0);
        for id in 0..each {
            let message = wire::session_setup(1 + id as u64, 0, token.clone());
            if !push(&mut wire, &wire::framed(&message)).await {
                break;
            }
        }
        Some(wire)
    });
    let wires = wires.await;
    Left { made: count, wires, ..Left::default() }
}

/// Writes until the server takes no more; false when it did not take all.
async fn push(wire: &mut Wire, bytes: &[u8]) -> bool {
    matches!(tokio::time::timeout(STALL, wire.stream.write_all(bytes)).await, Ok(Ok(())))
}

/// Noise, with and without a frame around it, and logons with bytes that are wrong.
pub(super) async fn spoilt_logons(target: Target, count: usize) -> Left {
    let made = many(count, move |number| async move {
        let mut rng = Rng::new(target.seed ^ (number as u64) << 16);
        let mut wire = Wire::connect(None, target.smb).await.ok()?;
        let mut message = match rng.between(0, 4) {
            0 => {
                let mut noise = vec![0; usize::try_from(rng.between(1, 4096)).unwrap_or(1)];
                rng.fill(&mut noise);
                _ = wire.stream.write_all(&noise).await;
                return Some(());
            }
            1 => wire::negotiate(),
            _ => {
                wire.negotiate().await;
                wire::session_setup(1, 0, wire::first_token())
            }
        };
        let from = if rng.between(0, 1) == 0 { 0 } else { smb_proto::HEADER_SIZE };
        wire::spoil(&mut message, from, &mut rng);
        _ = wire.send(&message).await;
        let mut sink = [0; 1024];
        // Only so that an answer is taken: its content does not matter.
        _ = tokio::time::timeout(STALL, wire.stream.read(&mut sink)).await;
        Some(())
    });
    Left { made: made.await.len(), ..Left::default() }
}

/// Spoilt requests of a user who is logged on: good signatures around nonsense.
pub(super) async fn spoilt_requests(
    target: Target,
    identity: ClientIdentity,
    server: &str,
    share: &str,
    count: usize,
) -> anyhow::Result<Left> {
    let mut rng = Rng::new(target.seed);
    let (mut left, mut done) = (Left::default(), 0);
    while done < count {
        let (session, _breaks) = Session::connect(target.smb, &identity, 0).await.context("logon of who spoils requests")?;
        left.made += 1;
        let tree = Tree::connect(&session, server, share).await.context("share of who spoils requests")?;
        let name = format!("spoilt-{}.bin", left.made);
        let file =
            tree.create(&OpenPlan::read_write(&name).request(), Try::default()).await.context("file of who spoils requests")?.file_id;
        let call = Call { tree_id: tree.tree_id, ..Call::default() };
        while done < count {
            let (command, body) = request(&mut rng, file);
            done += 1;
            let sent = session.connection.post(command, call, |out| {
                let from = out.len();
                out.extend_from_slice(&body);
                wire::spoil(out, from, &mut rng);
            });
            // A connection that is closed for nonsense is as good as an error: the next one goes on.
            if sent.await.is_err() {
                break;
            }
        }
        session.connection.sever();
    }
    Ok(left)
}

/// A good request, by chance, encoded behind an empty header.
fn request(rng: &mut Rng, file_id: FileId) -> (Command, Vec<u8>) {
    let mut out = vec![0; smb_proto::HEADER_SIZE];
    let command = match rng.between(0, 8) {
        0 => {
            OpenPlan::read_write("other.bin").request().encode(&mut out);
            Command::Create
        }
        1 => {
            CreateRequest { name: "no\\such\\folder".to_owned(), ..CreateRequest::default() }.encode(&mut out);
            Command::Create
        }
        2 => {
            ReadRequest { length: 4096, file_id, ..ReadRequest::default() }.encode(&mut out);
            Command::Read
        }
        3 => {
            WriteRequest { file_id, data: bytes::Bytes::from_static(&[7; 512]), ..WriteRequest::default() }.encode(&mut out);
            Command::Write
        }
        4 => {
            let class = u8::try_from(rng.between(0, 70)).unwrap_or(0);
            QueryInfoRequest::new(InfoType::File, class, 4096, file_id).encode(&mut out);
            Command::QueryInfo
        }
        5 => {
            let information_class = u8::try_from(rng.between(0, 70)).unwrap_or(0);
            let request =
                SetInfoRequest { info_type: InfoType::File, information_class, additional_information: 0, file_id, buffer: vec![1; 64] };
            request.encode(&mut out);
            Command::SetInfo
        }
        6 => {
            IoctlRequest {
                ctl_code: 0x0009_0000 | u32::try_from(rng.between(0, 0xFFFF)).unwrap_or(0),
                file_id,
                input: vec![2; 64],
                ..IoctlRequest::default()
            }
            .encode(&mut out);
            Command::Ioctl
        }
        7 => {
            QueryDirectoryRequest { information_class: 37, file_id, pattern: "*".to_owned(), ..QueryDirectoryRequest::default() }
                .encode(&mut out);
            Command::QueryDirectory
        }
        _ if rng.between(0, 1) == 0 => {
            LockRequest { file_id, locks: vec![smb_proto::message::lock::LockElement::default()], ..LockRequest::default() }
                .encode(&mut out);
            Command::Lock
        }
        _ => {
            ChangeNotifyRequest { flags: 0, output_buffer_length: 4096, file_id, completion_filter: CompletionFilter::FILE_NAME }
                .encode(&mut out);
            Command::ChangeNotify
        }
    };
    (command, out.split_off(smb_proto::HEADER_SIZE))
}

/// Connections that say NEGOTIATE one byte after the other.
pub(super) async fn slow(target: Target, count: usize, time: Duration) -> Left {
    let bytes = wire::framed(&wire::negotiate());
    let pause = time / u32::try_from(bytes.len()).unwrap_or(1).max(1);
    let mut left = connections(target, count, None).await;
    for byte in bytes {
        for wire in &mut left.wires {
            _ = wire.stream.try_write(&[byte]);
        }
        tokio::time::sleep(pause).await;
    }
    left
}

/// Sessions that do nothing, from as many addresses as the limit of an address needs.
pub(super) async fn idle(target: Target, identity: &ClientIdentity, count: usize, per_source: usize) -> Left {
    let sessions = many(count, |number| {
        let identity = ClientIdentity { client_guid: smb_types::Guid(crate::client::random()), ..identity.clone() };
        async move {
            let wire = Wire::connect(Some(source(number / per_source.max(1))), target.smb).await.ok()?;
            let (connection, _breaks) = Connection::over(wire.stream, identity.request_limit).ok()?;
            Session::log_on(&connection, &identity, 0).await.ok()
        }
    });
    let sessions = sessions.await;
    Left { made: sessions.len(), sessions, ..Left::default() }
}
