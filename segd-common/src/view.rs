//! How the parser reads a frame: a few sizes at an offset, or nothing when the frame ends before.

/// Headers are looked for in this many bytes. What goes deeper is [`crate::reason::Reason::TooDeep`]. The bound also
/// tells the verifier how far a variable offset can reach.
pub const MAX_OFF: u32 = 511;

/// Read access to one frame. Values come in host order.
pub trait View {
    /// Bytes of the frame, those included that [`View`] can't read.
    fn frame_len(&self) -> u32;
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

impl View for Slice<'_> {
    fn frame_len(&self) -> u32 {
        self.0.len() as u32
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
