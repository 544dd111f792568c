//! What the compiler has to know of this machine. Plain values, gathered by others.

use std::net::IpAddr;

use jiff::Timestamp;

use super::{Clock, Cut};

/// The machine that a policy is compiled for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Every address of this machine.
    pub host: Vec<IpAddr>,
    /// The guarded interfaces.
    pub interfaces: Vec<InterfaceFact>,
    /// Who is cut off.
    pub cuts: Vec<Cut>,
    /// When it is compiled.
    pub now: Timestamp,
    /// Wall clock and jiffies at one moment.
    pub clock: Clock,
}

/// One guarded interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceFact {
    /// Its name, which zones' `interfaces` are matched with.
    pub name: String,
    /// Names of what takes its packets: a bridge that it is a port of, a VLAN that lies upon it. A zone that names one of them
    /// is seen here first.
    pub above: Vec<String>,
    /// The kernel's number.
    pub ifindex: u32,
    /// The number that the image knows it by.
    pub slot: u16,
}
