//! Which rules and modes hold for each pair of zones. `any` is never written out: what a rule says of a whole row or
//! column of the matrix is kept there, and cells hold what names both ends.

use std::collections::{BTreeMap, HashMap};

use super::CompileError;
use crate::policy::{IntraZone, Mode, Place, Policy, ZoneName, ZoneRef};

/// What is said of one pair, or of a row, a column or all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Said {
    /// Rules, by their places in the policy, ascending.
    pub(super) rules: Vec<u32>,
    /// Mode that `pairs` gives. Two entries for the same: enforce holds.
    pub(super) mode: Option<Mode>,
    /// Both ends are one zone, and its members may talk.
    pub(super) intra: bool,
}

/// The matrix. Zones are indexes here: `unzoned`, `host`, then the policy's in file order.
pub(super) struct Matrix {
    pub(super) all: Said,
    pub(super) rows: Vec<Said>,
    pub(super) columns: Vec<Said>,
    pub(super) cells: Vec<BTreeMap<usize, Said>>,
}

/// One end of a rule: all zones (`None`), or some.
type End = Option<Vec<usize>>;

impl Matrix {
    pub(super) fn of(policy: &Policy) -> Result<Self, CompileError> {
        let names: HashMap<&str, usize> = zone_names(policy).zip(0..).collect();
        let mut matrix = Self::empty(names.len());
        for (index, rule) in policy.rules.iter().enumerate() {
            let (from, to) = (end(&names, &rule.from, &rule.place)?, end(&names, &rule.to, &rule.place)?);
            matrix.say(&from, &to, |said| said.rules.push(index as u32));
        }
        for pair in &policy.pairs {
            let from = end(&names, std::slice::from_ref(&pair.from), &pair.place)?;
            let to = end(&names, std::slice::from_ref(&pair.to), &pair.place)?;
            matrix.say(&from, &to, |said| said.mode = stricter(said.mode, Some(pair.mode)));
        }
        for zone in policy.zones.iter().filter(|zone| zone.intra_zone == IntraZone::Allow) {
            let index = names[zone.name.0.as_str()];
            matrix.cells[index].entry(index).or_default().intra = true;
        }
        Ok(matrix)
    }

    fn empty(zones: usize) -> Self {
        let many = vec![Said::default(); zones];
        Self { all: Said::default(), rows: many.clone(), columns: many, cells: vec![BTreeMap::new(); zones] }
    }

    fn say(&mut self, from: &End, to: &End, mut say: impl FnMut(&mut Said)) {
        match (from, to) {
            (None, None) => say(&mut self.all),
            (Some(from), None) => from.iter().for_each(|zone| say(&mut self.rows[*zone])),
            (None, Some(to)) => to.iter().for_each(|zone| say(&mut self.columns[*zone])),
            (Some(from), Some(to)) => {
                for row in from {
                    for column in to {
                        say(self.cells[*row].entry(*column).or_default());
                    }
                }
            }
        }
    }

    /// Everything that is said of a cell: rules add up, of modes the closest to the cell holds, and enforce of two as close.
    pub(super) fn joined(&self, row: &Said, column: &Said, cell: Option<&Said>) -> Said {
        let mut said = cell.cloned().unwrap_or_default();
        for other in [row, column, &self.all] {
            said.rules.extend_from_slice(&other.rules);
        }
        said.rules.sort_unstable();
        said.mode = said.mode.or(stricter(row.mode, column.mode)).or(self.all.mode);
        said
    }
}

/// Names of a policy's zones in the order of the matrix.
pub(super) fn zone_names(policy: &Policy) -> impl Iterator<Item = &str> {
    [ZoneName::UNZONED, ZoneName::HOST].into_iter().chain(policy.zones.iter().map(|zone| zone.name.0.as_str()))
}

fn stricter(one: Option<Mode>, other: Option<Mode>) -> Option<Mode> {
    one.into_iter().chain(other).min()
}

fn end(names: &HashMap<&str, usize>, zones: &[ZoneRef], place: &Place) -> Result<End, CompileError> {
    let mut indexes = Vec::with_capacity(zones.len());
    for zone in zones {
        let ZoneRef::Zone(name) = zone else { return Ok(None) };
        let unknown = || CompileError::UnknownZone { zone: name.clone(), place: place.clone() };
        indexes.push(*names.get(name.0.as_str()).ok_or_else(unknown)?);
    }
    indexes.sort_unstable();
    indexes.dedup();
    Ok(Some(indexes))
}
