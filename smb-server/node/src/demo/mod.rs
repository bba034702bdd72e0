//! `holdfast demo`: a cluster of real processes on loopback addresses, until Ctrl-C.
//!
//! It does what an operator would do by hand: `init` on the first node, a token and `join` for each other one, `serve` everywhere.

mod children;
mod layout;
mod show;

use std::os::unix::fs::PermissionsExt as _;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{
        change::{Token, TokenWish},
        shares::ShareView,
        view::{Status, UserView},
    },
    cli::DemoArgs,
    client::{Connection, Endpoint},
    command::{self, init::Beginning, say_json},
    daemon,
    failure::{CANNOT_CREATE, CONFIG, Failure, UNAVAILABLE, USAGE},
    identity,
    secret::{self, Account, Secret},
    words::ShareWord,
};

use children::Children;
use layout::NodePlan;

/// Longest wait for one node to serve.
const READY_MAX: Duration = Duration::from_secs(60);
/// Pause between two looks at a starting node.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// Timeout for one status request; the node may be down.
const LOOK_MAX: Duration = Duration::from_millis(800);
/// Default user.
const USER: &str = "demo";
/// Password of the default user.
const PASSWORD: &str = "Holdfast1!";
/// How long a join token of the demo is good.
const TOKEN_SECONDS: u64 = 300;

/// A directory that is removed at the end if it was ours.
enum Place {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(dir) => dir.path(),
        }
    }
}

/// Runs the demo.
///
/// # Errors
/// A node did not start; the message is the node's own.
pub async fn run(args: &DemoArgs) -> Result<(), Failure> {
    let mut stop = Stop::new(args.exit_with_stdin)?;
    let place = place(args)?;
    let dir = place.path();
    let mut progress = show::Progress::new(args.json);
    let (plans, is_new) = layout::plan(args, dir)?;
    let users = users(args)?;
    if is_new {
        progress.step("creating the cluster");
        create(args, dir, &plans[0], &users).await?;
    } else if args.users_file.is_some() || !args.shares.is_empty() {
        progress.step("the directory holds a cluster already: its users and shares stay as they are");
    }
    let mut children = Children::new(dir);
    let result = tokio::select! {
        started = start(&plans, &mut children, &mut progress) => started,
        () = stop.wait() => Err(Failure::new(0, "stopped before the cluster was ready")),
    };
    if let Err(failure) = result {
        children.stop().await;
        return if failure.code == 0 { Ok(()) } else { Err(failure) };
    }
    let ready = Ready::look(&plans, &children, is_new && args.users_file.is_none()).await?;
    if args.json {
        say_json(&ready)?;
    } else {
        show::banner(&ready, dir);
    }
    show::live(args.json, &plans, &mut children, &mut stop).await;
    progress.step("stopping");
    children.stop().await;
    if let Place::Temporary(dir) = place {
        dir.close().map_err(|e| Failure::new(crate::failure::IO, format!("the temporary directory could not be removed: {e}")))?;
    }
    Ok(())
}

/// The default user, or the users of a file.
fn users(args: &DemoArgs) -> Result<Vec<Account>, Failure> {
    if !args.users.is_empty() {
        let message = "do not write passwords on the command line: put lines of NAME:PASSWORD into a file, and name it with --users-file";
        return Err(Failure::new(USAGE, message));
    }
    match &args.users_file {
        Some(file) => secret::accounts_of_file(file),
        None => Ok(vec![Account { name: USER.to_owned(), password: Secret::new(PASSWORD)? }]),
    }
}

/// GET from a node's socket with a timeout.
async fn ask<T: serde::de::DeserializeOwned>(plan: &NodePlan, path: &str, limit: Duration) -> Result<T, Failure> {
    let connection = connection(plan);
    let late = |_| Failure::new(UNAVAILABLE, format!("node {} does not answer", plan.number));
    tokio::time::timeout(limit, connection.get(path)).await.map_err(late)?
}

fn connection(plan: &NodePlan) -> Connection {
    Connection { endpoint: Endpoint::local(&plan.config.data_dir), token: None }
}

/// Ctrl-C, SIGTERM or, if wished, the end of standard input.
pub(crate) struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    orphaned: CancellationToken,
}

impl Stop {
    fn new(watch_stdin: bool) -> Result<Self, Failure> {
        let orphaned = CancellationToken::new();
        if watch_stdin {
            let orphaned = orphaned.clone();
            tokio::spawn(async move {
                daemon::end_of_stdin().await;
                orphaned.cancel();
            });
        }
        let failed = |e: std::io::Error| Failure::new(UNAVAILABLE, format!("signals cannot be received: {e}"));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            orphaned,
        })
    }

    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = self.orphaned.cancelled() => {}
        }
    }
}

fn place(args: &DemoArgs) -> Result<Place, Failure> {
    match &args.dir {
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(|e| Failure::new(CANNOT_CREATE, format!("cannot make {}: {e}", dir.display())))?;
            let dir = dir.canonicalize().map_err(|e| Failure::file("use", dir, &e))?;
            Ok(Place::Kept(dir))
        }
        None => {
            let dir = tempfile::Builder::new().prefix("holdfast-demo-").tempdir();
            dir.map(Place::Temporary)
                .map_err(|e| Failure::new(CANNOT_CREATE, format!("cannot make a temporary directory: {e}; name one with --dir")))
        }
    }
}

async fn create(args: &DemoArgs, dir: &Path, first: &NodePlan, users: &[Account]) -> Result<(), Failure> {
    let mut shares = args.shares.clone();
    if shares.is_empty() {
        let share = |name: &str, ca| ShareWord { name: name.to_owned(), dir: None, ca, scaleout: false, encrypt: false };
        shares = vec![share("share", true), share("plain", false)];
    }
    for share in &mut shares {
        if share.dir.is_none() {
            let own = dir.join("shares").join(&share.name);
            std::fs::create_dir_all(&own).map_err(|e| Failure::new(CANNOT_CREATE, format!("cannot make {}: {e}", own.display())))?;
            // Every user of the demo may write, as on a share for everybody.
            std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o777))
                .map_err(|e| Failure::file("open to every user", &own, &e))?;
            share.dir = Some(own);
        }
    }
    command::init::run(&first.config, &Beginning { net_name: &args.net_name, users, shares: &shares }).await.map(drop)
}

/// Starts all nodes; those without an identity join first, through node 1.
async fn start(plans: &[NodePlan], children: &mut Children, progress: &mut show::Progress) -> Result<(), Failure> {
    let known: Vec<bool> = plans.iter().map(|plan| identity::exists(&plan.config.data_dir)).collect();
    for (plan, _) in plans.iter().zip(&known).filter(|(_, known)| **known) {
        progress.step(&format!("starting node {}", plan.number));
        children.start(plan)?;
    }
    for (plan, _) in plans.iter().zip(&known).filter(|(_, known)| **known) {
        wait_ready(plan, children).await?;
    }
    for (plan, _) in plans.iter().zip(&known).filter(|(_, known)| !**known) {
        progress.step(&format!("node {} joins", plan.number));
        let token: Token = connection(&plans[0]).post("/api/v1/tokens", &TokenWish { seconds: TOKEN_SECONDS }).await?;
        command::join::run(&plan.config, &Secret::new(token.token)?).await?;
        children.start(plan)?;
        wait_ready(plan, children).await?;
    }
    let voters = |status: &Status| status.nodes.iter().filter(|n| n.voter && n.state == "up").count() == plans.len();
    let deadline = Instant::now() + READY_MAX;
    progress.step("waiting until every node votes");
    for plan in plans {
        loop {
            children.check()?;
            let status = ask::<Status>(plan, "/api/v1/status", LOOK_MAX).await;
            if status.is_ok_and(|s| s.serving && voters(&s)) {
                break;
            }
            if Instant::now() > deadline {
                return Err(Failure::new(
                    UNAVAILABLE,
                    format!("node {} did not become a full member; see {}", plan.number, plan.log.display()),
                ));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
    Ok(())
}

async fn wait_ready(plan: &NodePlan, children: &mut Children) -> Result<(), Failure> {
    let deadline = Instant::now() + READY_MAX;
    loop {
        children.check()?;
        let status = ask::<Status>(plan, "/api/v1/status", LOOK_MAX).await;
        if status.is_ok_and(|status| status.serving) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Failure::new(UNAVAILABLE, format!("node {} does not serve; see {}", plan.number, plan.log.display())));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// What `--json` prints.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Ready {
    pub(crate) net_name: String,
    pub(crate) nodes: Vec<ReadyNode>,
    pub(crate) users: Vec<ReadyUser>,
    pub(crate) shares: Vec<ShareView>,
}

#[derive(Debug, serde::Serialize)]
pub(crate) struct ReadyNode {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) address: std::net::IpAddr,
    pub(crate) smb_port: u16,
    pub(crate) mapper_port: u16,
    pub(crate) witness_port: u16,
    pub(crate) admin_port: u16,
    pub(crate) pid: u32,
    pub(crate) config: PathBuf,
}

#[derive(Debug, serde::Serialize)]
pub(crate) struct ReadyUser {
    pub(crate) name: String,
    /// Only of the default user, whose password is documented.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<&'static str>,
}

impl Ready {
    async fn look(plans: &[NodePlan], children: &Children, made_own_user: bool) -> Result<Self, Failure> {
        let first = plans.first().ok_or_else(|| Failure::new(CONFIG, "a demo has at least one node"))?;
        let status: Status = ask(first, "/api/v1/status", READY_MAX).await?;
        let users: Vec<UserView> = ask(first, "/api/v1/users", READY_MAX).await?;
        let shares: Vec<ShareView> = ask(first, "/api/v1/shares", READY_MAX).await?;
        let password = |name: &str| (made_own_user && name == USER).then_some(PASSWORD);
        Ok(Self {
            net_name: status.net_name,
            nodes: plans.iter().map(|plan| ready_node(plan, children)).collect::<Result<_, _>>()?,
            users: users.into_iter().map(|user| ReadyUser { password: password(&user.name), name: user.name }).collect(),
            shares,
        })
    }
}

fn ready_node(plan: &NodePlan, children: &Children) -> Result<ReadyNode, Failure> {
    let listen = &plan.config.listen;
    Ok(ReadyNode {
        id: identity::load(&plan.config.data_dir)?.node_id,
        name: plan.config.name.clone(),
        address: listen.admin.ip(),
        smb_port: listen.smb[0].port(),
        mapper_port: listen.mapper.port(),
        witness_port: listen.witness.port(),
        admin_port: listen.admin.port(),
        pid: children.pid(plan.number).unwrap_or_default(),
        config: plan.file.clone(),
    })
}
