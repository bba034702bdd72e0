//! The other yardstick: what a lone commit costs members that do nothing but write, send, sync and answer.
//!
//! No Raft, no encryption, no order among clients, no state: blocking calls between threads of one process. A store
//! with three members on one disk has all of that to do, too.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::time::Instant;

use anyhow::Context as _;

use crate::stats::Samples;

/// Bytes of one commit, with what a log and a protocol put around a value of 256.
const COMMIT_BYTES: usize = 384;
/// Bytes of an answer.
const ANSWER_BYTES: usize = 64;
/// Commits, one after the other.
const COMMITS: u64 = 1000;

/// Times from a commit's beginning until the first member has it and one follower has answered, ms; with `synced`, each of them has it on the
/// disk before.
pub(crate) fn commits(dir: &Path, followers: usize, synced: bool) -> anyhow::Result<Samples> {
    let file = Log::create(dir, 0, synced)?;
    let members = (1..=followers).map(|n| Member::create(dir, n, synced)).collect::<anyhow::Result<Vec<_>>>()?;
    let (tell, answered) = mpsc::channel();
    std::thread::scope(|scope| {
        let mut links = Vec::new();
        for Member { link, mut answers, socket, file } in members {
            scope.spawn(move || follow(socket, &file));
            let tell = tell.clone();
            scope.spawn(move || {
                let mut answer = [0; ANSWER_BYTES];
                while answers.read_exact(&mut answer).is_ok() && tell.send(()).is_ok() {}
            });
            links.push(link);
        }
        let times = lead(&file, &links, &answered);
        for link in &links {
            // Ends the follower, and with it who waits for its answers.
            drop(link.shutdown(Shutdown::Write));
        }
        Ok(Samples::new(times?))
    })
}

/// A follower before it runs: both ends of its connection, and its file.
struct Member {
    link: TcpStream,
    answers: TcpStream,
    socket: TcpStream,
    file: Log,
}

impl Member {
    fn create(dir: &Path, number: usize, synced: bool) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port on the loopback address")?;
        let link = TcpStream::connect(listener.local_addr()?)?;
        let (socket, _) = listener.accept()?;
        for end in [&link, &socket] {
            end.set_nodelay(true)?;
        }
        Ok(Self { answers: link.try_clone()?, link, socket, file: Log::create(dir, number, synced)? })
    }
}

fn lead(file: &Log, links: &[TcpStream], answered: &mpsc::Receiver<()>) -> anyhow::Result<Vec<f64>> {
    let commit = [0xA5; COMMIT_BYTES];
    let mut times = Vec::new();
    for n in 0..COMMITS {
        let from = Instant::now();
        for mut link in links {
            link.write_all(&commit)?;
        }
        file.add(n, &commit)?;
        answered.recv().context("a follower ended")?;
        times.push(from.elapsed().as_secs_f64() * 1000.0);
        // The others answer before the next one begins: a lone commit meets nothing.
        for _ in 1..links.len() {
            answered.recv().context("a follower ended")?;
        }
    }
    Ok(times)
}

fn follow(mut socket: TcpStream, file: &Log) {
    let mut commit = [0; COMMIT_BYTES];
    for n in 0.. {
        let done = socket.read_exact(&mut commit).and_then(|()| file.add(n, &commit)).and_then(|()| socket.write_all(&[0; ANSWER_BYTES]));
        if done.is_err() {
            return;
        }
    }
}

/// A file that has its blocks already; it is removed at the end.
struct Log {
    file: File,
    path: std::path::PathBuf,
    synced: bool,
}

impl Log {
    fn create(dir: &Path, number: usize, synced: bool) -> anyhow::Result<Self> {
        let path = dir.join(format!("bare-{number}"));
        let file = File::create(&path).with_context(|| format!("no file at {}", path.display()))?;
        let log = Self { file, path, synced };
        for n in 0..COMMITS {
            log.file.write_all_at(&[0; COMMIT_BYTES], n * COMMIT_BYTES as u64)?;
        }
        log.file.sync_all()?;
        Ok(log)
    }

    fn add(&self, n: u64, commit: &[u8]) -> std::io::Result<()> {
        self.file.write_all_at(commit, n * COMMIT_BYTES as u64)?;
        if self.synced { self.file.sync_data() } else { Ok(()) }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // The folder goes at the end anyway.
        drop(std::fs::remove_file(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_commit_is_measured_and_the_files_go() {
        let dir = tempfile::tempdir().unwrap();
        for synced in [false, true] {
            let samples = commits(dir.path(), 2, synced).unwrap();
            assert_eq!(samples.count() as u64, COMMITS);
            assert!(samples.percentile(50) > 0.0);
        }
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
    }
}
