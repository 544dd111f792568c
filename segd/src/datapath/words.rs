//! What the kernel programs say to developers, into the daemon's log. Only in builds with the feature `kernel-log`: the reader
//! trusts what it reads, and a statement is slow.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use aya::Ebpf;
use aya_log::EbpfLogger;

use super::DatapathError;

/// How long words may wait.
const PAUSE: Duration = Duration::from_millis(200);

/// As long as it lives, the programs' words are read.
pub(super) struct Words(#[expect(dead_code, reason = "what counts is that it is there")] Arc<()>);

impl Words {
    /// Reads what these programs say. Comes after the last of them is loaded: it takes a map out of `ebpf`.
    pub(super) fn of(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        let system = |what: &str, why: String| DatapathError::system(what, std::io::Error::other(why));
        let mut logger =
            EbpfLogger::init(ebpf).map_err(|error| system("read the programs' words", error.to_string()))?;
        let alive = Arc::new(());
        let watched: Weak<()> = Arc::downgrade(&alive);
        let reader = thread::Builder::new().name("kernel-log".to_owned()).spawn(move || {
            while watched.strong_count() > 0 {
                logger.flush();
                thread::sleep(PAUSE);
            }
        });
        reader.map_err(|error| DatapathError::system("start the reader of the programs' words", error))?;
        Ok(Self(alive))
    }
}
