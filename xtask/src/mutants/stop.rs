//! Ctrl-C, and programs that run too long: whoever was started is ended, and the caller can still clean up.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

static STOPPED: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_signal: libc::c_int) {
    STOPPED.store(true, Ordering::Relaxed);
}

/// From now on Ctrl-C ends what runs, and not this program.
pub(super) fn listen() {
    let handler = stop as *const () as libc::sighandler_t;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler does nothing but store to an atomic, which a signal handler may.
        unsafe { libc::signal(signal, handler) };
    }
}

/// How a program ended.
pub(super) struct Ended {
    pub(super) success: bool,
    /// It was ended because it took too long.
    pub(super) late: bool,
    /// All that it wrote.
    pub(super) said: String,
}

/// Runs a program in a process group of its own, shows each line to `show`, and ends the group when its time is over. An
/// error if somebody pressed Ctrl-C meanwhile.
pub(super) fn run(command: &mut Command, patience: Duration, mut show: impl FnMut(&str)) -> Result<Ended> {
    let (mut reader, writer) = std::io::pipe().context("could not make a pipe")?;
    let errors = writer.try_clone().context("could not make a pipe")?;
    command.stdin(Stdio::null()).stdout(writer).stderr(errors).process_group(0);
    let mut child = command.spawn().with_context(|| format!("could not run {}", command.get_program().display()))?;
    // The command holds the pipe's other end until it is something else.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let reader: &mut dyn Read = &mut reader;
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    let (begin, mut late, mut said) = (Instant::now(), false, String::new());
    loop {
        match lines.recv_timeout(Duration::from_millis(100)) {
            Ok(line) => {
                show(line.trim());
                said.push_str(&line);
                said.push('\n');
            }
            Err(RecvTimeoutError::Disconnected) => break,
            // A daemon that a killed test left behind may keep the pipe open.
            Err(RecvTimeoutError::Timeout) if child.try_wait()?.is_some() => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        late |= begin.elapsed() > patience;
        if late || STOPPED.load(Ordering::Relaxed) {
            end(&mut child)?;
            break;
        }
    }
    let status = child.wait()?;
    if STOPPED.load(Ordering::Relaxed) {
        bail!("stopped; nothing is left behind but what was built");
    }
    Ok(Ended { success: status.success(), late, said })
}

/// Asks the whole group to end, and makes it if it does not.
fn end(child: &mut std::process::Child) -> Result<()> {
    let group = -child.id().cast_signed();
    // SAFETY: a plain system call. The child has not been waited for: its number is still its own.
    unsafe { libc::kill(group, libc::SIGTERM) };
    for _ in 0..50 {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    // SAFETY: as above.
    unsafe { libc::kill(group, libc::SIGKILL) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_takes_too_long_is_ended_with_all_that_it_started() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo begun; sleep 60 & sleep 60"]);
        let (begin, mut shown) = (Instant::now(), Vec::new());
        let ended = run(&mut command, Duration::from_millis(300), |line| shown.push(line.to_owned())).unwrap();
        assert!(ended.late && !ended.success && begin.elapsed() < Duration::from_secs(20));
        assert_eq!((shown, ended.said.as_str()), (vec!["begun".to_owned()], "begun\n"));
    }
}
