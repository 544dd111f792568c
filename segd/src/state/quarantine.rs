//! Who is cut off, over restarts and reloads. A host that was cut off stays so until somebody or its time lets it back.

use ipnet::IpNet;
use jiff::Timestamp;

use super::file::{self, FileError};
use super::{StateDir, StateError, json, kept};
use crate::api::types::QuarantineView;
use crate::compile::{Cut, Whom};
use crate::policy::ZoneName;

/// Everybody who is cut off, in the order in which they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quarantine(pub Vec<QuarantineView>);

/// Whom a word means: an address, a network or a zone. `None`: a network with bits beyond its length. An IPv4 address as an
/// IPv6 socket tells it (`::ffff:10.0.0.5`, RFC 4291, 2.5.5.2) is that IPv4 address: on a wire there is no other.
#[must_use]
pub fn whom(target: &str) -> Option<Whom> {
    if let Ok(address) = target.parse::<std::net::IpAddr>() {
        return Some(Whom::Network(address.to_canonical().into()));
    }
    let Ok(network) = target.parse::<IpNet>() else { return Some(Whom::Zone(ZoneName(target.to_owned()))) };
    let plain = match (network.addr().to_canonical(), network.prefix_len()) {
        (address, 96..) if address != network.addr() => IpNet::new(address, network.prefix_len() - 96).ok()?,
        _ => network,
    };
    (plain.network() == plain.addr()).then_some(Whom::Network(plain))
}

impl Quarantine {
    /// What the compiler has to know of them.
    #[must_use]
    pub fn cuts(&self) -> Vec<Cut> {
        let cut = |entry: &QuarantineView| Some(Cut { whom: whom(&entry.target)?, until: entry.until });
        self.0.iter().filter_map(cut).collect()
    }

    /// The entry that says the same, however it is written: `10.0.0.5` and `10.0.0.5/32`.
    #[must_use]
    pub fn find(&self, wanted: &Whom) -> Option<&QuarantineView> {
        self.0.iter().find(|entry| whom(&entry.target).as_ref() == Some(wanted))
    }

    /// Without the entry that says the same.
    #[must_use]
    pub fn without(&self, wanted: &Whom) -> Self {
        Self(self.0.iter().filter(|entry| whom(&entry.target).as_ref() != Some(wanted)).cloned().collect())
    }

    /// Those whose time is over at `now`, and the rest.
    #[must_use]
    pub fn split(&self, now: Timestamp) -> (Vec<QuarantineView>, Self) {
        let over = |entry: &QuarantineView| entry.until.is_some_and(|end| end <= now);
        let (over, rest) = self.0.iter().cloned().partition(over);
        (over, Self(rest))
    }
}

impl StateDir {
    /// Keeps who is cut off. Has to come before the kernel does it.
    pub fn save_quarantine(&self, quarantine: &Quarantine) -> Result<(), FileError> {
        file::replace(&self.path().join(FILE), &json(&quarantine.0), 0o600)
    }

    /// Who was cut off.
    pub fn load_quarantine(&self) -> Result<Quarantine, StateError> {
        let read = kept(self.path().join(FILE), |path, fault| StateError::Quarantine { path, fault })?;
        Ok(Quarantine(read.unwrap_or_default()))
    }
}

const FILE: &str = "quarantine.json";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn entry(target: &str, until: Option<Timestamp>) -> QuarantineView {
        let (reason, user) = ("beacons".into(), "alice".into());
        QuarantineView { target: target.into(), until, reason, since: Timestamp::UNIX_EPOCH, user }
    }

    #[test]
    fn whoever_is_cut_off_stays_so_over_restarts_and_a_damaged_file_lets_nobody_out() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        assert_eq!(state.load_quarantine().unwrap(), Quarantine::default());
        let all = Quarantine(vec![entry("10.0.0.5", None), entry("dev", Some(Timestamp::MAX))]);
        state.save_quarantine(&all).unwrap();
        assert_eq!(state.load_quarantine().unwrap(), all);
        fs::write(dir.path().join(FILE), "[").unwrap();
        assert!(matches!(state.load_quarantine(), Err(StateError::Quarantine { .. })));
    }

    #[test]
    fn one_host_has_one_entry_however_it_is_written() {
        let all = Quarantine(vec![entry("10.0.0.5", None), entry("fd00::5/128", None)]);
        assert!(all.find(&whom("10.0.0.5/32").unwrap()).is_some());
        assert!(all.without(&whom("fd00::5").unwrap()).find(&whom("fd00::5").unwrap()).is_none());
        assert!(all.find(&whom("::ffff:10.0.0.5").unwrap()).is_some(), "as a socket of both families tells it");
        assert_eq!(whom("::ffff:10.0.0.0/104"), whom("10.0.0.0/8"));
        assert_eq!([whom("10.0.0.5/24"), whom("::ffff:10.0.0.5/120")], [None, None]);
        assert_eq!(whom("dev"), Some(Whom::Zone(ZoneName("dev".into()))));
    }

    #[test]
    fn whose_time_is_over_is_told_from_the_rest() {
        let all = Quarantine(vec![entry("10.0.0.5", Some(Timestamp::UNIX_EPOCH)), entry("dev", None)]);
        let (over, rest) = all.split(Timestamp::UNIX_EPOCH);
        assert_eq!((over, rest), (vec![all.0[0].clone()], Quarantine(vec![all.0[1].clone()])));
    }
}
