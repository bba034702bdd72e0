//! Asks a witness of anybody through its endpoint mapper, at every level, with both packages, in both transfer syntaxes.
//!
//! `ask MAPPER USER PASSWORD NET_NAME IP`, for example `ask 192.0.2.1:135 alice secret fs1 192.0.2.2`.
#![allow(clippy::print_stdout, reason = "a tool for a terminal")]

use std::net::SocketAddr;
use std::time::Duration;

use dcerpc_rs::{AuthLevel, TransferSyntax, epm};
use smb_auth::Credentials;
use witness::client::{Registration, notification};
use witness::{NtlmInitiator, WITNESS, WitnessClient, WitnessError};

/// How long a call waits for an event before it is cancelled.
const PATIENCE: Duration = Duration::from_millis(200);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mapper, user, password, net_name, ip] = arguments.as_slice() else {
        return Err("ask MAPPER USER PASSWORD NET_NAME IP".into());
    };
    let mapper: SocketAddr = mapper.parse()?;
    let address = epm::resolve(mapper, WITNESS).await?;
    println!("the witness is at {address}");
    for raw in [false, true] {
        for level in [AuthLevel::Integrity, AuthLevel::Privacy] {
            for transfer in TransferSyntax::ALL {
                let credentials = Credentials::password(user, "WORKGROUP", password);
                let initiator = if raw { NtlmInitiator::raw } else { NtlmInitiator::spnego }(credentials, "CLIENT1", "cifs/witness");
                let asked = ask(address, initiator, level, transfer, net_name, ip).await;
                println!("{} {level:?} {transfer:?}: {asked:?}", if raw { "NTLM" } else { "SPNEGO" });
            }
        }
    }
    Ok(())
}

async fn ask(
    address: SocketAddr,
    initiator: NtlmInitiator,
    level: AuthLevel,
    transfer: TransferSyntax,
    net_name: &str,
    ip: &str,
) -> Result<String, WitnessError> {
    let client = WitnessClient::connect_with(address, initiator, level, vec![transfer]).await?;
    let list = client.interface_list().await?;
    let registration = Registration {
        net_name: net_name.to_owned(),
        share_name: None,
        ip_address: ip.to_owned(),
        client_name: "CLIENT1".to_owned(),
        ip_notification: true,
        keep_alive_s: 60,
    };
    let handle = client.register_ex(&registration).await?;
    let waiting = client.start_async_notify(handle);
    tokio::time::sleep(PATIENCE).await;
    waiting.cancel();
    let ended = notification(waiting).await;
    client.unregister(handle).await?;
    Ok(format!("{} interfaces, registered, the waiting call ended with {ended:?}", list.len()))
}
