//! `chaos conformance`: a foreign test suite (smbtorture) against our server, test by test, compared with the list of what passes.
//!
//! The wire is judged here, because our own client shares the server's codec.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::cluster::{Cluster, ClusterOptions, PASSWORD, USER};

/// Longest time of one test.
const TEST_LIMIT: Duration = Duration::from_secs(60);
/// The second user that some tests log on as.
const SECOND_USER: &str = "chaos2";
/// A user without privileges: what an access list does not give, such a user does not have.
const PLAIN_USER: &str = "chaos3";
/// Tests of access lists that give files to others, which takes a privilege.
const PRIVILEGED: &[&str] = &["smb2.acls.SDFLAGSVSCHOWN"];
/// Suites whose tests are run.
const SUITES: &[&str] = &[
    "smb2.connect",
    "smb2.rw",
    "smb2.read",
    "smb2.tcon",
    "smb2.create",
    "smb2.durable-open",
    "smb2.durable-v2-open",
    "smb2.persistent-open",
    "smb2.lock",
    "smb2.compound",
    "smb2.lease",
    "smb2.oplock",
    "smb2.session",
    "smb2.session-id",
    "smb2.replay",
    "smb2.sharemode",
    "smb2.credits",
    "smb2.dir",
    "smb2.rename",
    "smb2.getinfo",
    "smb2.setinfo",
    "smb2.mkdir",
    "smb2.delete-on-close-perms",
    "smb2.winattr",
    "smb2.streams",
    "smb2.ioctl",
    "smb2.maxfid",
    "smb2.name-mangling",
    "smb2.acls",
    "smb2.maximum_allowed",
    "smb2.sdread",
    "smb2.secleak",
    "smb2.stream-inherit-perms",
];
/// The share that most tests get.
const SHARE: &str = "torture";
/// The share of tests about persistent handles, under the names that they look for.
const CA_SHARES: [&str; 2] = ["ca_fo_max_rwh", "ca_fo"];

/// The share of the test about listings that leave out what may not be read.
const HIDING_SHARE: &str = "hideunread";

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It says success.
    Pass,
    /// It says failure or error, or nothing.
    Fail,
    /// It says that it does not apply.
    Skip,
    /// It did not end in time.
    Timeout,
}

/// What to do.
#[derive(Clone, Debug)]
pub struct ConformanceOptions {
    /// The cluster.
    pub cluster: ClusterOptions,
    /// Only tests whose names contain one of these words; empty means all.
    pub only: Vec<String>,
    /// The list of tests that pass.
    pub list: PathBuf,
    /// The suite's program.
    pub smbtorture: PathBuf,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct ConformanceReport {
    /// Every test and its end.
    pub results: Vec<(String, Outcome)>,
    /// Tests of the list that do not pass any more.
    pub regressions: Vec<String>,
    /// Tests that pass and are not on the list.
    pub news: Vec<String>,
}

/// Where the list lives in the tree.
#[must_use]
pub fn default_list() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance").join("pass.txt")
}

/// Runs the tests; each gets a node in turn.
pub async fn conformance(options: &ConformanceOptions, mut say: impl FnMut(&str)) -> anyhow::Result<ConformanceReport> {
    let wanted = read_list(&options.list)?;
    let tests: Vec<String> = list_tests(&options.smbtorture).await?.into_iter().filter(|t| is_wanted(t, &options.only)).collect();
    if tests.is_empty() {
        bail!("smbtorture has no such test");
    }
    let (cluster, directories) = start(options).await?;
    let mut report = ConformanceReport::default();
    for (i, test) in tests.iter().enumerate() {
        let node = &cluster.nodes[i % cluster.nodes.len()];
        let from = Instant::now();
        let (mut outcome, mut why) = run_test(options, directories.path(), node.smb, test).await?;
        if outcome != Outcome::Pass && wanted.contains(test) {
            // Some tests measure time, and the machine may have been busy: a regression fails twice.
            say(&format!("{outcome:?} {test}, once more: {why}"));
            (outcome, why) = run_test(options, directories.path(), node.smb, test).await?;
        }
        say(&format!("{outcome:?} {test} {:.1} s{}{why}", from.elapsed().as_secs_f64(), if why.is_empty() { "" } else { ": " }));
        if !cluster.nodes.iter().all(|n| crate::cluster::is_running(n.pid)) {
            bail!("a node died during {test}: {}", cluster.log());
        }
        report.results.push((test.clone(), outcome));
    }
    cluster.stop().await?;
    let passed: BTreeSet<&String> = report.results.iter().filter(|(_, o)| *o == Outcome::Pass).map(|(t, _)| t).collect();
    report.regressions = report.results.iter().map(|(t, _)| t).filter(|t| wanted.contains(*t) && !passed.contains(t)).cloned().collect();
    report.news = passed.iter().filter(|t| !wanted.contains(**t)).map(|t| (*t).clone()).collect();
    Ok(report)
}

impl ConformanceReport {
    /// One line.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |outcome| self.results.iter().filter(|(_, o)| *o == outcome).count();
        format!(
            "{} passed, {} failed, {} skipped, {} timed out; {} regressions, {} new",
            count(Outcome::Pass),
            count(Outcome::Fail),
            count(Outcome::Skip),
            count(Outcome::Timeout),
            self.regressions.len(),
            self.news.len()
        )
    }
}

/// Writes the list anew: what passed in every one of these runs. Tests that were not run keep what the list says of them.
pub fn update(list: &Path, reports: &[ConformanceReport]) -> anyhow::Result<()> {
    let known = read_list(list)?;
    let run: BTreeSet<&String> = reports.iter().flat_map(|r| r.results.iter().map(|(t, _)| t)).collect();
    let failed: BTreeSet<&String> =
        reports.iter().flat_map(|r| r.results.iter().filter(|(_, o)| *o != Outcome::Pass).map(|(t, _)| t)).collect();
    let all: BTreeSet<&String> =
        known.iter().filter(|t| !run.contains(t)).chain(run.iter().copied().filter(|t| !failed.contains(t))).collect();
    write_list(list, &all)
}

/// A cluster with the shares that the suite looks for; the directories live as long as the second value.
async fn start(options: &ConformanceOptions) -> anyhow::Result<(Cluster, tempfile::TempDir)> {
    let directories = tempfile::Builder::new().prefix("holdfast-torture-").tempdir().context("no temporary directory")?;
    let own = directories.path().join("torture");
    let common = directories.path().join("ca");
    for directory in [&own, &common] {
        std::fs::create_dir(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        // Whoever logs on may make files there.
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o777))
            .with_context(|| format!("cannot change {}", directory.display()))?;
    }
    let mut cluster = options.cluster.clone();
    cluster.users.push(format!("{SECOND_USER}:{PASSWORD}"));
    cluster.shares.push(format!("{SHARE}={}", own.display()));
    // The persistent suites connect to three names of one directory.
    cluster.shares.push(format!("fo={}", common.display()));
    cluster.shares.extend(CA_SHARES.iter().map(|name| format!("{name}={},ca", common.display())));
    cluster.shares.push(format!("{HIDING_SHARE}={}", own.display()));
    let cluster = Cluster::start(&cluster).await?;
    let password = crate::cluster::write_secret(directories.path(), "password", PASSWORD)?;
    let password = password.to_str().context("the temporary directory is not UTF-8")?;
    for arguments in
        [&["user", "add", PLAIN_USER, "--password-file", password][..], &["share", "set", HIDING_SHARE, "access-based-enumeration=on"]]
    {
        let (code, said) = cluster.command(0, arguments).await?;
        if code != Some(0) {
            bail!("holdfast {}: {said}", arguments.join(" "));
        }
    }
    Ok((cluster, directories))
}

async fn list_tests(smbtorture: &Path) -> anyhow::Result<Vec<String>> {
    let output = Command::new(smbtorture)
        .arg("--list")
        .output()
        .await
        .with_context(|| format!("cannot run {}: install it (Debian: samba-testsuite)", smbtorture.display()))?;
    Ok(names(&String::from_utf8_lossy(&output.stdout)))
}

/// The tests of our suites in a listing; a suite of one test is listed with its name doubled.
fn names(listing: &str) -> Vec<String> {
    let mut all = Vec::new();
    for line in listing.lines().map(str::trim) {
        let name = match line.rsplit_once('.') {
            Some((head, last)) if head.ends_with(&format!(".{last}")) => head,
            _ => line,
        };
        let ours = SUITES.iter().any(|s| name == *s || name.strip_prefix(s).is_some_and(|rest| rest.starts_with('.')));
        if ours && !all.iter().any(|n| n == name) {
            all.push(name.to_owned());
        }
    }
    all
}

fn is_wanted(test: &str, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|word| test.contains(word.as_str()))
}

async fn run_test(options: &ConformanceOptions, scratch: &Path, at: SocketAddr, test: &str) -> anyhow::Result<(Outcome, String)> {
    let smbtorture = &options.smbtorture;
    let share = if test.starts_with("smb2.persistent") || test.contains("persistent-open") { CA_SHARES[0] } else { SHARE };
    let user = if test.starts_with("smb2.acls.") && !PRIVILEGED.contains(&test) { PLAIN_USER } else { USER };
    let child = Command::new(smbtorture)
        .arg(format!("//{}/{share}", at.ip()))
        .args(["-p", &at.port().to_string(), "-U", &format!("{user}%{PASSWORD}"), "--option=torture:progress=no"])
        .arg(format!("--option=torture:user2name={SECOND_USER}"))
        .arg(format!("--option=torture:user2password={PASSWORD}"))
        // It keeps files of its own there, and one that runs out of time leaves them.
        .arg(format!("--basedir={}", scratch.display()))
        .arg(test)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run {}", smbtorture.display()))?;
    match tokio::time::timeout(TEST_LIMIT, child.wait_with_output()).await {
        Err(_) => Ok((Outcome::Timeout, String::new())),
        Ok(output) => Ok(judge(&String::from_utf8_lossy(&output.context("output of smbtorture")?.stdout))),
    }
}

/// What the suite's output says, and the first reason it gives.
fn judge(output: &str) -> (Outcome, String) {
    let has = |word: &str| output.lines().any(|l| l.starts_with(word));
    let reason = || {
        let mut lines = output.lines().skip_while(|l| !(l.starts_with("failure:") || l.starts_with("error:") || l.starts_with("skip:")));
        lines.nth(1).unwrap_or_default().trim().chars().take(120).collect()
    };
    if has("failure:") || has("error:") {
        (Outcome::Fail, reason())
    } else if has("success:") {
        (Outcome::Pass, String::new())
    } else if has("skip:") {
        (Outcome::Skip, reason())
    } else {
        (Outcome::Fail, output.lines().last().unwrap_or("no output").chars().take(120).collect())
    }
}

fn read_list(path: &Path) -> anyhow::Result<BTreeSet<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn write_list(path: &Path, tests: &BTreeSet<&String>) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut text = String::from(
        "# Tests of smbtorture that pass; `make conformance` fails when one of them does not. Written by `chaos conformance --update`.\n",
    );
    for test in tests {
        text.push_str(test);
        text.push('\n');
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubled_names_and_foreign_suites() {
        let listing = "smb2.connect.connect\nsmb2.lock.valid-request\nbase.lock\nsmb2.lockx.a\n  smb2.rw.rw1\nsmb2.rw.rw1\n";
        assert_eq!(names(listing), ["smb2.connect", "smb2.lock.valid-request", "smb2.rw.rw1"]);
    }

    #[test]
    fn outcomes_are_read_from_the_output() {
        assert_eq!(judge("test: x\ntime: 1\nsuccess: x\n").0, Outcome::Pass);
        assert_eq!(judge("success: x\nfailure: y [\nwrong status\n]\n"), (Outcome::Fail, "wrong status".to_owned()));
        assert_eq!(judge("skip: x [\nno leases\n]\n").0, Outcome::Skip);
        assert_eq!(judge("").0, Outcome::Fail);
    }

    #[test]
    fn a_test_must_pass_in_every_run_to_be_listed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pass.txt");
        let (kept, gone) = ("smb2.kept".to_owned(), "smb2.gone".to_owned());
        write_list(&path, &BTreeSet::from([&kept, &gone])).unwrap();
        let run = |results: &[(&str, Outcome)]| ConformanceReport {
            results: results.iter().map(|(t, o)| ((*t).to_owned(), *o)).collect(),
            ..ConformanceReport::default()
        };
        let one = run(&[("smb2.a", Outcome::Pass), ("smb2.b", Outcome::Pass), ("smb2.gone", Outcome::Pass)]);
        let three = run(&[("smb2.a", Outcome::Pass), ("smb2.b", Outcome::Fail), ("smb2.gone", Outcome::Timeout)]);
        update(&path, &[one, three]).unwrap();
        assert_eq!(read_list(&path).unwrap().into_iter().collect::<Vec<_>>(), ["smb2.a", "smb2.kept"]);
    }

    #[test]
    fn the_list_is_kept_sorted_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("pass.txt");
        assert!(read_list(&path).unwrap().is_empty());
        let (a, b) = ("smb2.b".to_owned(), "smb2.a".to_owned());
        write_list(&path, &BTreeSet::from([&a, &b])).unwrap();
        assert_eq!(read_list(&path).unwrap().into_iter().collect::<Vec<_>>(), ["smb2.a", "smb2.b"]);
    }
}
