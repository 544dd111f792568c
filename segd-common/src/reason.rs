//! Why a packet got its verdict: one enum, one spelling, for the counter's label, the event, `explain` and the docs.

/// Outcome of policy. What the hook returns to the kernel is the *action*, made from this at the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The packet goes on.
    Allow,
    /// The packet is dropped and counted under its [`Reason`].
    Deny,
}

impl Verdict {
    /// The word of the contract: `allow` or `deny`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

macro_rules! reasons {
    ($( $(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $verdict:ident; )*) => {
        /// Why a packet got its verdict. The number is the index of the kernel's counter and never changes its meaning:
        /// what was counted is read on by later builds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $( $(#[$doc])* $variant = $number, )*
        }

        impl Reason {
            /// Every reason, in the order of its number.
            pub const ALL: [Self; Self::COUNT] = [ $( Self::$variant, )* ];
            /// How many reasons there are.
            pub const COUNT: usize = [ $( $number, )* ].len();

            /// The spelling used everywhere: metric label, event, `explain`, documentation.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// Whether a packet with this reason passed.
            #[must_use]
            pub const fn verdict(self) -> Verdict {
                match self { $( Self::$variant => Verdict::$verdict, )* }
            }

            /// The reason with this number.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $( $number => Some(Self::$variant), )* _ => None }
            }
        }
    };
}

reasons! {
    /// A rule allows the connection.
    Rule = 0, "rule", Allow;
    /// Belongs to a connection that was allowed.
    Reply = 1, "reply", Allow;
    /// An ICMP error about a connection that was allowed.
    Related = 2, "related", Allow;
    /// Both ends are in one zone that says `intra_zone: allow`.
    IntraZone = 3, "intra-zone", Allow;
    /// The failsafe list, which no policy blocks.
    Failsafe = 4, "failsafe", Allow;
    /// What a network needs to work at all: ARP, NDP, MLD, the DHCP client.
    Essential = 5, "essential", Allow;
    /// Would have been dropped, but the mode let it pass.
    Audit = 6, "audit", Allow;
    /// Default deny.
    NoRule = 7, "no-rule", Deny;
    /// The rule that would allow it has run out.
    Expired = 8, "expired", Deny;
    /// Either end is cut off.
    Quarantined = 9, "quarantined", Deny;
    /// The source's zone does not belong on this interface, or the address is a martian.
    SpoofedSource = 10, "spoofed-source", Deny;
    /// Mid-stream TCP, stray RST or SYN-ACK, an ICMP error or a fragment's rest that belongs to nothing.
    NoConnection = 11, "no-connection", Deny;
    /// TCP flags that no connection starts or goes on with.
    BadFlags = 12, "bad-flags", Deny;
    /// A header that contradicts itself or its neighbours.
    BadHeader = 13, "bad-header", Deny;
    /// The frame ends before its headers do.
    Truncated = 14, "truncated", Deny;
    /// More tags or extension headers than the parser follows.
    TooDeep = 15, "too-deep", Deny;
    /// Fragments that overlap, are too small to judge, or contradict each other.
    Fragment = 16, "fragment", Deny;
    /// IPv4 source route options, IPv6 routing headers with segments left.
    SourceRoute = 17, "source-route", Deny;
    /// Neither IP nor ARP.
    UnsupportedEthertype = 18, "unsupported-ethertype", Deny;
    /// An IP protocol that has no ports we know and that no rule names.
    UnsupportedProtocol = 19, "unsupported-protocol", Deny;
    /// No room for a new connection.
    TableFull = 20, "table-full", Deny;
}

impl Reason {
    /// What becomes of it where a policy only watches: what would be dropped passes, but for who is cut off.
    #[inline(always)]
    #[must_use]
    pub const fn watched(self) -> Self {
        match self.verdict() {
            Verdict::Deny if !matches!(self, Self::Quarantined) => Self::Audit,
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_found_by_its_number_and_has_a_name_of_its_own() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::from_number(index as u8), Some(*reason));
            assert_eq!(*reason as usize, index);
            assert_eq!(Reason::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1);
        }
        assert_eq!(Reason::from_number(Reason::COUNT as u8), None);
    }
}
