//! Reasons, in the words of the contract.

/// Why a packet passes or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is its own word in the contract")]
pub enum Why {
    Rule,
    Reply,
    Related,
    IntraZone,
    Failsafe,
    Essential,
    Audit,
    NoRule,
    Expired,
    Quarantined,
    SpoofedSource,
    NoConnection,
    BadFlags,
    BadHeader,
    Truncated,
    TooDeep,
    Fragment,
    SourceRoute,
    UnsupportedEthertype,
    UnsupportedProtocol,
    TableFull,
}

impl Why {
    /// The contract's spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Reply => "reply",
            Self::Related => "related",
            Self::IntraZone => "intra-zone",
            Self::Failsafe => "failsafe",
            Self::Essential => "essential",
            Self::Audit => "audit",
            Self::NoRule => "no-rule",
            Self::Expired => "expired",
            Self::Quarantined => "quarantined",
            Self::SpoofedSource => "spoofed-source",
            Self::NoConnection => "no-connection",
            Self::BadFlags => "bad-flags",
            Self::BadHeader => "bad-header",
            Self::Truncated => "truncated",
            Self::TooDeep => "too-deep",
            Self::Fragment => "fragment",
            Self::SourceRoute => "source-route",
            Self::UnsupportedEthertype => "unsupported-ethertype",
            Self::UnsupportedProtocol => "unsupported-protocol",
            Self::TableFull => "table-full",
        }
    }

    /// Whether the packet goes on.
    #[must_use]
    pub const fn passes(self) -> bool {
        matches!(
            self,
            Self::Rule | Self::Reply | Self::Related | Self::IntraZone | Self::Failsafe | Self::Essential | Self::Audit
        )
    }
}
