//! Commits of the store beside etcd's, and what both make of the death of their leader. Rounds alternate between the two.

use std::path::Path;

use serde_json::json;

use super::etcd::{self, EtcdTrio};
use super::helper::{Death, Helper, Load, example};
use super::printer::{Printer, median, ratio};
use super::{MEMBERS, Scale, Section, bare, disk};

/// Clients of the rows.
const CLIENTS: [usize; 3] = [1, 64, 256];
/// Clients of the death rounds.
const DEATH_CLIENTS: usize = 16;
/// The promises: longest silence and longest proposal, ms.
const GAP_MAX_MS: f64 = 1000.0;
const HANG_MAX_MS: f64 = 2000.0;

/// The two stores, as far as they are here.
pub(crate) struct Stores {
    ours: Option<Helper>,
    etcd: Option<EtcdTrio>,
}

impl Stores {
    /// Starts what can be started and prints why the rest is absent.
    pub(crate) async fn start(printer: Printer, section: Section, dir: &Path) -> anyhow::Result<Self> {
        let ours = match example("three_nodes") {
            Ok(program) => Some(Helper::start(&program, ["--dir".as_ref(), dir.as_os_str()]).await?),
            Err(because) => {
                printer.absent(section, "our store", &because.to_string());
                None
            }
        };
        let etcd = match etcd::find() {
            Ok(program) => {
                let version = etcd::version(&program).await;
                printer.row(section, &format!("peer: {version}, three members"), json!({"peer": version}));
                Some(EtcdTrio::start(program, dir).await?)
            }
            Err(because) => {
                printer.absent(section, "etcd", because);
                None
            }
        };
        Ok(Self { ours, etcd })
    }

    async fn ours(&mut self, class: &str, clients: usize, at_leader: bool, seconds: f64) -> anyhow::Result<Option<Load>> {
        let place = if at_leader { "leader" } else { "spread" };
        match &mut self.ours {
            Some(helper) => Ok(Some(helper.ask(&format!("load {class} {clients} {place} {seconds}")).await?)),
            None => Ok(None),
        }
    }
}

/// Commits per second and their times.
pub(crate) async fn commits(printer: Printer, scale: &Scale, dir: &Path) -> anyhow::Result<()> {
    let section = Section::Commits;
    printer.section(
        section,
        &[
            "values of 256 bytes; three processes on loopback, data on one disk. etcd: its default settings; its clients are in one process of",
            "their own and speak gRPC over HTTP/2, 16 to a connection. Ours: the clients are tasks inside the node processes, as the handlers of the",
            "file server are; nodes speak TLS to each other, etcd's members plain HTTP. \"leader\": all clients at the leader; \"spread\": evenly over",
            "the nodes, a lone one at a follower. Rounds alternate; figures are medians of the rounds; times are those of one commit.",
        ],
    );
    let mut stores = Stores::start(printer, section, dir).await?;
    let text = format!("{:>7} {:<7} {:<16} {:>9} {:>9} {:>9}  {:>8}", "clients", "place", "store", "per s", "p50 ms", "p99 ms", "to etcd");
    printer.row(section, &text, json!({"columns": ["clients", "place", "store", "per_second", "p50_ms", "p99_ms", "to_etcd"]}));
    for clients in CLIENTS {
        for at_leader in [true, false] {
            let mut rounds: [Vec<Load>; 3] = Default::default();
            let mut yardsticks = Vec::new();
            for _ in 0..scale.rounds {
                if clients == 1 {
                    yardsticks.push(Yardsticks::measure(dir)?);
                }
                rounds[0].extend(stores.ours("volatile", clients, at_leader, scale.seconds).await?);
                rounds[1].extend(stores.ours("persistent", clients, at_leader, scale.seconds).await?);
                if let Some(etcd) = &mut stores.etcd {
                    rounds[2].push(etcd.load(clients, at_leader, scale.seconds).await?);
                }
            }
            print_loads(printer, clients, at_leader, &rounds, Yardsticks::median(&yardsticks).as_ref());
        }
    }
    Ok(())
}

/// What a lone commit is compared with, measured beside it; p50, ms.
#[derive(Clone, Copy, Debug, serde::Serialize)]
struct Yardsticks {
    /// A flush by one writer.
    flush: f64,
    /// A flush while as many flush as there are members.
    flush_of_three: f64,
    /// A lone commit of bare members, in their memory.
    bare: f64,
    /// The same on their disks.
    bare_synced: f64,
}

impl Yardsticks {
    fn measure(dir: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            flush: disk::flushes(dir)?.percentile(50),
            flush_of_three: disk::flushes_at_once(dir, MEMBERS)?.percentile(50),
            bare: bare::commits(dir, MEMBERS - 1, false)?.percentile(50),
            bare_synced: bare::commits(dir, MEMBERS - 1, true)?.percentile(50),
        })
    }

    fn median(of: &[Self]) -> Option<Self> {
        let field = |field: fn(&Self) -> f64| median(&of.iter().map(field).collect::<Vec<_>>());
        (!of.is_empty()).then(|| Self {
            flush: field(|y| y.flush),
            flush_of_three: field(|y| y.flush_of_three),
            bare: field(|y| y.bare),
            bare_synced: field(|y| y.bare_synced),
        })
    }

    /// A time in these terms.
    fn say(&self, p50: f64, synced: bool) -> String {
        let Self { flush, flush_of_three, bare, bare_synced } = *self;
        let bare = if synced { bare_synced } else { bare };
        format!(
            "   {:.2} flushes ({flush:.3} ms), {:.2} of three writers' ({flush_of_three:.3} ms), {:.2} commits of bare members ({bare:.3} ms)",
            p50 / flush,
            p50 / flush_of_three,
            p50 / bare
        )
    }
}

fn print_loads(printer: Printer, clients: usize, at_leader: bool, rounds: &[Vec<Load>; 3], yardsticks: Option<&Yardsticks>) {
    let of = |loads: &[Load], field: fn(&Load) -> f64| median(&loads.iter().map(field).collect::<Vec<_>>());
    let etcd = of(&rounds[2], |load| load.per_second);
    for (name, loads) in ["ours volatile", "ours persistent", "etcd"].iter().zip(rounds) {
        if loads.is_empty() {
            continue;
        }
        let place = if at_leader { "leader" } else { "spread" };
        let (per_second, p50, p99) = (of(loads, |load| load.per_second), of(loads, |load| load.p50_ms), of(loads, |load| load.p99_ms));
        let failed: u64 = loads.iter().map(|load| load.failed).sum();
        let mut text =
            format!("{clients:>7} {place:<7} {name:<16} {per_second:>9.0} {p50:>9.3} {p99:>9.3}  {:>8}", ratio(per_second, etcd));
        if let Some(yardsticks) = yardsticks {
            text += &yardsticks.say(p50, *name != "ours volatile");
        }
        if failed > 0 {
            text += &format!("   {failed} FAILED");
        }
        let to_etcd = (etcd > 0.0).then(|| per_second / etcd);
        printer.row(
            Section::Commits,
            &text,
            json!({"clients": clients, "place": place, "store": name, "per_second": per_second, "p50_ms": p50, "p99_ms": p99,
                "failed": failed, "to_etcd": to_etcd, "yardsticks": yardsticks, "rounds": loads}),
        );
    }
}

/// The leader's death under clients at the other two nodes.
pub(crate) async fn deaths(printer: Printer, scale: &Scale, dir: &Path) -> anyhow::Result<bool> {
    let section = Section::Deaths;
    printer.section(
        section,
        &[
            "SIGKILL for the leader under 16 clients at the other two nodes; every commit has a key of its own, counted on all three nodes after",
            "the dead one is back. gap: longest time without an acknowledged commit, and when it began, from the death on; hang: longest time",
            "of one proposal. Rounds alternate.",
        ],
    );
    let mut stores = Stores::start(printer, section, dir).await?;
    let mut rounds: [Vec<Death>; 2] = Default::default();
    for round in 0..scale.deaths_ours.max(scale.deaths_etcd) {
        if let Some(ours) = stores.ours.as_mut().filter(|_| round < scale.deaths_ours) {
            rounds[0].push(print_death(printer, "ours persistent", round, ours.ask(&format!("kill {DEATH_CLIENTS}")).await?));
        }
        if let Some(etcd) = stores.etcd.as_mut().filter(|_| round < scale.deaths_etcd) {
            rounds[1].push(print_death(printer, "etcd", round, etcd.kill(DEATH_CLIENTS).await?));
        }
    }
    for (name, deaths) in ["ours persistent", "etcd"].iter().zip(&rounds).filter(|(_, deaths)| !deaths.is_empty()) {
        print_deaths(printer, name, deaths);
    }
    Ok(rounds[0].iter().all(|death| death.lost == 0 && death.doubled == 0))
}

fn print_death(printer: Printer, name: &str, round: usize, death: Death) -> Death {
    let text = format!(
        "{name:<16} {:>3}  {:>7.0}/s before  gap {:>7.0} ms at {:>+6.0} ms  hang {:>7.0} ms  {:>7} acknowledged  {:>3} unknown  {} lost  {} doubled",
        round + 1,
        death.before_per_second,
        death.gap_ms,
        death.gap_at_ms,
        death.hang_ms,
        death.acknowledged,
        death.unknown,
        death.lost,
        death.doubled
    );
    printer.row(Section::Deaths, &text, json!({"store": name, "round": round + 1, "death": death}));
    death
}

fn print_deaths(printer: Printer, name: &str, deaths: &[Death]) {
    let worst = |field: fn(&Death) -> f64| deaths.iter().map(field).fold(0.0, f64::max);
    let (gap, hang) = (worst(|d| d.gap_ms), worst(|d| d.hang_ms));
    let (good, all) = (deaths.iter().filter(|d| d.gap_ms <= GAP_MAX_MS && d.hang_ms <= HANG_MAX_MS).count(), deaths.len());
    let typical = median(&deaths.iter().map(|d| d.gap_ms).collect::<Vec<_>>());
    let (lost, doubled) = deaths.iter().fold((0, 0), |sum, d| (sum.0 + d.lost, sum.1 + d.doubled));
    let text = format!(
        "{name:<16} gap median {typical:.0} ms, worst {gap:.0} ms; longest proposal {hang:.0} ms; {lost} lost, {doubled} doubled; \
         {good} of {all} rounds within {GAP_MAX_MS} ms and {HANG_MAX_MS} ms"
    );
    let values = json!({"store": name, "gap_median_ms": typical, "gap_worst_ms": gap, "hang_worst_ms": hang, "lost": lost,
        "doubled": doubled, "good": good, "rounds": all});
    printer.row(Section::Deaths, &text, values);
}
