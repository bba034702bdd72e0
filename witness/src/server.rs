//! The witness interface over dcerpc-rs: access check, handles, and the two listeners (witness, endpoint mapper).

use std::io;
use std::sync::Arc;

use dcerpc_rs::epm::{Endpoint, EndpointMapper};
use dcerpc_rs::{
    AuthLevel, CallContext, CallFuture, ContextHandle, EndpointMap, Fault, InterfaceSet, Limits, SecurityProvider, SyntaxId, Uuid,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::interface::{
    OPNUM_ASYNC_NOTIFY, OPNUM_INTERFACE_LIST, OPNUM_REGISTER, OPNUM_REGISTER_EX, OPNUM_UNREGISTER, OPNUM_UNREGISTER_EX, RegisterRequest,
    read_handle, write_handle_answer, write_interface_list, write_notification, write_status,
};
use crate::service::WitnessService;
use crate::status::Status;

/// The witness interface. The specification says 1.0, clients bind 1.1; both are served.
pub const WITNESS: SyntaxId = SyntaxId::new(Uuid::from_u128(0xccd8_c074_d0e5_4a40_92b4_d074_faa6_ba28), 1, 1);

/// Serves the witness interface on a listener, and runs the service's timers, until cancelled.
pub async fn serve(
    service: Arc<WitnessService>,
    listener: TcpListener,
    security: Arc<dyn SecurityProvider>,
    limits: Limits,
    cancel: CancellationToken,
) -> io::Result<()> {
    let interfaces = InterfaceSet::from(WitnessInterface::new(Arc::clone(&service)));
    let timers = service.run(cancel.clone());
    let (served, ()) = tokio::join!(dcerpc_rs::serve(listener, interfaces, Some(security), limits, cancel), timers);
    served
}

/// Serves the endpoint mapper on a listener until cancelled.
pub async fn serve_mapper(listener: TcpListener, map: Arc<EndpointMap>, limits: Limits, cancel: CancellationToken) -> io::Result<()> {
    dcerpc_rs::serve(listener, EndpointMapper::new(map).into(), None, limits, cancel).await
}

/// Tells the endpoint mapper on which port the witness interface is.
pub fn announce(map: &EndpointMap, port: u16) {
    map.insert(Endpoint { interface: WITNESS, port, annotation: "witness".into() });
}

/// The witness interface.
pub struct WitnessInterface {
    service: Arc<WitnessService>,
}

impl WitnessInterface {
    /// Over this service.
    pub fn new(service: Arc<WitnessService>) -> Self {
        Self { service }
    }
}

impl dcerpc_rs::Interface for WitnessInterface {
    fn syntax(&self) -> SyntaxId {
        WITNESS
    }

    fn call(&self, opnum: u16, stub: Vec<u8>, context: CallContext) -> CallFuture {
        let service = Arc::clone(&self.service);
        Box::pin(async move {
            match opnum {
                // On its own: its waits would make every pending AsyncNotify larger.
                OPNUM_INTERFACE_LIST => Box::pin(interface_list(&service, &context)).await,
                OPNUM_REGISTER => register(&service, &stub, &context, false),
                OPNUM_REGISTER_EX => register(&service, &stub, &context, true),
                OPNUM_UNREGISTER => unregister(&service, &stub, &context),
                OPNUM_UNREGISTER_EX => unregister_ex(&service, &stub, &context),
                OPNUM_ASYNC_NOTIFY => async_notify(service, &stub, &context).await,
                _ => Err(Fault::OPNUM_OUT_OF_RANGE),
            }
        })
    }
}

// MS-SWN 2.1: calls below packet integrity are refused, by a code and not by a fault.
fn access(context: &CallContext) -> Result<(), Status> {
    let known = context.identity.as_ref().is_some_and(|identity| !identity.is_anonymous);
    if context.auth_level >= AuthLevel::Integrity && known { Ok(()) } else { Err(Status::ACCESS_DENIED) }
}

async fn interface_list(service: &WitnessService, context: &CallContext) -> Result<Vec<u8>, Fault> {
    let result = match access(context) {
        Ok(()) => service.interface_list().await,
        Err(status) => Err(status),
    };
    Ok(write_interface_list(result.as_deref().map_err(|status| *status)))
}

fn register(service: &Arc<WitnessService>, stub: &[u8], context: &CallContext, extended: bool) -> Result<Vec<u8>, Fault> {
    let request = RegisterRequest::read(stub, extended)?;
    let id = Uuid::new_v4();
    let registered = access(context).and_then(|()| service.register(id, request, extended));
    if let Err(status) = registered {
        return Ok(write_handle_answer(ContextHandle::NULL, status));
    }
    // MS-SWN 3.1.6: when the client's last connection goes, so does its registration.
    let weak = Arc::downgrade(service);
    let rundown = move || {
        if let Some(service) = weak.upgrade() {
            _ = service.unregister(id);
        }
    };
    match context.association.open_handle_as(id, rundown) {
        Ok(handle) => Ok(write_handle_answer(handle, Status::SUCCESS)),
        Err(_) => {
            _ = service.unregister(id);
            Ok(write_handle_answer(ContextHandle::NULL, Status::NO_SYSTEM_RESOURCES))
        }
    }
}

/// The registration behind a handle of this very association.
fn registration(handle: &ContextHandle, context: &CallContext) -> Result<Uuid, Status> {
    access(context)?;
    if context.association.holds(handle) { Ok(handle.uuid) } else { Err(Status::NOT_FOUND) }
}

// MS-SWN 3.1.4.3: an unknown handle is INVALID_PARAMETER here, while AsyncNotify says NOT_FOUND.
fn close(service: &WitnessService, handle: &ContextHandle, context: &CallContext) -> Status {
    let closed = registration(handle, context).and_then(|id| {
        context.association.close_handle(handle);
        service.unregister(id)
    });
    match closed {
        Ok(()) => Status::SUCCESS,
        Err(Status::NOT_FOUND) => Status::INVALID_PARAMETER,
        Err(status) => status,
    }
}

fn unregister(service: &WitnessService, stub: &[u8], context: &CallContext) -> Result<Vec<u8>, Fault> {
    let handle = read_handle(stub)?;
    Ok(write_status(close(service, &handle, context)))
}

// MS-SWN 3.1.4.6
fn unregister_ex(service: &WitnessService, stub: &[u8], context: &CallContext) -> Result<Vec<u8>, Fault> {
    let handle = read_handle(stub)?;
    let status = close(service, &handle, context);
    let left = if status == Status::SUCCESS { ContextHandle::NULL } else { handle };
    Ok(write_handle_answer(left, status))
}

async fn async_notify(service: Arc<WitnessService>, stub: &[u8], context: &CallContext) -> Result<Vec<u8>, Fault> {
    let handle = read_handle(stub)?;
    let result = match registration(&handle, context) {
        Ok(id) => service.async_notify(id).await,
        Err(status) => Err(status),
    };
    Ok(write_notification(&result))
}
