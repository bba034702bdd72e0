//! Calls under way, as bytes and as declared parameters.

use std::future::IntoFuture;
use std::marker::PhantomData;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::{ClientError, Command};
use crate::ndr::Parameters;
use crate::syntax::TransferSyntax;

/// A call under way. Dropping it abandons it.
pub struct PendingCall {
    call_id: u32,
    commands: mpsc::UnboundedSender<Command>,
    receiver: oneshot::Receiver<Result<Vec<u8>, ClientError>>,
    finished: bool,
}

impl PendingCall {
    pub(super) fn new(
        call_id: u32,
        commands: mpsc::UnboundedSender<Command>,
        receiver: oneshot::Receiver<Result<Vec<u8>, ClientError>>,
    ) -> Self {
        Self { call_id, commands, receiver, finished: false }
    }

    /// Asks the server to cancel it; the answer is then usually [`Fault::CANCELLED`](crate::Fault::CANCELLED).
    pub fn cancel(&self) {
        _ = self.commands.send(Command::Cancel { call_id: self.call_id });
    }

    /// Waits for the answer.
    pub async fn wait(mut self) -> Result<Vec<u8>, ClientError> {
        let answer = (&mut self.receiver).await;
        self.finished = true;
        answer.unwrap_or(Err(ClientError::Closed))
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if !self.finished {
            _ = self.commands.send(Command::Orphan { call_id: self.call_id });
        }
    }
}

/// A call under way whose answer has declared parameters: await it, or cancel it and then await it.
pub struct TypedCall<A> {
    call: PendingCall,
    transfer: TransferSyntax,
    answer: PhantomData<fn() -> A>,
}

impl<A: Parameters> TypedCall<A> {
    pub(super) fn new(call: PendingCall, transfer: TransferSyntax) -> Self {
        Self { call, transfer, answer: PhantomData }
    }

    /// As [`PendingCall::cancel`].
    pub fn cancel(&self) {
        self.call.cancel();
    }
}

impl<A: Parameters + 'static> IntoFuture for TypedCall<A> {
    type Output = Result<A, ClientError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let stub = self.call.wait().await?;
            Ok(A::from_stub(&stub, self.transfer)?)
        })
    }
}
