//! The program `chaos`: takes the command line apart and calls the library.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use chaos::bench::{BenchOptions, Printer, Scale, Section, Target, bench};
use chaos::cli::{BenchArgs, Cli, Command, ConformanceArgs, FailoverArgs, GarbageArgs, ProbeArgs, SimulateArgs, StormArgs};
use chaos::client::ClientIdentity;
use chaos::cluster::Cluster;
use chaos::conformance::{ConformanceOptions, conformance, default_list, update};
use chaos::failover::{FailoverOptions, failover, report};
use chaos::garbage::{Scale as GarbageScale, garbage, siege};
use chaos::simulation::Run;
use chaos::simulation::table::{Series, run_series};
use chaos::storm::{StormOptions, storm};
use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    }
    let done = tokio::select! {
        done = run(cli.command) => done,
        // Everything that was started ends with what is dropped here.
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::from(70)
        }
    }
}

/// Runs a command; false when a promise was broken.
async fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Failover(args) => run_failover(args).await,
        Command::Conformance(args) => run_conformance(args).await,
        Command::Garbage(args) => run_garbage(args).await,
        Command::Bench(args) => run_bench(args).await,
        #[cfg(feature = "etcd")]
        Command::EtcdLoad => chaos::bench::etcd::load::run().await.map(|()| true),
        Command::Storm(args) => run_storm(args).await,
        Command::Probe(args) => run_probe(args).await,
        Command::Simulate(args) => tokio::task::spawn_blocking(move || run_simulate(&args)).await?,
    }
}

async fn run_failover(args: FailoverArgs) -> anyhow::Result<bool> {
    let options = FailoverOptions {
        cluster: args.cluster.options(3),
        runs: args.runs,
        variants: args.variant.variants(),
        seed: args.seed,
        retry: args.retry.into(),
        witness: !args.no_witness,
        json: args.json,
    };
    let reports = failover(&options, |story| println!("{story}")).await?;
    if !args.json {
        println!("{}", report::table(&reports));
    }
    Ok(reports.iter().all(report::RunReport::is_good))
}

async fn run_conformance(args: ConformanceArgs) -> anyhow::Result<bool> {
    let list = args.list.unwrap_or_else(default_list);
    let mut reports = Vec::new();
    for nodes in args.nodes {
        println!("smbtorture against {nodes} node(s)");
        let options = ConformanceOptions {
            cluster: args.cluster.options(nodes),
            only: args.only.clone(),
            list: list.clone(),
            smbtorture: args.smbtorture.clone(),
        };
        let report = conformance(&options, |line| println!("{line}")).await?;
        println!("{nodes} node(s): {}", report.summary());
        report.regressions.iter().for_each(|t| println!("REGRESSION with {nodes} node(s): {t}"));
        reports.push(report);
    }
    if args.update {
        update(&list, &reports)?;
        return Ok(true);
    }
    Ok(reports.iter().all(|report| report.regressions.is_empty()))
}

async fn run_garbage(args: GarbageArgs) -> anyhow::Result<bool> {
    let cluster = Cluster::start(&args.cluster.options(args.nodes)).await?;
    let mut scale = if args.quick { GarbageScale::quick() } else { GarbageScale::full() };
    if let Some(most) = args.echo_max_ms {
        scale.echo_max = Some(Duration::from_millis(most));
    }
    scale.only = args.only;
    scale.idle = args.idle.unwrap_or(scale.idle);
    let mut is_good = true;
    for node in 0..cluster.nodes.len() {
        println!("node {}: times of the honest client alone | meanwhile", cluster.nodes[node].id);
        let rows = siege(&cluster, node, &scale, args.seed, |row| println!("{}", row.line())).await?;
        is_good &= rows.iter().all(|row| row.broken.is_empty());
        if !scale.only.is_empty() {
            continue;
        }
        let seen = garbage(&cluster, node, args.half_open, args.seed).await?;
        println!(
            "node {}: {} ports, {} connections, memory {} -> {} MiB, serves",
            cluster.nodes[node].id,
            seen.ports,
            seen.connections,
            seen.before_kib / 1024,
            seen.after_kib / 1024
        );
    }
    cluster.stop().await?;
    Ok(is_good)
}

async fn run_bench(args: BenchArgs) -> anyhow::Result<bool> {
    let cluster = args.cluster.options(args.nodes);
    let mut scale = if args.quick { Scale::QUICK } else { Scale::FULL };
    scale.seconds = args.seconds.unwrap_or(scale.seconds);
    scale.rounds = args.rounds.unwrap_or(scale.rounds).max(1);
    let mut peer = None;
    if let (Some(address), Some(share), Some(file)) = (args.peer, args.peer_share, args.peer_user_file) {
        let (name, password) = account(&file)?;
        peer = Some(Target { name: "peer".to_owned(), address, share, identity: ClientIdentity::new(&name, &password) });
    }
    let sections = if args.only.is_empty() { Section::EVERY.to_vec() } else { args.only };
    bench(&BenchOptions { cluster, scale, peer, sections, printer: Printer { json: args.json } }).await
}

async fn run_storm(args: StormArgs) -> anyhow::Result<bool> {
    let options = StormOptions {
        cluster: args.cluster.options(args.nodes),
        duration: Duration::from_secs(args.minutes * 60),
        writers: args.writers,
        seed: args.seed,
    };
    let report = storm(&options, |line| println!("{line}")).await?;
    println!(
        "{} faults, {} blocks acknowledged, {} lost, {} errors",
        report.faults,
        report.acknowledged,
        report.lost.len(),
        report.errors.len()
    );
    report.lost.iter().chain(&report.errors).take(20).for_each(|line| println!("  {line}"));
    Ok(report.lost.is_empty() && report.errors.is_empty())
}

/// Each simulation is a thread of its own: it brings its own runtimes.
fn run_simulate(args: &SimulateArgs) -> anyhow::Result<bool> {
    anyhow::ensure!(args.nodes.iter().all(|nodes| (1..=9).contains(nodes)), "--nodes wants numbers from 1 to 9");
    if let Some(seed) = args.seed {
        let keep_trace = !args.json;
        for &nodes in &args.nodes {
            let report = std::thread::spawn(move || Run { nodes, seed, keep_trace, scenario: None }.make());
            let report = report.join().map_err(|_| anyhow::anyhow!("the simulation broke"))?;
            if args.json {
                println!("{}", report.to_json());
            } else {
                report.lines.iter().for_each(|line| println!("{line}"));
                println!("trace {:016x}", report.trace);
                report.broken.iter().for_each(|broken| println!("BROKEN: {broken}"));
            }
            if !report.broken.is_empty() {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    let program = std::env::current_exe().context("this program does not know where it is")?;
    let series = Series { from: args.from, seeds: args.seeds, nodes: args.nodes.clone(), jobs, program };
    let totals = run_series(&series, |line| println!("{line}"));
    println!("{}", totals.text());
    for (run, broken) in totals.failed.iter().take(20) {
        println!("FAILED; again with: {}", run.command());
        broken.iter().for_each(|line| println!("  {line}"));
    }
    Ok(totals.failed.is_empty())
}

/// A user from a file of one line: passwords do not belong on a command line.
fn account(file: &std::path::Path) -> anyhow::Result<(String, String)> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let line = text.lines().next().unwrap_or_default();
    let (name, password) = line.split_once(':').with_context(|| format!("{} does not begin with NAME:PASSWORD", file.display()))?;
    Ok((name.to_owned(), password.to_owned()))
}

async fn run_probe(args: ProbeArgs) -> anyhow::Result<bool> {
    let (name, password) = account(&args.user_file)?;
    let identity = ClientIdentity { encrypt: args.encrypt, ..ClientIdentity::new(&name, &password) };
    for line in chaos::probe::probe(args.server, &args.share, identity).await? {
        println!("{line}");
    }
    Ok(true)
}
