//! Where the log goes: to the journal, with fields that it can be asked by, or as lines to standard error.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, registry};

/// Before the names of fields: `journalctl SEGD_VERB=allow`.
const PREFIX: &str = "SEGD";

/// Starts logging, once. Under a service manager that keeps a journal it goes there; else, or if the journal can't be reached, to
/// standard error.
pub fn init(level: LevelFilter) {
    let managed = sd_notify::booted().unwrap_or(false) && std::env::var_os("JOURNAL_STREAM").is_some();
    let journal = if managed { journal().ok() } else { None };
    let lines = journal.is_none().then(|| lines(io::stderr, io::stderr().is_terminal()));
    registry()
        .with(journal.map(|layer| layer.with_filter(level)))
        .with(lines.map(|layer| layer.with_filter(level)))
        .init();
}

fn journal() -> io::Result<tracing_journald::Layer> {
    Ok(tracing_journald::layer()?.with_field_prefix(Some(PREFIX.to_owned())))
}

/// A line for each event, its message alone: what else it says is for those who ask the journal.
fn lines<S, W>(to: W, colours: bool) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let message = debug_fn(|writer, field, value| match field.name() {
        "message" => write!(writer, "{value:?}"),
        _ => Ok(()),
    });
    tracing_subscriber::fmt::layer().with_writer(to).with_target(false).with_ansi(colours).fmt_fields(message)
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::fs;
    use std::os::unix::net::UnixDatagram;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;

    const SOCKET: &str = "/run/systemd/journal/socket";

    fn change() {
        tracing::info!(
            verb = "allow",
            user = "alice",
            login = Some(1000),
            reason = None::<&str>,
            "history 3: alice: allow till"
        );
    }

    #[test]
    fn a_line_is_the_message_alone() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&written);
        let writer = move || Shared(Arc::clone(&to));
        tracing::subscriber::with_default(registry().with(lines(writer, false)), change);
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.ends_with(" INFO history 3: alice: allow till\n"), "{text}");
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_journal_gets_each_field_by_its_name() {
        // SAFETY: geteuid takes nothing and cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            eprintln!("SKIPPED: a /run of one's own needs root");
            return;
        }
        std::thread::spawn(|| {
            own_run();
            fs::create_dir_all("/run/systemd/journal").unwrap();
            let journald = UnixDatagram::bind(SOCKET).unwrap();
            journald.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            tracing::subscriber::with_default(registry().with(journal().unwrap()), change);
            let mut entry = vec![0; 65536];
            // The first one only looks whether anybody is there.
            let text =
                std::iter::repeat_with(|| journald.recv(&mut entry).map(|length| entry[..length].to_vec()).unwrap())
                    .find(|entry| !entry.is_empty());
            let text = String::from_utf8_lossy(&text.unwrap()).into_owned();
            for field in [
                "MESSAGE=history 3: alice: allow till\n",
                "SEGD_VERB=allow\n",
                "SEGD_USER=alice\n",
                "SEGD_LOGIN=1000\n",
                "PRIORITY=5\n",
            ] {
                // Long values are told with their length; none of these is one.
                let (name, value) = field.trim_end().split_once('=').unwrap();
                let told = text.contains(field) || text.contains(&format!("{name}\n")) && text.contains(value);
                assert!(told, "no {field:?} in {text:?}");
            }
            assert!(!text.contains("SEGD_REASON"), "{text:?}");
        })
        .join()
        .unwrap();
    }

    /// Gives this thread alone an empty /run.
    fn own_run() {
        let (none, run, tmpfs) =
            (CString::new("none").unwrap(), CString::new("/run").unwrap(), CString::new("tmpfs").unwrap());
        let root = CString::new("/").unwrap();
        // SAFETY: all pointers are terminated strings that outlive the calls, or null where that is allowed.
        unsafe {
            assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0, "{}", io::Error::last_os_error());
            let private = libc::MS_REC | libc::MS_PRIVATE;
            assert_eq!(libc::mount(none.as_ptr(), root.as_ptr(), std::ptr::null(), private, std::ptr::null()), 0);
            assert_eq!(libc::mount(none.as_ptr(), run.as_ptr(), tmpfs.as_ptr(), 0, std::ptr::null()), 0);
        }
    }
}
