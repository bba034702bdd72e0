//! The server service behind a named pipe, bound with NTLM or SPNEGO of its own: what a client asks for that wants
//! `ncacn_np` signed or sealed on top of its SMB session.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::sync::Arc;

use dcerpc_rs::interface::srvsvc::declaration::{ShareEnum, ShareEnumRequest, ShareList, SrvsvcCalls};
use dcerpc_rs::interface::srvsvc::{SRVSVC, ServerIdentity, ShareInfo, ShareProvider, Srvsvc};
use dcerpc_rs::pipe::PipeConfig;
use dcerpc_rs::{
    AuthLevel, Client, ClientConfig, ClientError, ClientSecurity, Fault, Identity, InterfaceSet, PipeAssociation, TransferSyntax,
};
use parking_lot::Mutex;
use smb_auth::{AcceptorConfig, Account, Credentials, NtHash};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use witness::{NtlmInitiator, NtlmSecurity};

/// Notes who asked.
#[derive(Default)]
struct Shares {
    callers: Mutex<Vec<String>>,
}

impl ShareProvider for Shares {
    fn server(&self) -> ServerIdentity {
        ServerIdentity { name: "FS1".into(), domain: "WORKGROUP".into(), comment: String::new(), version: (10, 0) }
    }

    fn shares(&self, caller: Option<&Identity>) -> Vec<ShareInfo> {
        self.callers.lock().push(caller.unwrap().user.clone());
        // More than one fragment.
        (0..200).map(|number| ShareInfo { name: format!("share{number}"), ..ShareInfo::default() }).collect()
    }
}

/// What an SMB server does: WRITEs of any length in, READs of at most 1,024 bytes out.
async fn serve_pipe(pipe: PipeAssociation, stream: DuplexStream) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut input = [0; 700];
    loop {
        tokio::select! {
            count = reader.read(&mut input) => match count {
                Ok(count) if count > 0 => if pipe.write(&input[..count]).is_err() { return },
                Ok(_) | Err(_) => return,
            },
            read = pipe.read_when_ready(1_024) => match read {
                Ok(read) => if writer.write_all(&read.data).await.is_err() { return },
                Err(_) => return,
            },
        }
    }
}

fn open_pipe(shares: &Arc<Shares>) -> DuplexStream {
    let account = |user: &str, _: &str| (user == "smbtest").then(|| Account { nt_hash: NtHash::of_password("Passw0rd!"), disabled: false });
    let security = NtlmSecurity::new(Arc::new(AcceptorConfig::default()), Arc::new(account));
    let pipe = PipeAssociation::new(PipeConfig {
        security: Some(Arc::new(security)),
        identity: Some(Arc::new(Identity { user: "of the session".into(), ..Identity::default() })),
        ..PipeConfig::new("srvsvc", InterfaceSet::from(Srvsvc::new(Arc::clone(shares) as Arc<dyn ShareProvider>)))
    });
    let (client, server) = tokio::io::duplex(64 * 1024);
    tokio::spawn(serve_pipe(pipe, server));
    client
}

async fn list(calls: &SrvsvcCalls) -> usize {
    let list = ShareEnum { level: 1, shares: ShareList::Level1(None) };
    let request = ShareEnumRequest { server_name: None, list, preferred_bytes_max: u32::MAX, resume: None };
    let answer = calls.share_enum(&request).await.unwrap();
    let ShareList::Level1(Some(shares)) = answer.list.shares else { panic!("not level 1") };
    shares.elements().len()
}

fn initiator(raw: bool, password: &str) -> NtlmInitiator {
    let credentials = Credentials::password("smbtest", "WORKGROUP", password);
    if raw { NtlmInitiator::raw(credentials, "CLIENT1", "cifs/fs1") } else { NtlmInitiator::spnego(credentials, "CLIENT1", "cifs/fs1") }
}

async fn bind(
    stream: DuplexStream,
    initiator: NtlmInitiator,
    level: AuthLevel,
    transfer: TransferSyntax,
) -> Result<SrvsvcCalls, ClientError> {
    let security = ClientSecurity { auth_type: initiator.auth_type(), level, context: Box::new(initiator) };
    let config = ClientConfig { security: Some(security), transfer: vec![transfer], ..ClientConfig::default() };
    Ok(SrvsvcCalls(Client::bind(stream, SRVSVC, config).await?))
}

#[tokio::test]
async fn a_pipe_is_bound_with_security_of_its_own() {
    let shares = Arc::new(Shares::default());
    let mut binds = 0;
    for raw in [false, true] {
        for level in [AuthLevel::Connect, AuthLevel::Packet, AuthLevel::Integrity, AuthLevel::Privacy] {
            for transfer in TransferSyntax::ALL {
                let calls = bind(open_pipe(&shares), initiator(raw, "Passw0rd!"), level, transfer).await.unwrap();
                assert_eq!(list(&calls).await, 200);
                binds += 1;
            }
        }
    }
    // The caller is who authenticated the bind, not who opened the pipe.
    assert_eq!(*shares.callers.lock(), vec!["smbtest"; binds]);
}

#[tokio::test]
async fn without_security_of_its_own_the_session_is_the_caller() {
    let shares = Arc::new(Shares::default());
    let calls = SrvsvcCalls(Client::bind(open_pipe(&shares), SRVSVC, ClientConfig::default()).await.unwrap());
    assert_eq!(list(&calls).await, 200);
    assert_eq!(*shares.callers.lock(), ["of the session"]);
}

#[tokio::test]
async fn a_wrong_password_opens_nothing() {
    let shares = Arc::new(Shares::default());
    let refused = bind(open_pipe(&shares), initiator(false, "wrong"), AuthLevel::Integrity, TransferSyntax::Ndr20).await;
    assert!(matches!(refused, Err(ClientError::Fault(Fault::ACCESS_DENIED))));
    // NTLM's last leg has no answer: it shows at the first request.
    let late = bind(open_pipe(&shares), initiator(true, "wrong"), AuthLevel::Integrity, TransferSyntax::Ndr20).await.unwrap();
    let request = ShareEnumRequest { list: ShareEnum { level: 1, shares: ShareList::Level1(None) }, ..ShareEnumRequest::default() };
    assert!(matches!(late.share_enum(&request).await, Err(ClientError::Fault(Fault::ACCESS_DENIED))));
    assert!(shares.callers.lock().is_empty());
}

#[tokio::test]
async fn a_second_logon_on_the_same_pipe_is_a_context_of_its_own() {
    let shares = Arc::new(Shares::default());
    let calls = bind(open_pipe(&shares), initiator(true, "Passw0rd!"), AuthLevel::Integrity, TransferSyntax::Ndr20).await.unwrap();
    for (raw, level) in [(true, AuthLevel::Privacy), (false, AuthLevel::Integrity)] {
        let initiator = initiator(raw, "Passw0rd!");
        let security = ClientSecurity { auth_type: initiator.auth_type(), level, context: Box::new(initiator) };
        let second = SrvsvcCalls(calls.0.alter(SRVSVC, Some(security)).await.unwrap());
        assert_eq!((list(&second).await, list(&calls).await, list(&second).await), (200, 200, 200));
    }
}
