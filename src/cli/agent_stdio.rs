//! Standard input and output of `signoff mcp`. A message that cannot be taken is answered with an error: an agent that hears nothing
//! waits for ever.

use futures::{FutureExt as _, future::BoxFuture};
use rmcp::{
    RoleServer,
    model::{ErrorCode, ErrorData, RequestId},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::{Transport, async_rw::AsyncRwTransport},
};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader, DuplexStream},
    sync::mpsc,
};

/// Longest message of an agent, in bytes. Inputs of a run are at most half of it.
const MAX_MESSAGE: usize = 512 << 10;
/// Longest message of which the id is looked for.
const MAX_READ: usize = 16 << 20;

/// An error that answers a message, and the id of that if it is known.
type Refusal = (ErrorData, Option<RequestId>);

/// Messages of one agent.
pub(super) struct AgentStdio<W: AsyncWrite> {
    taken: AsyncRwTransport<RoleServer, DuplexStream, W>,
    refused: mpsc::Receiver<Refusal>,
    /// An answer that is on its way. Whoever receives may be cancelled meanwhile.
    answering: Option<BoxFuture<'static, std::io::Result<()>>>,
}

impl<W: AsyncWrite + Send + Unpin + 'static> AgentStdio<W> {
    pub(super) fn new(input: impl AsyncRead + Send + Unpin + 'static, output: W) -> Self {
        let (good, taken) = tokio::io::duplex(MAX_MESSAGE);
        let (tell, refused) = mpsc::channel(16);
        tokio::spawn(sort(BufReader::new(input), good, tell));
        Self {
            // what is passed on is short enough already, and has a line end more
            taken: AsyncRwTransport::new_server(taken, output).with_max_line_length(MAX_MESSAGE + 1),
            refused,
            answering: None,
        }
    }
}

impl<W: AsyncWrite + Send + Unpin + 'static> Transport<RoleServer> for AgentStdio<W> {
    type Error = std::io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.taken.send(item)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            if let Some(answering) = &mut self.answering {
                // whoever does not read answers is not served further
                answering.await.ok()?;
                self.answering = None;
            }
            let (error, id) = tokio::select! {
                Some(refusal) = self.refused.recv() => refusal,
                message = self.taken.receive() => match message {
                    Some(message) => return Some(message),
                    // all that was refused before the end is still answered
                    None => self.refused.recv().await?,
                },
            };
            let answer = TxJsonRpcMessage::<RoleServer>::error(error, id);
            self.answering = Some(self.taken.send(answer).boxed());
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.taken.close().await
    }
}

/// What is said of every message, whatever else it holds.
#[derive(Default, Deserialize)]
struct Named {
    #[serde(default)]
    id: Option<RequestId>,
    #[serde(default)]
    method: Option<serde::de::IgnoredAny>,
}

/// Passes on the messages that can be taken, and tells of the others.
async fn sort(
    mut input: BufReader<impl AsyncRead + Unpin>,
    mut good: DuplexStream,
    refused: mpsc::Sender<Refusal>,
) {
    while let Ok(Some(line)) = next_line(&mut input).await {
        let passed_on = match refusal(&line) {
            Some(refusal) => refused.send(refusal).await.is_ok(),
            None => {
                good.write_all(&line.start).await.is_ok()
                    && good.write_all(b"\n").await.is_ok()
                    && good.flush().await.is_ok()
            }
        };
        // nobody listens any more
        if !passed_on {
            return;
        }
    }
}

/// A line without its end, as far as it was kept.
struct Line {
    start: Vec<u8>,
    length: usize,
}

/// Why a message is not taken, if it is not.
fn refusal(line: &Line) -> Option<Refusal> {
    let text = line.start.trim_ascii();
    if text.is_empty() {
        return None;
    }
    if line.length > MAX_MESSAGE {
        let named: Named = serde_json::from_slice(text).unwrap_or_default();
        let message = format!("the message is larger than {} KiB", MAX_MESSAGE >> 10);
        return Some((ErrorData::invalid_request(message, None), named.id));
    }
    let named: Named = match serde_json::from_slice(text) {
        Ok(named) if text.starts_with(b"{") => named,
        Err(error) if !error.is_data() => {
            let error = ErrorData::new(ErrorCode::PARSE_ERROR, "the message is not JSON", None);
            return Some((error, None));
        }
        // serde reads a list as the fields in their order
        Ok(_) | Err(_) => {
            let message = "the message is no object with an id and a method";
            return Some((ErrorData::invalid_request(message, None), None));
        }
    };
    let is_request = named.id.is_some() && named.method.is_some();
    let is_known = || serde_json::from_slice::<RxJsonRpcMessage<RoleServer>>(text).is_ok();
    (is_request && !is_known()).then(|| {
        let message = "the message is not one of the protocol";
        (ErrorData::invalid_request(message, None), named.id)
    })
}

/// The next line; none at the end. Of a line that is too long, only the beginning is kept.
async fn next_line(input: &mut BufReader<impl AsyncRead + Unpin>) -> std::io::Result<Option<Line>> {
    let mut line = Line {
        start: Vec::new(),
        length: 0,
    };
    loop {
        let available = input.fill_buf().await?;
        if available.is_empty() {
            // a last line without an end is a message as well
            return Ok((line.length > 0).then_some(line));
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = &available[..end.unwrap_or(available.len())];
        line.length += taken.len();
        if line.length <= MAX_READ {
            line.start.extend_from_slice(taken);
        }
        let consumed = taken.len() + usize::from(end.is_some());
        input.consume(consumed);
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Option<(i32, Option<RequestId>)> {
        let line = Line {
            start: text.as_bytes().to_vec(),
            length: text.len(),
        };
        refusal(&line).map(|(error, id)| (error.code.0, id))
    }

    #[test]
    fn a_message_that_cannot_be_taken_is_answered_with_its_id_where_that_is_known() {
        let seven = Some(RequestId::Number(7));
        let large = format!(
            r#"{{"jsonrpc":"2.0","method":"tools/call","params":{{"name":"{}"}},"id":7}}"#,
            "x".repeat(MAX_MESSAGE)
        );
        assert_eq!(refused(&large), Some((-32600, seven.clone())));
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":7,"#), Some((-32700, None)));
        assert_eq!(refused("[1]"), Some((-32600, None)));
        assert_eq!(
            refused(r#"{"jsonrpc":"2.0","id":7,"method":{}}"#),
            Some((-32600, seven))
        );
        for taken in [
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            "",
            "\r",
        ] {
            assert_eq!(refused(taken), None, "{taken}");
        }
    }

    #[tokio::test]
    async fn lines_are_read_to_their_end_and_kept_to_a_bound() {
        let text = [&b"a\n"[..], &vec![b'x'; MAX_READ + 5], b"\nb"].concat();
        let mut input = BufReader::new(&text[..]);
        let mut lengths = Vec::new();
        while let Some(line) = next_line(&mut input).await.unwrap() {
            assert!(line.start.len() <= MAX_READ);
            lengths.push(line.length);
        }
        assert_eq!(lengths, [1, MAX_READ + 5, 1]);
    }
}
