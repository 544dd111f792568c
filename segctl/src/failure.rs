//! Everything that can go wrong between an admin and the daemon, and the exit status each of it has.
//! Every text says what was tried and ends with what to do next; none of them hides the daemon's own words.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use segd::api::types::Problem;
use segd::state::boot::BootNote;

/// Exit status when the answer is no: `explain` denied, `diff` differs.
pub(crate) const NO: u8 = 1;
/// Exit status of a policy that is invalid, or whose tests fail.
pub(crate) const INVALID: u8 = 5;

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was typed can't be meant.
    #[error("{fault}\n  {mend}")]
    Usage {
        /// What is wrong.
        fault: String,
        /// What to type instead.
        mend: String,
    },
    /// Nobody answers on the socket.
    #[error(
        "the daemon does not answer on {}: {said}\n  {}; start the daemon with systemctl start segd",
        socket.display(),
        boot.map_or_else(|| "enforcement goes on in the kernel".to_owned(), |boot| boot.to_string())
    )]
    Unreachable {
        /// Where it should have listened.
        socket: PathBuf,
        /// What the system said. Not a source: it stands in the text already.
        said: std::io::Error,
        /// What the boot has noted, if no daemon ran since.
        boot: Option<BootNote>,
    },
    /// The daemon hung up, or said what is no answer.
    #[error(
        "{doing}: {said}\n  enforcement goes on in the kernel; look into the daemon's log: journalctl -u segd -n 50"
    )]
    Broken {
        /// What was tried.
        doing: String,
        /// What came back.
        said: String,
    },
    /// The system does not let the caller open the socket.
    #[error(
        "may not open {}: {said}\n  \
         reading needs the group segd, changing needs segd-admin; or type it again with sudo",
        socket.display()
    )]
    SocketClosed {
        /// The socket.
        socket: PathBuf,
        /// What the system said. Not a source: it stands in the text already.
        said: std::io::Error,
    },
    /// The daemon refused, and said why.
    #[error("{}", Told(.0))]
    Refused(Box<Problem>),
}

impl Failure {
    /// A usage fault and its mend.
    pub(crate) fn usage(fault: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Usage { fault: fault.into(), mend: mend.into() }
    }

    /// The exit status of the contract.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            Self::Unreachable { .. } | Self::Broken { .. } => 3,
            Self::SocketClosed { .. } => 4,
            Self::Refused(problem) => problem.kind.exit_status(),
        }
    }
}

/// A problem in full: what happened, each fault with its picture, each failed test, the mend.
struct Told<'a>(&'a Problem);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)?;
        for fault in &self.0.faults {
            write!(f, "\n\n{}", crate::verbs::check::fault(fault))?;
        }
        for test in &self.0.tests {
            write!(f, "\n\n{}", crate::verbs::check::failed_test(test))?;
        }
        let listed = !self.0.faults.is_empty() || !self.0.tests.is_empty();
        if self.0.mend.is_empty() { Ok(()) } else { write!(f, "\n{}{}", if listed { "\n" } else { "  " }, self.0.mend) }
    }
}

/// Exit status for whatever ended the run. A reader that closed the pipe has seen what it wanted: that is success.
/// Anything unforeseen counts as "not reached" rather than as an answer, so that no script takes it for a no.
pub(crate) fn status_of(error: &anyhow::Error) -> ExitCode {
    let status = match error.downcast_ref::<Failure>() {
        Some(failure) => failure.status(),
        None if is_closed_pipe(error) => 0,
        None => 3,
    };
    ExitCode::from(status)
}

/// Whether the run ended because nobody reads our output any more. A [`Failure`] speaks of the socket, never of it.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    !error.is::<Failure>() && causes.any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use segd::api::types::ProblemKind;
    use segd::state::boot::Begun;

    use super::*;

    #[test]
    fn a_closed_pipe_is_success_and_an_unforeseen_error_is_never_an_answer() {
        let closed = anyhow::Error::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe)).context("printing");
        assert_eq!(status_of(&closed), ExitCode::from(0));
        assert_eq!(status_of(&anyhow::anyhow!("odd")), ExitCode::from(3));
    }

    #[test]
    fn no_refusal_of_the_daemon_looks_like_a_no() {
        for kind in [
            ProblemKind::BadRequest,
            ProblemKind::NotPermitted,
            ProblemKind::NotFound,
            ProblemKind::PolicyRefused,
            ProblemKind::PolicyChanged,
            ProblemKind::Failed,
        ] {
            assert!(kind.exit_status() > NO, "{kind:?}");
        }
    }

    #[test]
    fn an_unreachable_daemon_is_told_apart_from_lost_enforcement() {
        let unreachable = |boot| Failure::Unreachable {
            socket: "/run/segd/segd.sock".into(),
            said: std::io::ErrorKind::NotFound.into(),
            boot,
        };
        assert_eq!(
            unreachable(None).to_string(),
            "the daemon does not answer on /run/segd/segd.sock: entity not found\n  \
             enforcement goes on in the kernel; start the daemon with systemctl start segd"
        );
        assert_eq!(unreachable(None).status(), 3);
        let open = BootNote { begun: Begun::Open, at: jiff::Timestamp::UNIX_EPOCH };
        assert!(unreachable(Some(open)).to_string().contains("here: NOTHING is enforced; start the daemon"));
    }
}
