//! Who did it, as the kernel knows it: the user of the process, and the login behind `sudo`.

use std::ffi::CStr;
use std::fs;
use std::mem::MaybeUninit;
use std::ptr;

/// What the kernel says of a process that no login is behind.
const NO_LOGIN: u32 = u32::MAX;

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// User id of the process.
    pub uid: u32,
    /// User id of the login behind it.
    pub loginuid: Option<u32>,
    /// Name of the login, or of the user if there is none.
    pub user: String,
}

impl Who {
    /// A process at the other end of the socket. Its login is read from /proc, so it has to be alive.
    #[must_use]
    pub fn of(pid: i32, uid: u32) -> Self {
        let text = fs::read_to_string(format!("/proc/{pid}/loginuid")).unwrap_or_default();
        let loginuid = text.trim().parse().ok().filter(|login| *login != NO_LOGIN);
        Self { uid, loginuid, user: user_name(loginuid.unwrap_or(uid)) }
    }

    /// The daemon itself: what nobody asked for at that moment.
    #[must_use]
    pub fn daemon() -> Self {
        // SAFETY: the call has no arguments and cannot fail.
        Self { uid: unsafe { libc::geteuid() }, loginuid: None, user: "segd".to_owned() }
    }
}

/// The name of a user, or its number where it has none.
fn user_name(uid: u32) -> String {
    let mut room = 1024;
    while room <= 1 << 20 {
        let mut user = MaybeUninit::<libc::passwd>::zeroed();
        let mut strings = vec![0_u8; room];
        let mut found = ptr::null_mut();
        // SAFETY: every pointer is to a live buffer of the size that is told; `found` is read only after success.
        let result = unsafe {
            libc::getpwuid_r(uid, user.as_mut_ptr(), strings.as_mut_ptr().cast(), strings.len(), &raw mut found)
        };
        if result != libc::ERANGE {
            if result != 0 || found.is_null() {
                break;
            }
            // SAFETY: `found` points at `user`, which the call has filled in; its name ends with a zero inside `strings`.
            return unsafe { CStr::from_ptr((*found).pw_name) }.to_string_lossy().into_owned();
        }
        room *= 2;
    }
    uid.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names_and_strangers_numbers() {
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(3_999_999_999), "3999999999");
        assert_eq!(Who::of(-1, 0), Who { uid: 0, loginuid: None, user: "root".into() });
    }
}
