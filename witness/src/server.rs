//! The witness interface over dcerpc-rs: access check, handles, and the two listeners (witness, endpoint mapper).

use std::io;
use std::sync::Arc;

use dcerpc_rs::epm::{Endpoint, EndpointMapper, Place};
use dcerpc_rs::interface::mgmt::managed;
use dcerpc_rs::ndr::NoParameters;
use dcerpc_rs::{AuthLevel, CallContext, ContextHandle, EndpointMap, Fault, InterfaceSet, Limits, SecurityProvider, Uuid};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::declaration::{
    HandleAnswer, HandleRequest, InterfaceListAnswer, NotifyAnswer, RegisterExRequest, RegisterRequest, StatusAnswer, WitnessServer,
    WitnessStub,
};
use crate::service::WitnessService;
use crate::status::Status;

pub use crate::declaration::WITNESS;

/// Serves the witness interface on a listener, and runs the service's timers, until cancelled.
pub async fn serve(
    service: Arc<WitnessService>,
    listener: TcpListener,
    security: Arc<dyn SecurityProvider>,
    limits: Limits,
    cancel: CancellationToken,
) -> io::Result<()> {
    let interfaces = InterfaceSet::from(interface(Arc::clone(&service)));
    let timers = service.run(cancel.clone());
    let (served, ()) = tokio::join!(dcerpc_rs::serve(listener, interfaces, Some(security), limits, cancel), timers);
    served
}

/// Serves the endpoint mapper and its management interface on a listener until cancelled. Everybody may ask it; who wants to do so
/// authenticated may, too.
pub async fn serve_mapper(
    listener: TcpListener,
    map: Arc<EndpointMap>,
    security: Arc<dyn SecurityProvider>,
    limits: Limits,
    cancel: CancellationToken,
) -> io::Result<()> {
    dcerpc_rs::serve(listener, managed(EndpointMapper::new(map).into()), Some(security), limits, cancel).await
}

/// Tells the endpoint mapper on which port the witness interface is.
pub fn announce(map: &EndpointMap, port: u16) {
    map.insert(Endpoint { interface: WITNESS, place: Place::Port(port), annotation: "witness".into() });
}

/// The witness interface over this service, for an RPC server of one's own.
pub fn interface(service: Arc<WitnessService>) -> WitnessStub<WitnessInterface> {
    WitnessStub(Arc::new(WitnessInterface { service }))
}

/// The methods of the witness: access check and handles around a [`WitnessService`].
pub struct WitnessInterface {
    service: Arc<WitnessService>,
}

impl WitnessServer for WitnessInterface {
    async fn interface_list(self: Arc<Self>, _: NoParameters, context: CallContext) -> Result<InterfaceListAnswer, Fault> {
        let result = match access(&context) {
            // On its own: its waits would make every pending AsyncNotify larger.
            Ok(()) => Box::pin(self.service.interface_list()).await,
            Err(status) => Err(status),
        };
        Ok(result.into())
    }

    async fn register(self: Arc<Self>, request: RegisterRequest, context: CallContext) -> Result<HandleAnswer, Fault> {
        Ok(self.register_either(request.into(), &context, false))
    }

    async fn register_ex(self: Arc<Self>, request: RegisterExRequest, context: CallContext) -> Result<HandleAnswer, Fault> {
        Ok(self.register_either(request, &context, true))
    }

    async fn unregister(self: Arc<Self>, request: HandleRequest, context: CallContext) -> Result<StatusAnswer, Fault> {
        Ok(StatusAnswer { status: self.close(&request.handle, &context).0 })
    }

    // MS-SWN 3.1.4.6
    async fn unregister_ex(self: Arc<Self>, request: HandleRequest, context: CallContext) -> Result<HandleAnswer, Fault> {
        let status = self.close(&request.handle, &context);
        let left = if status == Status::SUCCESS { ContextHandle::NULL } else { request.handle };
        Ok(HandleAnswer { handle: left, status: status.0 })
    }

    /// It waits for hours, so nothing of the request is in its future but the number of the registration.
    fn async_notify(
        self: Arc<Self>,
        request: HandleRequest,
        context: CallContext,
    ) -> impl Future<Output = Result<NotifyAnswer, Fault>> + Send + 'static {
        let pending = registration(&request.handle, &context).map(|id| Arc::clone(&self.service).async_notify(id));
        async move {
            let result = match pending {
                Ok(pending) => pending.await,
                Err(status) => Err(status),
            };
            Ok(NotifyAnswer::from(&result))
        }
    }
}

impl WitnessInterface {
    fn register_either(&self, request: RegisterExRequest, context: &CallContext, extended: bool) -> HandleAnswer {
        let id = Uuid::new_v4();
        let refused = |status: Status| HandleAnswer { handle: ContextHandle::NULL, status: status.0 };
        if let Err(status) = access(context).and_then(|()| self.service.register(id, request, extended)) {
            return refused(status);
        }
        // MS-SWN 3.1.6: when the client's last connection goes, so does its registration.
        let weak = Arc::downgrade(&self.service);
        let rundown = move || {
            if let Some(service) = weak.upgrade() {
                _ = service.unregister(id);
            }
        };
        match context.association.open_handle_as(id, rundown) {
            Ok(handle) => HandleAnswer { handle, status: Status::SUCCESS.0 },
            Err(_) => {
                _ = self.service.unregister(id);
                refused(Status::NO_SYSTEM_RESOURCES)
            }
        }
    }

    // MS-SWN 3.1.4.3: an unknown handle is INVALID_PARAMETER here, while AsyncNotify says NOT_FOUND.
    fn close(&self, handle: &ContextHandle, context: &CallContext) -> Status {
        let closed = registration(handle, context).and_then(|id| {
            context.association.close_handle(handle);
            self.service.unregister(id)
        });
        match closed {
            Ok(()) => Status::SUCCESS,
            Err(Status::NOT_FOUND) => Status::INVALID_PARAMETER,
            Err(status) => status,
        }
    }
}

// MS-SWN 2.1: calls below packet integrity are refused, by a code and not by a fault.
fn access(context: &CallContext) -> Result<(), Status> {
    let known = context.identity.as_ref().is_some_and(|identity| !identity.is_anonymous);
    if context.auth_level >= AuthLevel::Integrity && known { Ok(()) } else { Err(Status::ACCESS_DENIED) }
}

/// The registration behind a handle of this very association.
fn registration(handle: &ContextHandle, context: &CallContext) -> Result<Uuid, Status> {
    access(context)?;
    if context.association.holds(handle) { Ok(handle.uuid) } else { Err(Status::NOT_FOUND) }
}
