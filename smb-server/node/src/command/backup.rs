//! `holdfast backup` and `holdfast restore`.

use std::{
    fs::File,
    io::{self, BufReader, IsTerminal as _, Read, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Instant,
};

use indicatif::{ProgressBar, ProgressStyle};
use persistence::{Backup, BackupError, BackupHead, BackupSize, ClusterCa, OpenError};
use persistence_model::Rebirth;
use serde::Serialize;
use smb_types::Guid;

use super::{init, local_audit, say, say_json};
use crate::{
    cli::{BackupArgs, BackupCommand, RestoreArgs, VerifyArgs},
    client::AdminClient,
    config::Config,
    daemon,
    failure::{CANNOT_CREATE, DATA, Failure, IO, UNAVAILABLE},
    identity,
};

/// What there is to say of a backup. The shape is the JSON of `--json`.
#[derive(Debug, Serialize)]
pub struct BackupView {
    /// The file.
    pub file: PathBuf,
    /// The cluster of which it is a copy.
    pub cluster: String,
    /// That cluster's name.
    pub net_name: String,
    /// The node that made it.
    pub node: u64,
    /// The last log entry that it holds.
    pub index: u64,
    /// Log time of that entry.
    pub log_time_ms: u64,
    /// Seconds since 1970 when it was made, by that node's clock.
    pub made_unix_s: u64,
    /// Entries.
    pub entries: u64,
    /// Bytes.
    pub bytes: u64,
    /// Names of its shares.
    pub shares: Vec<String>,
    /// Names of its users.
    pub users: Vec<String>,
    /// Opens.
    pub opens: usize,
    /// The members of that cluster.
    pub members: std::collections::BTreeMap<u64, String>,
    /// What the program noted beside the records.
    pub notes: std::collections::BTreeMap<String, String>,
}

impl BackupView {
    fn of(file: &Path, backup: &Backup) -> Self {
        let (head, state) = (&backup.head, &backup.state);
        Self {
            file: file.to_owned(),
            cluster: head.cluster.to_string(),
            net_name: state.cluster().map(|cluster| cluster.net_name.clone()).unwrap_or_default(),
            node: head.node_id,
            index: head.index,
            log_time_ms: head.time_ms,
            made_unix_s: head.made_unix_s,
            entries: backup.size.entries,
            bytes: backup.size.bytes,
            shares: state.shares().map(|share| share.name.clone()).collect(),
            users: state.users().map(|user| user.name.clone()).collect(),
            opens: state.open_count(),
            members: head.members.clone(),
            notes: head.notes.clone(),
        }
    }

    fn tell(&self) {
        say(&format!("cluster {} ({}), log entry {}, made by node {}", self.net_name, self.cluster, self.index, self.node));
        say(&format!("  {} entries, {} bytes; {} opens", self.entries, self.bytes, self.opens));
        say(&format!("  shares: {}", if self.shares.is_empty() { "none".to_owned() } else { self.shares.join(", ") }));
        say(&format!("  users: {}", if self.users.is_empty() { "none".to_owned() } else { self.users.join(", ") }));
    }
}

/// `holdfast backup`.
///
/// # Errors
/// The node cannot be asked, the file cannot be written, or it is no good backup.
pub fn run(args: &BackupArgs) -> Result<(), Failure> {
    match (&args.command, &args.to) {
        (Some(BackupCommand::Verify(args)), _) => verify(args),
        (None, Some(to)) => take(args, to),
        (None, None) => Err(Failure::new(crate::failure::USAGE, "name the file: holdfast backup --to FILE")),
    }
}

fn take(args: &BackupArgs, to: &Path) -> Result<(), Failure> {
    if to.exists() && !args.overwrite {
        return Err(Failure::new(CANNOT_CREATE, format!("{} exists; name another file or add --overwrite", to.display())));
    }
    let began = Instant::now();
    let staged = staged(to);
    let client = AdminClient::of(&args.at)?;
    let stream = client.stream("/api/v1/backup")?;
    let taken = copy(stream, &staged, args.json).and_then(|backup| {
        put_in_place(&staged, to)?;
        Ok(backup)
    });
    let backup = taken.inspect_err(|_| {
        // What is left of it is of no use to anybody.
        let _ = std::fs::remove_file(&staged);
    })?;
    let view = BackupView::of(to, &backup);
    if args.json {
        return say_json(&view);
    }
    view.tell();
    say(&format!(
        "written to {} in {:.1} s, and checked; it holds password hashes: keep it where nobody else reads it",
        to.display(),
        began.elapsed().as_secs_f64()
    ));
    Ok(())
}

fn staged(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    to.with_file_name(name)
}

/// Writes what comes to a file and checks it on the way.
fn copy(stream: impl Read, staged: &Path, is_json: bool) -> Result<Backup, Failure> {
    let write = |e: &io::Error| Failure::file("write", staged, e);
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(staged).map_err(|e| write(&e))?;
    let mut tee = Tee { input: stream, out: io::BufWriter::with_capacity(1 << 20, file), broken: None };
    let read = read_with_progress(&mut tee, is_json);
    if let Some(error) = tee.broken {
        return Err(write(&error));
    }
    let backup = read.map_err(|error| match error {
        BackupError::Read(_) | BackupError::CutOff { .. } => {
            Failure::new(UNAVAILABLE, format!("the node stopped sending its backup ({error}); its log says why; nothing was kept"))
        }
        error => Failure::new(DATA, format!("what the node sent is no good backup: {error}")),
    })?;
    let file = tee.out.into_inner().map_err(|e| write(e.error()))?;
    file.sync_all().map_err(|e| write(&e))?;
    Ok(backup)
}

fn put_in_place(staged: &Path, to: &Path) -> Result<(), Failure> {
    let io = |e: io::Error| Failure::file("write", to, &e);
    std::fs::rename(staged, to).map_err(io)?;
    let folder = match to.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}

/// Everything that is read is also written.
struct Tee<R> {
    input: R,
    out: io::BufWriter<File>,
    /// Why the file could not be written: not the reader's fault.
    broken: Option<io::Error>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let got = self.input.read(bytes)?;
        // The last read is the one at the end: whatever is still buffered is written here, so that its failure is known.
        let written = if got == 0 { self.out.flush() } else { self.out.write_all(&bytes[..got]) };
        written.map_err(|error| {
            let kind = error.kind();
            self.broken = Some(error);
            io::Error::from(kind)
        })?;
        Ok(got)
    }
}

fn read_with_progress(input: impl Read, is_json: bool) -> Result<Backup, BackupError> {
    let is_shown = !is_json && io::stderr().is_terminal();
    let bar = if is_shown { ProgressBar::new(0) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} entries  {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    let told = |head: &BackupHead, size: BackupSize| {
        bar.set_length(head.entries_about.max(size.entries));
        bar.set_position(size.entries);
        bar.set_message(format!("{} bytes", size.bytes));
    };
    let read = Backup::read(input, told);
    bar.finish_and_clear();
    read
}

/// Reads a file that should be a backup.
fn read_file(path: &Path, is_json: bool) -> Result<Backup, Failure> {
    let file = File::open(path).map_err(|e| Failure::file("read the backup", path, &e))?;
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        return Err(Failure::new(DATA, format!("{} is a directory; name the file that `holdfast backup --to` made", path.display())));
    }
    read_with_progress(BufReader::with_capacity(1 << 20, file), is_json).map_err(|error| {
        let code = if matches!(error, BackupError::Read(_)) { IO } else { DATA };
        Failure::new(code, format!("{} cannot be used: {error}", path.display()))
    })
}

fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    verify_file(&args.file, args.json)
}

/// Reads a backup to its end and says what it holds.
///
/// # Errors
/// It is none, or damaged.
pub(super) fn verify_file(file: &Path, is_json: bool) -> Result<(), Failure> {
    let view = BackupView::of(file, &read_file(file, is_json)?);
    if is_json {
        return say_json(&view);
    }
    view.tell();
    say("every byte was read and is as it was written");
    Ok(())
}

/// What `holdfast restore --json` prints.
#[derive(Debug, Serialize)]
struct Restored {
    cluster: String,
    net_name: String,
    node: u64,
    from_cluster: String,
    from_index: u64,
    shares: Vec<String>,
    users: Vec<String>,
    handles_kept: usize,
    handles_dropped: usize,
    sessions_dropped: usize,
    nodes_dropped: usize,
    deletes_dropped: usize,
    missing_directories: Vec<String>,
}

/// `holdfast restore`: the first node of a new cluster, which begins with a backup.
///
/// # Errors
/// The node belongs to a cluster already, the file is no good backup, or the disk.
pub async fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    let config = Config::read(&args.at.config)?;
    let restored = restore_into(&config, args).await;
    let about = serde_json::json!({"from": args.from, "net_name": args.net_name, "keep_handles": args.keep_handles});
    local_audit::record(&config.data_dir, "restore", about, restored.as_ref().err()).await;
    let restored = restored?;
    if args.json {
        return say_json(&restored);
    }
    tell_restored(&restored);
    Ok(())
}

async fn restore_into(config: &Config, args: &RestoreArgs) -> Result<Restored, Failure> {
    init::check_new(config)?;
    let records = daemon::records_dir(config);
    if records.exists() {
        let message =
            format!("{} exists: move it away, or name another data_dir; a restore never touches what is there", records.display());
        return Err(Failure::new(CANNOT_CREATE, message));
    }
    if let Some(name) = &args.net_name {
        init::check_net_name(name)?;
    }
    // Nothing is written before the whole file was read and found good.
    let backup = tokio::task::block_in_place(|| read_file(&args.from, args.json))?;
    let view = BackupView::of(&args.from, &backup);
    let missing: Vec<String> =
        backup.state.shares().map(|share| share.settings.path.clone()).filter(|path| !Path::new(path).is_dir()).collect();
    identity::make_data_dir(&config.data_dir)?;
    let unusable = |e: persistence::PkiError| Failure::new(DATA, e.to_string());
    let authority = ClusterCa::create().map_err(unusable)?;
    let own = authority.issue(1).map_err(unusable)?;
    // A restore that was interrupted leaves no identity and no records, and can be tried again.
    let staged = records.with_extension("restoring");
    if staged.exists() {
        std::fs::remove_dir_all(&staged).map_err(|e| Failure::file("remove what an interrupted restore left in", &staged, &e))?;
    }
    let renamed = args.net_name.clone().map(|name| (name, Guid(*uuid::Uuid::new_v4().as_bytes())));
    let net_name = renamed.as_ref().map_or(view.net_name.clone(), |(name, _)| name.clone());
    let rebirth = Rebirth { renamed, keep_handles: args.keep_handles };
    let options = persistence::StoreConfig::new(own.clone(), &staged, config.listen.raft);
    let left = persistence::restore(&options, &staged, backup, &rebirth).await.map_err(|error| match error {
        OpenError::Config(because) => Failure::new(DATA, because),
        error => Failure::from(error),
    })?;
    std::fs::rename(&staged, &records).map_err(|e| Failure::file("write", &records, &e))?;
    identity::save_authority(&config.data_dir, &authority)?;
    identity::save(&config.data_dir, &own)?;
    Ok(Restored {
        cluster: own.cluster.to_string(),
        net_name,
        node: own.node_id,
        from_cluster: view.cluster,
        from_index: view.index,
        shares: view.shares,
        users: view.users,
        handles_kept: left.opens_kept,
        handles_dropped: left.opens,
        sessions_dropped: left.sessions,
        nodes_dropped: left.nodes,
        deletes_dropped: left.deletes,
        missing_directories: missing,
    })
}

fn tell_restored(restored: &Restored) {
    say(&format!(
        "cluster {} ({}) begins with log entry {} of cluster {}",
        restored.net_name, restored.cluster, restored.from_index, restored.from_cluster
    ));
    say(&format!("  {} shares, {} users", restored.shares.len(), restored.users.len()));
    say(&format!("  handles: {} wait for their clients, {} are gone", restored.handles_kept, restored.handles_dropped));
    if restored.deletes_dropped > 0 {
        say(&format!("  {} files that were about to be removed stay where they are", restored.deletes_dropped));
    }
    for path in &restored.missing_directories {
        say(&format!("  attention: {path} of a share does not exist on this machine; make it or mount it before clients come"));
    }
    say("start this node with `holdfast serve`, then let the others join with `holdfast token`; nodes of the old cluster cannot come back");
}
