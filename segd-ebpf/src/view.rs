//! Packet access: the one place that reads frames. Every read compares its end with the end of the frame.

use core::arch::asm;

use segd_common::view::{MAX_OFF, View};

/// A frame between two packet pointers, read once from the context.
#[derive(Clone, Copy)]
pub struct Frame {
    start: usize,
    end: usize,
    len: u32,
}

impl Frame {
    /// `len` is the length of the whole frame, of which only `start..end` can be read.
    #[inline(always)]
    pub fn new(start: usize, end: usize, len: u32) -> Self {
        Self { start, end, len }
    }

    #[inline(always)]
    fn read<T: Copy>(&self, off: u32) -> Option<T> {
        if off > MAX_OFF {
            return None;
        }
        let after = barrier(self.start + off as usize + size_of::<T>());
        if after > self.end {
            return None;
        }
        // SAFETY: the value ends at `after`, which was found to lie inside the frame; the kernel's memory for packets is
        // readable at any alignment, and the verifier checks it again.
        Some(unsafe { ((after - size_of::<T>()) as *const T).read_unaligned() })
    }
}

/// Keeps the compiler from taking the checked pointer apart again: the verifier only knows the pointer that was compared.
#[inline(always)]
fn barrier(mut pointer: usize) -> usize {
    // SAFETY: an empty template changes nothing.
    unsafe { asm!("", inout("r2") pointer, options(nomem, nostack, pure, preserves_flags)) };
    pointer
}

impl View for Frame {
    #[inline(always)]
    fn frame_len(&self) -> u32 {
        self.len
    }
    #[inline(always)]
    fn u8(&self, off: u32) -> Option<u8> {
        self.read(off)
    }
    #[inline(always)]
    fn u16(&self, off: u32) -> Option<u16> {
        self.read(off).map(u16::from_be)
    }
    #[inline(always)]
    fn u32(&self, off: u32) -> Option<u32> {
        self.read(off).map(u32::from_be)
    }
    #[inline(always)]
    fn u64(&self, off: u32) -> Option<u64> {
        self.read(off).map(u64::from_be)
    }
}
