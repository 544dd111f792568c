//! The two steps by which one policy takes the place of another: its root is laid down where no packet looks, then one
//! word names it. Nothing else of the control value is touched.

use std::sync::atomic::{AtomicU64, Ordering};

use segd_common::control::{Control, ROOTS};
use segd_common::image::Root;

use super::raw::Mapping;

impl Mapping<Control> {
    /// Writes a root. No selector in force may name its place.
    pub(super) fn write_root(&self, index: usize, root: Root) {
        if let Some(control) = self.place(0).filter(|_| index < ROOTS) {
            // SAFETY: inside the mapping and aligned, as for `read`; the index is below the array's length.
            unsafe { (&raw mut (*control).roots[index]).write_volatile(root) }
        }
    }

    /// Names the policy that holds, by one store of eight bytes: no packet sees half of it.
    pub(super) fn select(&self, selector: u64) {
        if let Some(control) = self.place(0) {
            // SAFETY: inside the mapping and aligned; the kernel reads the word and never writes it.
            let word = unsafe { AtomicU64::from_ptr(&raw mut (*control).selector) };
            // What was written before has to be there before the word names it.
            word.store(selector, Ordering::SeqCst);
        }
    }
}
