//! What it costs to make log entries stable: RocksDB's write-ahead log beside a preallocated file and one that grows.
//!
//! `cargo run -p raftstore --example log_media [directory] [seconds per row]`. Rounds of all media alternate, so that a noisy machine is
//! noisy for all. The figures behind decision 8.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring tool")]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rocksdb::{DB, Options, WriteBatch, WriteOptions};

/// Bytes of one entry.
const ENTRY_BYTES: usize = 300;
/// Bytes of a preallocated file; it is begun anew when it is full, as a recycled one is.
const FILE_BYTES: u64 = 8 << 20;
const ROUNDS: u32 = 5;

trait Medium {
    fn name(&self) -> &'static str;
    fn append(&mut self, entries: usize, sync: bool);
}

struct Rocks {
    db: DB,
    next: u64,
}

impl Medium for Rocks {
    fn name(&self) -> &'static str {
        "RocksDB, recycled log files"
    }

    fn append(&mut self, entries: usize, sync: bool) {
        let mut batch = WriteBatch::default();
        for _ in 0..entries {
            batch.put(self.next.to_be_bytes(), [7; ENTRY_BYTES]);
            self.next += 1;
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(batch, &options).unwrap();
    }
}

struct Plain {
    file: File,
    at: u64,
    grows: bool,
}

impl Medium for Plain {
    fn name(&self) -> &'static str {
        if self.grows { "file that grows" } else { "preallocated file" }
    }

    fn append(&mut self, entries: usize, sync: bool) {
        let bytes = vec![7; entries * ENTRY_BYTES];
        if !self.grows && self.at + bytes.len() as u64 > FILE_BYTES {
            self.at = 0;
        }
        self.file.write_all_at(&bytes, self.at).unwrap();
        self.at += bytes.len() as u64;
        if sync {
            self.file.sync_data().unwrap();
        }
    }
}

fn open(path: PathBuf, grows: bool) -> Plain {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    if !grows {
        let zeros = vec![0; 1 << 20];
        for at in (0..FILE_BYTES).step_by(1 << 20) {
            file.write_all_at(&zeros, at).unwrap();
        }
        file.sync_all().unwrap();
    }
    Plain { file, at: 0, grows }
}

fn rocks(path: &Path) -> Rocks {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_recycle_log_file_num(4);
    Rocks { db: DB::open(&options, path).unwrap(), next: 0 }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().unwrap_or_else(|| ".".to_owned());
    let seconds: f64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(2.0);
    let dir = tempfile::tempdir_in(parent).unwrap();
    let mut media: Vec<Box<dyn Medium>> = vec![
        Box::new(rocks(&dir.path().join("rocks"))),
        Box::new(open(dir.path().join("preallocated"), false)),
        Box::new(open(dir.path().join("grows"), true)),
    ];
    println!(
        "{ENTRY_BYTES}-byte entries; us per batch\n{:<30} {:>7} {:>6} {:>10} {:>8} {:>8} {:>9}",
        "medium", "entries", "sync", "per s", "p50", "p99", "p99.9"
    );
    for (entries, sync) in [(1, true), (64, true), (1, false), (64, false)] {
        let mut times = vec![Vec::new(); media.len()];
        for _ in 0..ROUNDS {
            for (medium, times) in media.iter_mut().zip(&mut times) {
                let until = Instant::now() + Duration::from_secs_f64(seconds / f64::from(ROUNDS));
                while Instant::now() < until {
                    let from = Instant::now();
                    medium.append(entries, sync);
                    times.push(from.elapsed().as_nanos() as u64);
                }
            }
        }
        for (medium, times) in media.iter().zip(&mut times) {
            times.sort_unstable();
            let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize] as f64 / 1000.0;
            let per_second = (times.len() * entries) as f64 * 1e9 / times.iter().sum::<u64>() as f64;
            let (p50, p99, p999) = (at(0.5), at(0.99), at(0.999));
            println!("{:<30} {entries:>7} {sync:>6} {per_second:>10.0} {p50:>8.1} {p99:>8.1} {p999:>9.1}", medium.name());
        }
    }
}
