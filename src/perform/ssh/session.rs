//! One script on one host: sent over a channel, and what it writes in bounded memory.

use std::{collections::VecDeque, pin::pin, time::Duration};

use russh::{Channel, ChannelMsg, client::Msg};

use super::script::Script;
use crate::net::redact::{Secrets, StreamRedactor};

/// Most bytes of each output that are kept: its end.
const KEPT: usize = 64 * 1024;
/// Within so many bytes the mark stands, after what the shell of the user may write by itself.
const BEFORE: usize = 256 * 1024;
/// What is sent in one piece.
const PIECE: usize = 32 * 1024;
/// How long output is still read after the end of the script. A process that it has left behind keeps the channel open.
const AFTER_END: Duration = Duration::from_secs(1);

/// How a script ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) exit_code: Option<i64>,
    pub(super) stdout: Written,
    pub(super) stderr: Written,
}

/// What came after the mark, or all if there was none.
#[derive(Debug)]
pub(super) struct Written {
    /// Whether the mark was there: then the script has done what it was to do first.
    pub(super) is_marked: bool,
    pub(super) text: String,
}

impl Written {
    /// The first line after the mark.
    pub(super) fn line(&self) -> &str {
        self.text.lines().next().unwrap_or_default().trim()
    }
}

/// Runs a script to its end. Fails if the connection breaks before.
pub(super) async fn run(
    channel: Channel<Msg>,
    script: Script,
    mark: &str,
    secrets: &Secrets,
) -> Result<Ended, russh::Error> {
    channel.exec(true, script.command).await?;
    let mut collectors = [(); 2].map(|()| Collector::new(mark, secrets));
    let mut exit_code = None;
    let (mut read, write) = channel.split();
    let input = script.input;
    let sending = async move {
        for piece in input.chunks(PIECE) {
            write.data_bytes(bytes::Bytes::copy_from_slice(piece)).await?;
        }
        write.eof().await
    };
    let reading = async move {
        let mut end = None;
        loop {
            let message = match end {
                None => read.wait().await,
                Some(end) => match tokio::time::timeout_at(end, read.wait()).await {
                    Ok(message) => message,
                    Err(_) => break,
                },
            };
            match message {
                Some(ChannelMsg::Data { data }) => collectors[0].push(data),
                Some(ChannelMsg::ExtendedData { data, .. }) => collectors[1].push(data),
                Some(ChannelMsg::ExitStatus { exit_status }) => exit_code = Some(i64::from(exit_status)),
                // as a shell says it
                Some(ChannelMsg::ExitSignal { .. }) => exit_code = Some(128),
                Some(ChannelMsg::Failure) => return Err(russh::Error::Disconnect),
                Some(ChannelMsg::Close) => break,
                Some(_) => {}
                None if exit_code.is_some() => break,
                // the channel is gone without its end
                None => return Err(russh::Error::Disconnect),
            }
            if exit_code.is_some() && end.is_none() {
                end = Some(tokio::time::Instant::now() + AFTER_END);
            }
        }
        Ok((collectors, exit_code))
    };
    // a command need not read what it is sent
    let (mut sending, mut reading) = (pin!(sending), pin!(reading));
    let (collectors, exit_code) = tokio::select! {
        read = &mut reading => read?,
        _ = &mut sending => reading.await?,
    };
    let [stdout, stderr] = collectors.map(Collector::finish);
    Ok(Ended {
        exit_code,
        stdout,
        stderr,
    })
}

/// The end of what is written, without secrets.
struct Collector {
    mark: Vec<u8>,
    is_marked: bool,
    redactor: StreamRedactor,
    secrets: Secrets,
    /// What came before the mark.
    before: Vec<u8>,
    kept: VecDeque<u8>,
}

impl Collector {
    fn new(mark: &str, secrets: &Secrets) -> Self {
        Self {
            mark: mark.as_bytes().to_vec(),
            is_marked: false,
            redactor: secrets.stream(),
            secrets: secrets.clone(),
            before: Vec::new(),
            kept: VecDeque::new(),
        }
    }

    fn push(&mut self, piece: bytes::Bytes) {
        if self.is_marked {
            let clean = self.redactor.push(piece);
            return self.keep(&clean);
        }
        self.before.extend_from_slice(&piece);
        let found = memchr::memmem::find(&self.before, &self.mark);
        if let Some(at) = found {
            let after = self.before.split_off(at + self.mark.len());
            self.is_marked = true;
            self.before = Vec::new();
            self.push(after.into());
        } else if self.before.len() > BEFORE {
            let old = self.before.len() - KEPT;
            self.before.drain(..old);
        }
    }

    fn keep(&mut self, clean: &[u8]) {
        self.kept.extend(clean);
        let old = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..old);
    }

    fn finish(mut self) -> Written {
        let empty = self.secrets.stream();
        let rest = std::mem::replace(&mut self.redactor, empty).finish();
        self.keep(&rest);
        let bytes: Vec<u8> = if self.is_marked {
            self.kept.into()
        } else {
            self.before
        };
        // a character may have been cut
        let begins = bytes
            .iter()
            .take(4)
            .take_while(|byte| *byte & 0xc0 == 0x80)
            .count();
        let text = String::from_utf8_lossy(&bytes[begins.min(bytes.len())..]);
        Written {
            is_marked: self.is_marked,
            text: self.secrets.redact(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_the_mark_is_left_out_and_of_the_rest_the_end_is_kept() {
        let mut secrets = Secrets::default();
        secrets.add("hunter2hunter2");
        let mut collector = Collector::new("#m\n", &secrets);
        for piece in ["welcome\n#", "m\nfirst ", "hunter2", "hunter2", " last"] {
            collector.push(bytes::Bytes::copy_from_slice(piece.as_bytes()));
        }
        let written = collector.finish();
        assert!(written.is_marked);
        assert_eq!(written.text, "first [redacted] last");

        let mut collector = Collector::new("#m\n", &secrets);
        collector.push(bytes::Bytes::from_static(b"#m\n"));
        for _ in 0..10 {
            collector.push(bytes::Bytes::from("é".repeat(16 * 1024)));
        }
        collector.push(bytes::Bytes::from_static(b"end"));
        let written = collector.finish();
        assert!(written.text.len() <= KEPT && written.text.ends_with("éend"));

        let mut collector = Collector::new("#m\n", &secrets);
        for _ in 0..100 {
            collector.push(bytes::Bytes::from(vec![b'x'; 32 * 1024]));
        }
        collector.push(bytes::Bytes::from_static(b"why"));
        let written = collector.finish();
        assert!(!written.is_marked && written.text.ends_with("why") && written.text.len() <= BEFORE);
    }
}
