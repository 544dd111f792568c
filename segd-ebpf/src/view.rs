//! Packet access: the one place that reads frames. Every read compares its end with the end of the frame.

use core::arch::asm;

use segd_common::view::{MAX_OFF, View};

/// A frame between two packet pointers, read once from the context.
#[derive(Clone, Copy)]
pub struct Frame {
    start: usize,
    end: usize,
    len: u32,
    spare: *mut u32,
}

impl Frame {
    /// `len` is the length of the whole frame, of which only `start..end` can be read. `spare` is a word of a map's value.
    #[inline(always)]
    pub fn new(start: usize, end: usize, len: u32, spare: *mut u32) -> Self {
        Self { start, end, len, spare }
    }

    /// Where a value of `size` bytes at `off` stands, if the frame holds it.
    #[inline(always)]
    fn place(&self, off: u32, size: usize) -> Option<usize> {
        if off > MAX_OFF {
            return None;
        }
        let place = barrier(self.start + off as usize);
        if place + size > self.end { None } else { Some(place) }
    }
}

/// One load from the packet, in network order. The kernel lets packets be read at any alignment, and the compiler would
/// take such a read apart into bytes, or put other reads together in ways that the kernel does not let pass.
macro_rules! load {
    ($place:expr, $template:literal) => {{
        let value: u64;
        // SAFETY: the value was found to lie inside the frame; the verifier checks it again.
        unsafe { asm!($template, in("r2") $place, lateout("r0") value, options(nostack, readonly, preserves_flags)) };
        value
    }};
}

/// Keeps the compiler from taking the checked pointer apart again: the verifier only knows the pointer that was compared.
#[inline(always)]
pub fn barrier(mut pointer: usize) -> usize {
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
    fn meet(&self, off: u32) -> u32 {
        // The verifier does not follow values through a map's memory.
        // SAFETY: a word of this CPU's own map value.
        let off = unsafe {
            self.spare.write_volatile(off);
            self.spare.read_volatile()
        };
        off & MAX_OFF
    }
    #[inline(always)]
    fn u8(&self, off: u32) -> Option<u8> {
        self.place(off, 1).map(|place| load!(place, "r0 = *(u8 *)(r2 + 0)") as u8)
    }
    #[inline(always)]
    fn u16(&self, off: u32) -> Option<u16> {
        self.place(off, 2).map(|place| load!(place, "r0 = *(u16 *)(r2 + 0)") as u16).map(u16::from_be)
    }
    #[inline(always)]
    fn u32(&self, off: u32) -> Option<u32> {
        self.place(off, 4).map(|place| load!(place, "r0 = *(u32 *)(r2 + 0)") as u32).map(u32::from_be)
    }
    #[inline(always)]
    fn u64(&self, off: u32) -> Option<u64> {
        self.place(off, 8).map(|place| load!(place, "r0 = *(u64 *)(r2 + 0)")).map(u64::from_be)
    }
}
