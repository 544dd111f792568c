//! What the generator in the kernel does to each packet: which keys come, in which order, and where they are written. The
//! layout is the one of `Steer` in `segd-ebpf/src/bench.rs`.

use crate::policy::Random;

/// One series of packets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steer {
    /// Which keys.
    pub(crate) keys: Keys,
    /// Where the address stands in the frame, in bytes.
    pub(crate) address_at: u64,
    /// Where the port stands.
    pub(crate) port_at: u64,
    /// The address that a key is written into; `None`: one of the policy's random sources.
    pub(crate) base: Option<u32>,
}

/// Keys, and their order.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Keys {
    /// From this one on, each once.
    From(u32),
    /// At random below a power of two; the number begins the series.
    Below(u64, u64),
}

/// A key's bits that go into the address; the rest goes into the port.
const ADDRESS_BITS: u64 = 0xffff;

impl Steer {
    /// The same packets with keys that come once each, from this one on.
    pub(crate) fn counting(self, first: u32) -> Self {
        Self { keys: Keys::From(first), ..self }
    }

    pub(crate) fn words(self) -> [u64; 8] {
        let [state, step, add, shift, space] = match self.keys {
            Keys::From(first) => [u64::from(first).wrapping_sub(1), 1, 1, 0, 0xffff_ffff],
            Keys::Below(bound, seed) => {
                let mut random = Random(seed);
                random.next();
                [random.0, 6_364_136_223_846_793_005, 1_442_695_040_888_963_407, 32, bound - 1]
            }
        };
        let places = self.address_at | self.port_at << 8;
        let (base, mask) = self.base.map_or((0, 0), |base| (u64::from(base), ADDRESS_BITS));
        [state, step, add, shift, space, places, base, mask]
    }
}
