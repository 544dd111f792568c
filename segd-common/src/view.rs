//! How the parser reads a frame: a few sizes at an offset, or nothing when the frame ends before.

/// Headers are looked for in this many bytes. What goes deeper is [`crate::reason::Reason::TooDeep`]. The bound also
/// tells the verifier how far a variable offset can reach.
pub const MAX_OFF: u32 = 511;

/// Bytes of a frame that were found to be there, read at fixed places in host order. A place outside reads as 0; the kernel's
/// verifier refuses a program that has one.
pub trait Window {
    /// The byte at `AT`.
    fn u8<const AT: usize>(&self) -> u8;
    /// Two bytes at `AT`.
    fn u16<const AT: usize>(&self) -> u16;
    /// Four bytes at `AT`.
    fn u32<const AT: usize>(&self) -> u32;
    /// Eight bytes at `AT`.
    fn u64<const AT: usize>(&self) -> u64;
}

/// Read access to one frame. Values come in host order.
pub trait View {
    /// What [`View::window`] gives.
    type Window: Window;
    /// `len` bytes from `off` on, if the frame holds them: one check for many reads.
    fn window(&self, off: u32, len: u32) -> Option<Self::Window>;
    /// Bytes of the frame as far as they are known: at most all of it, and all of it once [`View::measured`].
    fn frame_len(&self) -> u32;
    /// The same frame with those bytes counted that lie where a [`View`] can't read them. Asks the kernel, which is slow.
    #[must_use]
    fn measured(&self) -> Self;
    /// The same offset, which is at most [`MAX_OFF`]. In the kernel the verifier forgets here how it came about: paths
    /// through the headers meet again, and their combinations are not followed one by one.
    fn meet(&self, off: u32) -> u32;
    /// The byte at `off`.
    fn u8(&self, off: u32) -> Option<u8>;
    /// Two bytes at `off`.
    fn u16(&self, off: u32) -> Option<u16>;
    /// Four bytes at `off`.
    fn u32(&self, off: u32) -> Option<u32>;
    /// Eight bytes at `off`.
    fn u64(&self, off: u32) -> Option<u64>;
}

/// A frame in memory: unit tests, fuzzers, the model's side of a comparison.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a>(pub &'a [u8]);

impl Slice<'_> {
    fn bytes<const N: usize>(&self, off: u32) -> Option<[u8; N]> {
        if off > MAX_OFF {
            return None;
        }
        let off = off as usize;
        self.0.get(off..off + N)?.try_into().ok()
    }
}

impl Slice<'_> {
    fn fixed<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
    }
}

impl Window for Slice<'_> {
    fn u8<const AT: usize>(&self) -> u8 {
        let [byte] = self.fixed(AT);
        byte
    }
    fn u16<const AT: usize>(&self) -> u16 {
        u16::from_be_bytes(self.fixed(AT))
    }
    fn u32<const AT: usize>(&self) -> u32 {
        u32::from_be_bytes(self.fixed(AT))
    }
    fn u64<const AT: usize>(&self) -> u64 {
        u64::from_be_bytes(self.fixed(AT))
    }
}

impl<'a> View for Slice<'a> {
    type Window = Slice<'a>;
    fn window(&self, off: u32, len: u32) -> Option<Self> {
        self.0.get(off as usize..(off + len) as usize).map(Slice)
    }
    fn frame_len(&self) -> u32 {
        self.0.len() as u32
    }
    fn measured(&self) -> Self {
        *self
    }
    fn meet(&self, off: u32) -> u32 {
        off
    }
    fn u8(&self, off: u32) -> Option<u8> {
        self.bytes::<1>(off).map(|[byte]| byte)
    }
    fn u16(&self, off: u32) -> Option<u16> {
        self.bytes(off).map(u16::from_be_bytes)
    }
    fn u32(&self, off: u32) -> Option<u32> {
        self.bytes(off).map(u32::from_be_bytes)
    }
    fn u64(&self, off: u32) -> Option<u64> {
        self.bytes(off).map(u64::from_be_bytes)
    }
}
