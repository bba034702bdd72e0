//! The macro that turns the table of an interface into its three ends: the trait of a server, the stub that dispatches
//! to it, and the calls of a client.

use std::future::Future;

use futures::FutureExt;

use super::{CallContext, CallFuture};
use crate::fault::Fault;
use crate::ndr::Parameters;

/// Reads the parameters, runs the operation, and writes its answer, all in the syntax of the call. Used by
/// [`interface!`](crate::interface!).
#[doc(hidden)]
pub fn dispatch<Q, A, F>(stub: &[u8], context: CallContext, operation: impl FnOnce(Q, CallContext) -> F) -> CallFuture
where
    Q: Parameters,
    A: Parameters,
    F: Future<Output = Result<A, Fault>> + Send + 'static,
{
    let syntax = context.transfer;
    match Q::from_stub(stub, syntax) {
        Ok(request) => operation(request, context).map(move |answer| answer.map(|answer| answer.to_stub(syntax))).boxed(),
        Err(error) => std::future::ready(Err(error.into())).boxed(),
    }
}

/// Declares an interface once: a table of operations with the types of their parameters (see
/// [`ndr_parameters!`](crate::ndr_parameters!)). From it follow
///
/// * a trait for the server, one function per operation, each a future that may stay pending for hours;
/// * a stub over such a server that is an [`Interface`](crate::Interface) in both transfer syntaxes;
/// * the calls of a client, each a [`TypedCall`](crate::client::TypedCall) to wait for or to cancel.
///
/// Operations that the table does not name are answered with what the trait's `other` says: out of range, unless the
/// server knows better.
#[macro_export]
macro_rules! interface {
    (
        syntax: $syntax:expr;
        $(#[$server_attribute:meta])* server: $server_visibility:vis $server:ident;
        $(#[$stub_attribute:meta])* stub: $stub_visibility:vis $stub:ident;
        $(#[$client_attribute:meta])* client: $client_visibility:vis $client:ident;
        $($(#[$attribute:meta])* $opnum:literal => $operation:ident($request:ty) -> $answer:ty;)+
    ) => {
        $(#[$server_attribute])*
        $server_visibility trait $server: Send + Sync + 'static {
            $(
                $(#[$attribute])*
                fn $operation(
                    self: ::std::sync::Arc<Self>,
                    request: $request,
                    context: $crate::CallContext,
                ) -> impl ::std::future::Future<Output = Result<$answer, $crate::Fault>> + Send + 'static;
            )+

            /// The fault for an operation that the table does not name.
            fn other(&self, opnum: u16) -> $crate::Fault {
                _ = opnum;
                $crate::Fault::OPNUM_OUT_OF_RANGE
            }
        }

        $(#[$stub_attribute])*
        $stub_visibility struct $stub<S>(pub ::std::sync::Arc<S>);

        impl<S: $server> $crate::Interface for $stub<S> {
            fn syntax(&self) -> $crate::SyntaxId {
                $syntax
            }

            fn speaks(&self, _transfer: $crate::TransferSyntax) -> bool {
                true
            }

            fn call(&self, opnum: u16, stub: Vec<u8>, context: $crate::CallContext) -> $crate::CallFuture {
                let server = ::std::sync::Arc::clone(&self.0);
                match opnum {
                    $($opnum => $crate::interface::dispatch::<$request, $answer, _>(&stub, context, |request, context| {
                        server.$operation(request, context)
                    }),)+
                    other => {
                        let fault = server.other(other);
                        Box::pin(::std::future::ready(Err(fault)))
                    }
                }
            }
        }

        $(#[$client_attribute])*
        $client_visibility struct $client(pub $crate::Client);

        impl $client {
            $(
                $(#[$attribute])*
                ///
                /// Waits when awaited; dropped, it abandons the call.
                $client_visibility fn $operation(&self, request: &$request) -> $crate::client::TypedCall<$answer> {
                    self.0.begin($opnum, request)
                }
            )+
        }
    };
}
