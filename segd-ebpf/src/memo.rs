//! What XDP leaves in front of a packet for the program that notes it: a foreign one, or a packet's second way in, must not be
//! taken for it.

use segd_common::pipeline::{self, Work};

use crate::maps::Maps;
use crate::view::barrier;

/// What was found out about a packet on its way in.
#[repr(C)]
pub struct Memo {
    /// Whose word it is.
    seal: u64,
    /// [`pipeline::voucher`], or what shortcuts are led by; 0: nothing.
    pub stamp: u32,
    /// The sender's zone.
    pub zone: u32,
}

const _: () = assert!(size_of::<Memo>() == 16);

impl Memo {
    /// Of a packet that passes.
    #[inline(always)]
    pub fn of(ifindex: u32, work: &Work) -> Self {
        let stamp = if work.at.shortcut == 0 {
            pipeline::voucher(work).unwrap_or_default()
        } else {
            pipeline::stamp(&work.packet)
        };
        Self { seal: pipeline::seal(&Maps, ifindex), stamp, zone: u32::from(work.outcome.src_zone) }
    }

    /// Writes it to the bytes from `meta` on, if they are there.
    #[inline(always)]
    pub fn write(self, meta: usize, data: usize) {
        let place = barrier(meta);
        if place + size_of::<Self>() <= data {
            // SAFETY: the bytes are there, and the kernel lays them out at a multiple of four.
            unsafe {
                (place as *mut u64).write(self.seal);
                ((place + 8) as *mut u32).write(self.stamp);
                ((place + 12) as *mut u32).write(self.zone);
            }
        }
    }

    /// What was left in front of a packet that came in here.
    #[inline(always)]
    pub fn read(ifindex: u32, meta: usize, data: usize) -> Option<Self> {
        let place = barrier(meta);
        if place + size_of::<Self>() > data {
            return None;
        }
        // SAFETY: as above.
        let memo = unsafe {
            Self {
                seal: (place as *const u64).read(),
                stamp: ((place + 8) as *const u32).read(),
                zone: ((place + 12) as *const u32).read(),
            }
        };
        if memo.seal == pipeline::seal(&Maps, ifindex) { Some(memo) } else { None }
    }
}
