//! A witness client, as a Windows client is one: over dcerpc-rs, with SPNEGO and NTLM.

use std::net::SocketAddr;

use dcerpc_rs::client::TypedCall;
use dcerpc_rs::ndr::{NdrError, NoParameters};
use dcerpc_rs::{AuthLevel, Client, ClientConfig, ClientError, ClientSecurity, ContextHandle, TransferSyntax, epm};

use tokio::net::TcpStream;

use crate::declaration::{HandleRequest, NotifyAnswer, RegisterExRequest, RegisterRequest, WitnessCalls};
use crate::interface::{InterfaceInfo, REGISTER_IP_NOTIFICATION, VERSION_1, VERSION_2, notification_of, result_of};
use crate::message::Notification;
use crate::security::NtlmInitiator;
use crate::server::WITNESS;
use crate::status::Status;

/// Why a witness call failed.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The call did not come through.
    #[error("witness call failed")]
    Rpc(#[from] ClientError),
    /// The server answered with an error; [`Status::TIMEOUT`] only means to ask again.
    #[error("witness answered {0}")]
    Status(Status),
    /// The answer makes no sense.
    #[error("witness answer is malformed: {0}")]
    Malformed(#[from] NdrError),
}

/// What to register for with [`WitnessClient::register_ex`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The name under which the share is mounted.
    pub net_name: String,
    /// The share, for SHARE_MOVE.
    pub share_name: Option<String>,
    /// The address that the SMB connection uses.
    pub ip_address: String,
    /// Our computer's name.
    pub client_name: String,
    /// Wants IP_CHANGE.
    pub ip_notification: bool,
    /// How long the server may stay silent.
    pub keep_alive_s: u32,
}

/// A connection to a witness.
pub struct WitnessClient {
    calls: WitnessCalls,
}

impl WitnessClient {
    /// Connects to the witness port itself.
    pub async fn connect(address: SocketAddr, initiator: NtlmInitiator, level: AuthLevel) -> Result<Self, WitnessError> {
        Self::connect_with(address, initiator, level, vec![TransferSyntax::Ndr20]).await
    }

    /// Connects to the witness port itself and offers these transfer syntaxes.
    pub async fn connect_with(
        address: SocketAddr,
        initiator: NtlmInitiator,
        level: AuthLevel,
        transfer: Vec<TransferSyntax>,
    ) -> Result<Self, WitnessError> {
        let security = ClientSecurity { auth_type: initiator.auth_type(), level, context: Box::new(initiator) };
        let config = ClientConfig { security: Some(security), transfer, ..ClientConfig::default() };
        Ok(Self { calls: WitnessCalls(Client::connect_with(address, WITNESS, config).await?) })
    }

    /// As [`Self::connect`], on a connection that was made already: from a source address of its own, for example.
    pub async fn over(stream: TcpStream, initiator: NtlmInitiator, level: AuthLevel) -> Result<Self, WitnessError> {
        let security = ClientSecurity { auth_type: initiator.auth_type(), level, context: Box::new(initiator) };
        let config = ClientConfig { security: Some(security), transfer: vec![TransferSyntax::Ndr20], ..ClientConfig::default() };
        Ok(Self { calls: WitnessCalls(Client::bind(stream, WITNESS, config).await?) })
    }

    /// The calls of a connection that was bound to [`WITNESS`], with whatever security it has.
    pub fn of(client: Client) -> Self {
        Self { calls: WitnessCalls(client) }
    }

    /// Asks the endpoint mapper for the witness port, then connects to it.
    pub async fn connect_through_mapper(mapper: SocketAddr, initiator: NtlmInitiator, level: AuthLevel) -> Result<Self, WitnessError> {
        Self::connect(epm::resolve(mapper, WITNESS).await?, initiator, level).await
    }

    /// WitnessrGetInterfaceList.
    pub async fn interface_list(&self) -> Result<Vec<InterfaceInfo>, WitnessError> {
        Result::from(self.calls.interface_list(&NoParameters).await?).map_err(WitnessError::Status)
    }

    /// WitnessrRegister.
    pub async fn register(&self, net_name: &str, ip_address: &str, client_name: &str) -> Result<ContextHandle, WitnessError> {
        let request = RegisterRequest {
            version: VERSION_1,
            net_name: Some(net_name.to_owned()),
            ip_address: Some(ip_address.to_owned()),
            client_name: Some(client_name.to_owned()),
        };
        self.register_with(&request).await
    }

    /// WitnessrRegisterEx.
    pub async fn register_ex(&self, registration: &Registration) -> Result<ContextHandle, WitnessError> {
        let request = RegisterExRequest {
            version: VERSION_2,
            net_name: Some(registration.net_name.clone()),
            share_name: registration.share_name.clone(),
            ip_address: Some(registration.ip_address.clone()),
            client_name: Some(registration.client_name.clone()),
            flags: if registration.ip_notification { REGISTER_IP_NOTIFICATION } else { 0 },
            keep_alive_s: registration.keep_alive_s,
        };
        self.register_ex_with(&request).await
    }

    /// WitnessrRegister with any parameters.
    pub async fn register_with(&self, request: &RegisterRequest) -> Result<ContextHandle, WitnessError> {
        Result::from(self.calls.register(request).await?).map_err(WitnessError::Status)
    }

    /// WitnessrRegisterEx with any parameters.
    pub async fn register_ex_with(&self, request: &RegisterExRequest) -> Result<ContextHandle, WitnessError> {
        Result::from(self.calls.register_ex(request).await?).map_err(WitnessError::Status)
    }

    /// WitnessrAsyncNotify: waits until there is something to tell. Dropping it abandons the call.
    pub async fn async_notify(&self, handle: ContextHandle) -> Result<Notification, WitnessError> {
        notification(self.start_async_notify(handle)).await
    }

    /// Starts a WitnessrAsyncNotify that can be cancelled; [`notification`] waits for its answer.
    pub fn start_async_notify(&self, handle: ContextHandle) -> TypedCall<NotifyAnswer> {
        self.calls.async_notify(&HandleRequest { handle })
    }

    /// WitnessrUnRegister.
    pub async fn unregister(&self, handle: ContextHandle) -> Result<(), WitnessError> {
        let answer = self.calls.unregister(&HandleRequest { handle }).await?;
        result_of(answer.status, ()).map_err(WitnessError::Status)
    }

    /// WitnessrUnRegisterEx; returns the handle that is left, null when it worked.
    pub async fn unregister_ex(&self, handle: ContextHandle) -> Result<ContextHandle, WitnessError> {
        Result::from(self.calls.unregister_ex(&HandleRequest { handle }).await?).map_err(WitnessError::Status)
    }

    /// True once the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.calls.0.is_closed()
    }
}

/// Waits for the answer of a WitnessrAsyncNotify.
pub async fn notification(call: TypedCall<NotifyAnswer>) -> Result<Notification, WitnessError> {
    notification_of(call.await?)?.map_err(WitnessError::Status)
}
