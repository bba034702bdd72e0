//! The `holdfast` program.

use std::process::ExitCode;

use clap::Parser as _;
use holdfast::{
    Failure,
    cli::{Cli, Command},
    command::{self, say},
    config::Config,
    daemon, demo,
    failure::USAGE,
};

/// For what all threads allocate and free all the time (docs/decisions/0024-jemalloc.md).
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not errors.
            let code = if error.use_stderr() { USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match run(&cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "holdfast: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => block_on(demo::run(args)),
        Command::Init(args) => {
            let config = Config::read(&args.at.config)?;
            let users = command::init::users(args)?;
            let beginning = command::init::Beginning { net_name: &args.net_name, users: &users, shares: &args.shares };
            let made = block_on(command::init::run(&config, &beginning))?;
            if args.json {
                return command::say_json(&made);
            }
            say(&format!("cluster {} is created; start this node with `holdfast serve`", args.net_name));
            Ok(())
        }
        Command::Join(args) => {
            let config = Config::read(&args.at.config)?;
            let token = command::join::token(args)?;
            let member = block_on(command::join::run(&config, &token))?;
            if args.json {
                return command::say_json(&member);
            }
            say(&format!("this is node {} now; start it with `holdfast serve`", member.node));
            Ok(())
        }
        Command::Serve(args) => {
            log_to_stderr();
            stop_on_panic();
            block_on(daemon::serve_file(&args.at.config, args.exit_with_stdin))
        }
        Command::Status(args) => command::look::status(args),
        Command::Sessions(args) => command::in_use::sessions(args),
        Command::Handles(args) => command::in_use::handles(args),
        Command::Locks(args) => command::in_use::locks(args),
        Command::Session(command) => command::in_use::session(command),
        Command::Handle(command) => command::in_use::handle(command),
        Command::Client(command) => command::in_use::client(command),
        Command::Witness(command) => command::witness::run(command),
        Command::Events(args) => command::events::run(args),
        Command::Cluster(command) => command::cluster::run(command),
        Command::User(command) => command::user::run(command),
        Command::Group(command) => command::group::run(command),
        Command::Share(command) => command::share::run(command),
        Command::Node(command) => command::node::run(command),
        Command::Backup(args) => command::backup::run(args),
        Command::Restore(args) => block_on(command::backup::restore(args)),
        Command::Store(command) => command::store::run(command),
        Command::Certificate(command) => command::certificate::run(command),
        Command::Authority(command) => command::certificate::authority(command),
        Command::Token(args) => command::node::token(args),
        Command::Admin(command) => command::admin::run(command),
        Command::Audit(args) => command::audit::run(args),
    }
}

fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    // One more than there are processors: the one that is kept free of calls that may wait for a disk (`smb_server::blocking`).
    let threads = 1 + std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = runtime.map_err(|e| Failure::new(holdfast::failure::UNAVAILABLE, format!("no threads can be started: {e}")))?;
    let result = runtime.block_on(future);
    // A read of standard input may never end; nothing else is left.
    runtime.shutdown_background();
    result
}

fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("HOLDFAST_LOG").unwrap_or_else(|_| "info,openraft=error".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}

/// A broken invariant ends the process: the cluster takes over within milliseconds, while a node that goes on would be guessing.
fn stop_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        tracing::error!(%info, "a bug: this node stops, the others take over");
        tell(info);
        std::process::abort();
    }));
}
