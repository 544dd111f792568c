//! The policy worked out: for each pair of zones who allows what. It has no pages; the image is laid from it, and two of
//! them can be compared.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::matrix::{Matrix, Said, zone_names};
use super::strength::{Ranking, Segments, failsafe};
use super::{CompileError, Facts, Registry};
use crate::policy::{Mode, Policy};

/// What holds for a pair of zones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RuleSet {
    pub(super) segments: Segments,
    pub(super) rest: Rest,
    /// The pair is only watched.
    pub(super) audit: bool,
}

/// What holds for what no rule allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Rest {
    Deny,
    IntraZone,
    Audit,
}

/// What the image has to know of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RuleFacts {
    pub(super) id: String,
    pub(super) number: u32,
    pub(super) mode: Mode,
    pub(super) log: bool,
    pub(super) expires: Option<Timestamp>,
}

/// A zone of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ZoneFacts {
    pub(super) name: String,
    pub(super) number: u16,
}

/// Rule set of each responder's zone, by the zone's index: its index in [`Plan::sets`] plus 1, or 0.
pub(super) type Row = Arc<[u32]>;

/// A policy, worked out.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) now: Timestamp,
    /// `unzoned`, `host`, then the policy's.
    pub(super) zones: Vec<ZoneFacts>,
    /// In file order.
    pub(super) rules: Vec<RuleFacts>,
    /// All different.
    pub(super) sets: Vec<RuleSet>,
    /// By the initiator's zone's index.
    pub(super) rows: Vec<Row>,
    /// `None`: there is no failsafe.
    pub(super) failsafe: Option<RuleSet>,
}

impl Plan {
    /// Works out a policy whose names are all in the registry.
    pub(super) fn make(policy: &Policy, facts: &Facts, registry: &Registry) -> Result<Self, CompileError> {
        let matrix = Matrix::of(policy)?;
        let zone = |name: &str| ZoneFacts { name: name.to_owned(), number: registry.zone_id(name).unwrap_or_default() };
        let rules = policy.rules.iter().map(|rule| RuleFacts {
            id: rule.id.0.clone(),
            number: registry.rule_number(&rule.id.0).unwrap_or_default(),
            mode: rule.mode,
            log: rule.log,
            expires: rule.expires,
        });
        let mut sets = Sets::new(&matrix, policy);
        let rows = sets.rows();
        let guarded = !policy.failsafe.from.is_empty() && !policy.failsafe.services.is_empty();
        let failsafe =
            guarded.then(|| RuleSet { segments: failsafe(&policy.failsafe.services), rest: Rest::Deny, audit: false });
        Ok(Self {
            now: facts.now,
            zones: zone_names(policy).map(zone).collect(),
            rules: rules.collect(),
            sets: sets.all,
            rows,
            failsafe,
        })
    }

    /// Whether a zone's number takes two bytes.
    pub(super) fn wide(&self) -> bool {
        self.zones.iter().any(|zone| zone.number > 255)
    }

    /// The rule set that a row names so.
    pub(super) fn numbered(&self, entry: u32) -> Option<&RuleSet> {
        self.sets.get((entry as usize).checked_sub(1)?)
    }
}

/// Rule sets while they are made: one for each distinct list of rules, one for each distinct content.
struct Sets<'a> {
    matrix: &'a Matrix,
    ranking: Ranking<'a>,
    /// The mode of the policy: audit softens every pair, whatever `pairs` says of it.
    watched: bool,
    by_content: HashMap<RuleSet, u32>,
    by_said: HashMap<Said, u32>,
    all: Vec<RuleSet>,
}

impl<'a> Sets<'a> {
    fn new(matrix: &'a Matrix, policy: &'a Policy) -> Self {
        let watched = policy.mode == Mode::Audit;
        let ranking = Ranking::of(&policy.rules);
        Self { matrix, ranking, watched, by_content: HashMap::new(), by_said: HashMap::new(), all: Vec::new() }
    }

    /// Every row. Zones of which the same is said share theirs but for the cells that name both ends.
    fn rows(&mut self) -> Vec<Row> {
        let matrix = self.matrix;
        let columns = Classes::of(&matrix.columns);
        let mut plain: HashMap<&Said, Row> = HashMap::new();
        let mut rows = Vec::with_capacity(matrix.rows.len());
        for (row, cells) in matrix.rows.iter().zip(&matrix.cells) {
            let base = plain.entry(row).or_insert_with(|| self.plain_row(row, &columns));
            rows.push(if cells.is_empty() { Arc::clone(base) } else { self.with_cells(row, base, cells) });
        }
        rows
    }

    fn plain_row(&mut self, row: &Said, columns: &Classes<'_>) -> Row {
        let sets: Vec<u32> = columns.distinct.iter().map(|column| self.set(row, column, None)).collect();
        columns.class_of.iter().map(|class| sets[*class]).collect()
    }

    fn with_cells(&mut self, row: &Said, base: &Row, cells: &BTreeMap<usize, Said>) -> Row {
        let mut sets = base.to_vec();
        for (column, cell) in cells {
            sets[*column] = self.set(row, &self.matrix.columns[*column], Some(cell));
        }
        sets.into()
    }

    fn set(&mut self, row: &Said, column: &Said, cell: Option<&Said>) -> u32 {
        let said = self.matrix.joined(row, column, cell);
        if let Some(known) = self.by_said.get(&said) {
            return *known;
        }
        let number = self.number(&said);
        self.by_said.insert(said, number);
        number
    }

    fn number(&mut self, said: &Said) -> u32 {
        let audit = self.watched || said.mode == Some(Mode::Audit);
        let rest = if said.intra {
            Rest::IntraZone
        } else if audit {
            Rest::Audit
        } else {
            Rest::Deny
        };
        if said.rules.is_empty() && rest == Rest::Deny {
            return 0;
        }
        let set = RuleSet { segments: self.ranking.segments(&said.rules), rest, audit };
        let Self { by_content, all, .. } = self;
        *by_content.entry(set).or_insert_with_key(|set| {
            all.push(set.clone());
            all.len() as u32
        })
    }
}

/// Columns of which the same is said, as one.
struct Classes<'a> {
    distinct: Vec<&'a Said>,
    class_of: Vec<usize>,
}

impl<'a> Classes<'a> {
    fn of(columns: &'a [Said]) -> Self {
        let mut known = HashMap::new();
        let mut distinct = Vec::new();
        let class_of = columns.iter().map(|said| {
            *known.entry(said).or_insert_with(|| {
                distinct.push(said);
                distinct.len() - 1
            })
        });
        Self { class_of: class_of.collect(), distinct }
    }
}
