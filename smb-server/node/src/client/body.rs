//! A blocking reader of a streamed answer.

use std::{
    io::{self, Read},
    time::Duration,
};

use axum::body::{Body, BodyDataStream, Bytes};
use futures::StreamExt as _;
use hyper::body::Incoming;
use tokio::runtime::Runtime;

/// Reads an answer; a silence longer than the limit is an error.
pub struct BodyReader<'a> {
    runtime: &'a Runtime,
    body: BodyDataStream,
    chunk: Bytes,
    limit: Duration,
}

impl<'a> BodyReader<'a> {
    pub(super) fn new(runtime: &'a Runtime, body: Incoming, limit: Duration) -> Self {
        Self { runtime, body: Body::new(body).into_data_stream(), chunk: Bytes::new(), limit }
    }
}

impl Read for BodyReader<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            let next = async { tokio::time::timeout(self.limit, self.body.next()).await };
            match self.runtime.block_on(next) {
                Ok(Some(Ok(chunk))) => self.chunk = chunk,
                Ok(Some(Err(error))) => return Err(io::Error::other(error)),
                Ok(None) => return Ok(0),
                Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "the node has fallen silent")),
            }
        }
        let count = bytes.len().min(self.chunk.len());
        bytes[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}
