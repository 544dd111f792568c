//! Packet access: the one place that reads frames. Every read compares its end with the end of the frame.

use core::arch::asm;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::bpf_xdp_get_buff_len;
use segd_common::view::{MAX_OFF, View, Window};

/// A frame between two packet pointers, read once from the context.
#[derive(Clone, Copy)]
pub struct Frame {
    start: usize,
    end: usize,
    len: Length,
    spare: Option<*mut u32>,
}

/// Length of a frame, of which only the linear part can be read.
#[derive(Clone, Copy)]
pub enum Length {
    /// So many bytes.
    Known(u32),
    /// At least the linear part; jumbo frames, and generic XDP's super-packets, go on in pages.
    Linear(*mut xdp_md),
}

impl Frame {
    /// Only `start..end` can be read.
    #[inline(always)]
    pub fn new(start: usize, end: usize, len: Length) -> Self {
        Self { start, end, len, spare: None }
    }

    /// Whether nothing of it lies in pages; once it is measured.
    #[inline(always)]
    pub fn is_linear(&self) -> bool {
        match self.len {
            Length::Known(len) => len == (self.end - self.start) as u32,
            Length::Linear(_) => false,
        }
    }

    /// The same with a word of this CPU's own, in a map's value, for the whole way's parser.
    #[inline(always)]
    pub fn with_spare(self, spare: *mut u32) -> Self {
        Self { spare: Some(spare), ..self }
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

/// Bytes from a packet pointer on, which the verifier knows to be there.
#[derive(Clone, Copy)]
pub struct Bytes(usize);

impl Bytes {
    /// Where they begin.
    #[inline(always)]
    pub const fn place(self) -> usize {
        self.0
    }
}

impl Window for Bytes {
    #[inline(always)]
    fn u8<const AT: usize>(&self) -> u8 {
        load!(self.0 + AT, "r0 = *(u8 *)(r2 + 0)") as u8
    }
    #[inline(always)]
    fn u16<const AT: usize>(&self) -> u16 {
        u16::from_be(load!(self.0 + AT, "r0 = *(u16 *)(r2 + 0)") as u16)
    }
    #[inline(always)]
    fn u32<const AT: usize>(&self) -> u32 {
        u32::from_be(load!(self.0 + AT, "r0 = *(u32 *)(r2 + 0)") as u32)
    }
    #[inline(always)]
    fn u64<const AT: usize>(&self) -> u64 {
        u64::from_be(load!(self.0 + AT, "r0 = *(u64 *)(r2 + 0)"))
    }
}

impl View for Frame {
    type Window = Bytes;
    #[inline(always)]
    fn window(&self, off: u32, len: u32) -> Option<Bytes> {
        self.place(off, len as usize).map(Bytes)
    }
    #[inline(always)]
    fn frame_len(&self) -> u32 {
        match self.len {
            Length::Known(len) => len,
            Length::Linear(_) => (self.end - self.start) as u32,
        }
    }
    #[inline(always)]
    fn measured(&self) -> Self {
        match self.len {
            Length::Known(_) => *self,
            // SAFETY: the kernel handed the context in.
            Length::Linear(ctx) => Self { len: Length::Known(unsafe { bpf_xdp_get_buff_len(ctx) as u32 }), ..*self },
        }
    }
    #[inline(always)]
    fn meet(&self, off: u32) -> u32 {
        let Some(spare) = self.spare else { return off & MAX_OFF };
        // The verifier does not follow values through a map's memory.
        // SAFETY: a word of this CPU's own map value.
        let off = unsafe {
            spare.write_volatile(off);
            spare.read_volatile()
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
