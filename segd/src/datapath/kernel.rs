//! What this kernel can do: whether it is new enough at all, and how TC programs are attached on it. Asked of the kernel
//! itself; its version number only says what is too old.

use std::ffi::CStr;
use std::io;

use serde::{Deserialize, Serialize};

use super::DatapathError;
use super::raw::query_tcx;

/// The oldest kernel that everything else we need is in.
const OLDEST: (u32, u32) = (6, 1);

/// How TC programs are attached. XDP programs have links on every kernel that we run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attachment {
    /// By TCX links (Linux 6.6): nobody but us takes them off.
    #[default]
    Link,
    /// By filters of a clsact qdisc, because this kernel has no TCX: whoever may run `tc` can take them off.
    Filter,
}

impl Attachment {
    /// Asks the kernel. Where there are links nothing else is ever used.
    pub(super) fn of_this_kernel() -> Result<Self, DatapathError> {
        let release = release()?;
        if is_too_old(&release) {
            return Err(DatapathError::OldKernel { release });
        }
        // No interface has the number 0: a kernel that knows TCX looks for it, one that does not refuses the question.
        match query_tcx(0).map_err(|why| why.raw_os_error()) {
            Ok(()) | Err(Some(libc::ENODEV)) => Ok(Self::Link),
            Err(Some(libc::EINVAL)) => Ok(Self::Filter),
            Err(code) => {
                let why = code.map_or_else(|| io::Error::other("no answer"), io::Error::from_raw_os_error);
                Err(DatapathError::system("ask the kernel whether it has TCX", why))
            }
        }
    }
}

/// Whether a kernel that calls itself so is older than we can use. One whose name says nothing is tried.
fn is_too_old(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < OLDEST,
        _ => false,
    }
}

fn release() -> Result<String, DatapathError> {
    // SAFETY: every field is an array of bytes, for which zeros are valid.
    let mut names: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: a live value of the right type.
    if unsafe { libc::uname(&raw mut names) } != 0 {
        return Err(DatapathError::system("ask the kernel for its release", io::Error::last_os_error()));
    }
    // SAFETY: the kernel ends its names with a zero.
    let release = unsafe { CStr::from_ptr(names.release.as_ptr()) };
    Ok(release.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_before_6_1_are_too_old() {
        for (release, old) in [
            ("5.10.0-32-cloud-amd64", true),
            ("6.0.12", true),
            ("4.19", true),
            ("6.1.0-50-cloud-amd64", false),
            ("6.12.117+deb13-cloud-amd64", false),
            ("10.0", false),
            ("custom", false),
        ] {
            assert_eq!(is_too_old(release), old, "{release}");
        }
    }
}
