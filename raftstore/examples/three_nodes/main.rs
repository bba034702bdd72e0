//! Three stores in three processes of their own, under load and under the death of their leader.
//!
//! Starts itself as three children, makes one cluster of them, and then obeys the lines of its standard input with one line of JSON each:
//!
//! ```text
//! load CLASS CLIENTS WHERE SECONDS   CLASS volatile, durable or persistent; WHERE leader or spread (evenly over the nodes)
//! kill CLIENTS                       SIGKILL for the leader under clients on the other two, then counts every acknowledged commit
//! ```
//! Without input: `three_nodes --table [SECONDS]` prints a table. The clients are tasks inside the node processes, beside a thread of
//! its own for the replication, as the handlers of a file server are.
#![allow(clippy::unwrap_used, reason = "a measuring tool")]

mod machine;
mod node;
mod parent;
mod record;

use std::io::{BufRead, Write};
use std::path::Path;

use parent::Trio;

/// Clients of the rows of the table.
const CLIENTS: [usize; 4] = [1, 16, 64, 256];

/// As the program has it (docs/decisions/0024-jemalloc.md).
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["node", dir, id, listen] => node::run(Path::new(dir), id.parse().unwrap(), listen.parse().unwrap()),
        ["--table", rest @ ..] => table(rest.first().map_or(2.0, |seconds| seconds.parse().unwrap())),
        ["--dir", dir] => obey(Path::new(dir)),
        _ => obey(Path::new(".")),
    }
}

fn obey(dir: &Path) {
    let mut trio = Trio::start(dir);
    say("{\"ready\":true}");
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match words.as_slice() {
            ["load", class, clients, place, seconds] => {
                trio.load(class, clients.parse().unwrap(), *place == "leader", seconds.parse().unwrap()).json()
            }
            ["kill", clients] => trio.kill(clients.parse().unwrap()).json(),
            _ => format!("{{\"error\":\"what is {line}?\"}}"),
        };
        say(&answer);
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

fn table(seconds: f64) {
    let mut trio = Trio::start(Path::new("."));
    for class in ["volatile", "persistent"] {
        for clients in CLIENTS {
            for leader in [true, false] {
                let load = trio.load(class, clients, leader, seconds);
                let place = if leader { "at the leader" } else { "spread" };
                println!(
                    "{class:10} {clients:4} clients {place:13} {:8.0}/s  p50 {:8.3} ms  p99 {:8.3} ms",
                    load.per_second, load.p50_ms, load.p99_ms
                );
            }
        }
    }
    println!("{}", trio.kill(16).json());
}
