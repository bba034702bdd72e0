//! A witness client, as a Windows client is one: over dcerpc-rs, with SPNEGO and NTLM.

use std::net::SocketAddr;

use dcerpc_rs::client::PendingCall;
use dcerpc_rs::ndr::NdrError;
use dcerpc_rs::{AuthLevel, Client, ClientError, ClientSecurity, ContextHandle, epm};

use crate::interface::{
    InterfaceInfo, OPNUM_ASYNC_NOTIFY, OPNUM_INTERFACE_LIST, OPNUM_REGISTER, OPNUM_REGISTER_EX, OPNUM_UNREGISTER, OPNUM_UNREGISTER_EX,
    REGISTER_IP_NOTIFICATION, RegisterRequest, VERSION_1, VERSION_2, read_handle_answer, read_interface_list, read_notification,
    read_status, write_handle,
};
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
    client: Client,
}

impl WitnessClient {
    /// Connects to the witness port itself.
    pub async fn connect(address: SocketAddr, initiator: NtlmInitiator, level: AuthLevel) -> Result<Self, WitnessError> {
        let security = ClientSecurity { auth_type: initiator.auth_type(), level, context: Box::new(initiator) };
        Ok(Self { client: Client::connect(address, WITNESS, Some(security)).await? })
    }

    /// Asks the endpoint mapper for the witness port, then connects to it.
    pub async fn connect_through_mapper(mapper: SocketAddr, initiator: NtlmInitiator, level: AuthLevel) -> Result<Self, WitnessError> {
        Self::connect(epm::resolve(mapper, WITNESS).await?, initiator, level).await
    }

    /// WitnessrGetInterfaceList.
    pub async fn interface_list(&self) -> Result<Vec<InterfaceInfo>, WitnessError> {
        let stub = self.client.call(OPNUM_INTERFACE_LIST, Vec::new()).await?;
        read_interface_list(&stub)?.map_err(WitnessError::Status)
    }

    /// WitnessrRegister.
    pub async fn register(&self, net_name: &str, ip_address: &str, client_name: &str) -> Result<ContextHandle, WitnessError> {
        let request = RegisterRequest {
            version: VERSION_1,
            net_name: Some(net_name.to_owned()),
            ip_address: Some(ip_address.to_owned()),
            client_name: Some(client_name.to_owned()),
            ..RegisterRequest::default()
        };
        self.register_raw(&request, false).await
    }

    /// WitnessrRegisterEx.
    pub async fn register_ex(&self, registration: &Registration) -> Result<ContextHandle, WitnessError> {
        let request = RegisterRequest {
            version: VERSION_2,
            net_name: Some(registration.net_name.clone()),
            share_name: registration.share_name.clone(),
            ip_address: Some(registration.ip_address.clone()),
            client_name: Some(registration.client_name.clone()),
            flags: if registration.ip_notification { REGISTER_IP_NOTIFICATION } else { 0 },
            keep_alive_s: registration.keep_alive_s,
        };
        self.register_raw(&request, true).await
    }

    /// Either way of registering, with any parameters.
    pub async fn register_raw(&self, request: &RegisterRequest, extended: bool) -> Result<ContextHandle, WitnessError> {
        let opnum = if extended { OPNUM_REGISTER_EX } else { OPNUM_REGISTER };
        let stub = self.client.call(opnum, request.write(extended)).await?;
        read_handle_answer(&stub)?.map_err(WitnessError::Status)
    }

    /// WitnessrAsyncNotify: waits until there is something to tell. Dropping it abandons the call.
    pub async fn async_notify(&self, handle: ContextHandle) -> Result<Notification, WitnessError> {
        notification(self.start_async_notify(handle)).await
    }

    /// Starts a WitnessrAsyncNotify that can be cancelled; [`notification`] waits for its answer.
    pub fn start_async_notify(&self, handle: ContextHandle) -> PendingCall {
        self.client.start(OPNUM_ASYNC_NOTIFY, write_handle(handle))
    }

    /// WitnessrUnRegister.
    pub async fn unregister(&self, handle: ContextHandle) -> Result<(), WitnessError> {
        let stub = self.client.call(OPNUM_UNREGISTER, write_handle(handle)).await?;
        read_status(&stub)?.map_err(WitnessError::Status)
    }

    /// WitnessrUnRegisterEx; returns the handle that is left, null when it worked.
    pub async fn unregister_ex(&self, handle: ContextHandle) -> Result<ContextHandle, WitnessError> {
        let stub = self.client.call(OPNUM_UNREGISTER_EX, write_handle(handle)).await?;
        read_handle_answer(&stub)?.map_err(WitnessError::Status)
    }

    /// True once the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

/// Waits for the answer of a WitnessrAsyncNotify.
pub async fn notification(call: PendingCall) -> Result<Notification, WitnessError> {
    let stub = call.wait().await?;
    read_notification(&stub)?.map_err(WitnessError::Status)
}
