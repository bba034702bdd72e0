//! One request at a time to a node's admin socket, where this process is known as an operator: HTTP/1.1, the connection is closed after each.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// Longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(3);
/// How long one may take that waits for other nodes, or for clients.
const PATIENCE: Duration = Duration::from_secs(240);

/// The status code and the body.
pub async fn get(socket: &Path, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    exchange(socket, &format!("GET {path}"), "", "", LIMIT).await
}

/// As [`get`], for what takes its time.
pub async fn get_patiently(socket: &Path, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    exchange(socket, &format!("GET {path}"), "", "", PATIENCE).await
}

/// The status code and the body of what changes something; `json` is empty where nothing is to be said.
pub async fn post(socket: &Path, path: &str, json: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    post_within(LIMIT, socket, path, json).await
}

/// As [`post`], for what takes its time.
pub async fn post_patiently(socket: &Path, path: &str, json: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    post_within(PATIENCE, socket, path, json).await
}

async fn post_within(limit: Duration, socket: &Path, path: &str, json: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    let heads = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", json.len());
    exchange(socket, &format!("POST {path}"), &heads, json, limit).await
}

async fn exchange(socket: &Path, what: &str, heads: &str, body: &str, limit: Duration) -> anyhow::Result<(u16, Vec<u8>)> {
    let said = say(socket, format!("{what} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{heads}\r\n{body}"));
    let at = socket.display();
    let answer = tokio::time::timeout(limit, said).await.with_context(|| format!("no answer to {what} at {at}"))??;
    parse(&answer).with_context(|| format!("answer to {what} at {at}"))
}

async fn say(socket: &Path, request: String) -> anyhow::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket).await.with_context(|| format!("cannot connect to {}", socket.display()))?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn parse(answer: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
    let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { bail!("no end of the head") };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let code = head.split_whitespace().nth(1).and_then(|c| c.parse().ok()).context("no status code")?;
    let body = &answer[end + 4..];
    if head.contains("transfer-encoding: chunked") { Ok((code, unchunk(body)?)) } else { Ok((code, body.to_vec())) }
}

fn unchunk(mut body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let end = body.windows(2).position(|w| w == b"\r\n").context("chunk without a length")?;
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end])?.trim(), 16)?;
        let rest = &body[end + 2..];
        if length == 0 {
            return Ok(out);
        }
        out.extend_from_slice(rest.get(..length).context("chunk is cut")?);
        body = rest.get(length + 2..).context("chunk is cut")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_chunked_answers() {
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").unwrap(), (200, b"hi".to_vec()));
        let chunked = b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).unwrap(), (503, b"abcd".to_vec()));
        assert!(parse(b"nonsense").is_err());
    }
}
