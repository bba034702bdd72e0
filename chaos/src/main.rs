//! The program `chaos`: takes the command line apart and calls the library.

use std::net::SocketAddr;
use std::process::ExitCode;

use chaos::client::ClientIdentity;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "chaos", about = "Breaks Holdfast clusters and checks that nothing is lost", version)]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Holds a short conversation with any server that grants persistent handles
    Probe {
        /// Address and port of the server
        server: SocketAddr,
        /// A continuously available share
        share: String,
        /// NAME:PASSWORD
        #[arg(long)]
        user: String,
        /// Encrypt everything
        #[arg(long)]
        encrypt: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::from(70)
        }
    }
}

async fn run(what: What) -> anyhow::Result<bool> {
    match what {
        What::Probe { server, share, user, encrypt } => {
            let (name, password) = user.split_once(':').ok_or_else(|| anyhow::anyhow!("--user wants NAME:PASSWORD"))?;
            let identity = ClientIdentity { encrypt, ..ClientIdentity::new(name, password) };
            for line in chaos::probe::probe(server, &share, identity).await? {
                println!("{line}");
            }
            Ok(true)
        }
    }
}
