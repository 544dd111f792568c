//! One address type for both families: IPv6 as it is, IPv4 as `::ffff:a.b.c.d`. An address of that form that comes in
//! over the wire as IPv6 is refused by the image's martian flags, so the two never meet.

/// An address in two words of host order. Not `u128`: its shifts can't be compiled for the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Addr {
    /// Bits 127 to 64.
    pub hi: u64,
    /// Bits 63 to 0.
    pub lo: u64,
}

const V4_PREFIX: u64 = 0xffff_0000_0000;

impl Addr {
    /// `::`.
    pub const ZERO: Self = Self { hi: 0, lo: 0 };

    /// The IPv4 address with these 32 bits, in host order.
    #[inline(always)]
    #[must_use]
    pub const fn v4(bits: u32) -> Self {
        Self { hi: 0, lo: V4_PREFIX | bits as u64 }
    }

    /// Whether this is an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(self) -> bool {
        self.hi == 0 && self.lo >> 32 == V4_PREFIX >> 32
    }

    /// The 128 bits, for code that does not run in the kernel.
    #[must_use]
    pub const fn to_bits(self) -> u128 {
        (self.hi as u128) << 64 | self.lo as u128
    }
}

impl From<core::net::IpAddr> for Addr {
    fn from(address: core::net::IpAddr) -> Self {
        match address {
            core::net::IpAddr::V4(v4) => Self::v4(v4.to_bits()),
            core::net::IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                Self { hi: (bits >> 64) as u64, lo: bits as u64 }
            }
        }
    }
}

impl From<Addr> for core::net::IpAddr {
    fn from(address: Addr) -> Self {
        if address.is_v4() {
            Self::V4(core::net::Ipv4Addr::from_bits(address.lo as u32))
        } else {
            Self::V6(core::net::Ipv6Addr::from_bits(address.to_bits()))
        }
    }
}

const _: () = assert!(size_of::<Addr>() == 16);
