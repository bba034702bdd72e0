//! What the programs above the stores ask each other, over the connections that the nodes have anyway: both ends have shown certificates.
//!
//! The bytes are the program's own: this room looks only at their length. Nothing of it is in the log, and no leader is needed. A node of
//! an older version answers that it does not understand.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use persistence_model::NodeId;

use crate::call::{self, Answer, Call};
use crate::store::{Inner, Store};

/// Longest question and longest answer, bytes. What is longer is asked for in pieces.
pub const PROGRAM_BYTES_MAX: usize = 48 << 10;

/// Answers the questions of other nodes' programs.
pub type ProgramHandler = Arc<dyn Fn(NodeId, Vec<u8>) -> BoxFuture<'static, Vec<u8>> + Send + Sync>;

/// Why a node's program gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It may have got the question and acted.
    #[error("node {node} did not answer: {because}")]
    Unanswered {
        /// The node.
        node: NodeId,
        /// What the replication says.
        because: String,
    },
    /// Its program does not answer such questions.
    #[error("node {node} runs a program that does not understand the question: upgrade it")]
    NotUnderstood {
        /// The node.
        node: NodeId,
    },
    /// Nothing was asked.
    #[error("the question has {bytes} bytes, at most {PROGRAM_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

impl Store {
    /// Says who answers the questions of other nodes' programs. Only the first call counts.
    pub fn answer_programs(&self, handler: ProgramHandler) {
        if self.inner.program.set(handler).is_err() {
            tracing::warn!("who answers other nodes' programs was said before: the first stays");
        }
    }

    /// Asks the program of a node; a question to this very node goes to its own handler.
    ///
    /// # Errors
    /// The node did not answer within `timeout`, or does not understand.
    pub async fn ask_program(&self, node: NodeId, question: Vec<u8>, timeout: Duration) -> Result<Vec<u8>, AskError> {
        if question.len() > PROGRAM_BYTES_MAX {
            return Err(AskError::TooLong { bytes: question.len() });
        }
        let answered = self.inner.raft().call(node.0, call::encode(&Call::Program { question }), timeout).await;
        let answer = answered.map_err(|error| AskError::Unanswered { node, because: error.to_string() })?;
        match call::decode::<Answer>(&answer) {
            Some(Answer::Program { answer }) => Ok(answer),
            Some(Answer::NotMine) => Err(AskError::Unanswered { node, because: "it is starting or stopping".to_owned() }),
            _ => Err(AskError::NotUnderstood { node }),
        }
    }
}

impl Inner {
    pub(crate) async fn answer_program(&self, from: NodeId, question: Vec<u8>) -> Answer {
        let Some(handler) = self.program.get() else { return Answer::NotMine };
        let answer = handler(from, question).await;
        if answer.len() > PROGRAM_BYTES_MAX {
            tracing::error!(bytes = answer.len(), "an answer to another node's program is too long and was not sent");
            return Answer::NotMine;
        }
        Answer::Program { answer }
    }
}
