//! Lines out of a body that comes bit by bit: one JSON object each. It gives them out whole and in order, and ends
//! cleanly at Ctrl-C.

use serde::de::DeserializeOwned;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::client::Stream;
use crate::failure::Failure;

/// A line that is longer than this is no line of ours.
const LONGEST: usize = 1 << 20;

/// Cuts bytes into lines.
#[derive(Debug, Default)]
struct Cutter {
    rest: Vec<u8>,
}

impl Cutter {
    fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    /// The next whole line that is not blank.
    fn line(&mut self) -> Option<Vec<u8>> {
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            if !line.trim_ascii().is_empty() {
                return Some(line);
            }
        }
        None
    }
}

/// Objects, as the daemon sends them.
#[derive(Debug)]
pub(crate) struct Objects {
    stream: Stream,
    cutter: Cutter,
    /// Listens from the beginning: a Ctrl-C that comes while an object is shown is not lost.
    interrupt: Signal,
}

impl Objects {
    /// Reads this body.
    pub(crate) fn new(stream: Stream) -> Result<Self, Failure> {
        let interrupt = signal(SignalKind::interrupt())
            .map_err(|error| Failure::Broken { doing: "listening for Ctrl-C".into(), said: error.to_string() })?;
        Ok(Self { stream, cutter: Cutter::default(), interrupt })
    }

    /// The next object; none at the end or at Ctrl-C.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Next<T>, Failure> {
        loop {
            if let Some(line) = self.cutter.line() {
                return serde_json::from_slice(&line).map(Next::Object).map_err(|error| unreadable(&error.to_string()));
            }
            tokio::select! {
                bytes = self.stream.next() => match bytes? {
                    Some(bytes) => self.cutter.push(&bytes),
                    None => return Ok(Next::End),
                },
                _ = self.interrupt.recv() => return Ok(Next::Stopped),
            }
            if self.cutter.rest.len() > LONGEST {
                return Err(unreadable("a line without an end"));
            }
        }
    }
}

/// What came next.
#[derive(Debug)]
pub(crate) enum Next<T> {
    /// An object.
    Object(T),
    /// The daemon has said everything, or hung up.
    End,
    /// The person has seen enough.
    Stopped,
}

fn unreadable(said: &str) -> Failure {
    Failure::Broken {
        doing: "reading the stream".into(),
        said: format!("{said}; segctl and segd may be of different releases"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_they_were_cut_on_the_way() {
        let mut cutter = Cutter::default();
        let mut lines = Vec::new();
        for part in ["{\"a\"", ":1}\n\n{\"a\":", "2}\n{\"a\":3}\n{"] {
            cutter.push(part.as_bytes());
            lines.extend(std::iter::from_fn(|| cutter.line()));
        }
        assert_eq!(lines, [&b"{\"a\":1}\n"[..], b"{\"a\":2}\n", b"{\"a\":3}\n"]);
        assert_eq!(cutter.rest, b"{");
    }
}
