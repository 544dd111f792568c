//! Rounds, interleaved: in each one the empty program, then for every way its generator and its pipeline. It must never give
//! a number without its spread.

use anyhow::Result;

use crate::ground::Ground;
use crate::path::Way;

/// How much is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Rounds; an odd number.
    pub(crate) rounds: u32,
    /// Packets of a run.
    pub(crate) repeat: u32,
    /// Leaves out what takes long: the largest policies, two of the axes of growth, and the smaller of the two policies under
    /// which everything else is compared.
    pub(crate) brief: bool,
}

/// The values of all rounds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    /// One more round.
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    fn part(&self, quarters: usize) -> f64 {
        self.0.get((self.0.len().saturating_sub(1)) * quarters / 4).copied().unwrap_or(f64::NAN)
    }

    /// The middle one.
    pub(crate) fn median(&self) -> f64 {
        self.part(2)
    }

    /// Smallest and largest.
    pub(crate) fn spread(&self) -> (f64, f64) {
        (self.part(0), self.part(4))
    }
}

/// What one way costs, beyond its generator.
#[derive(Debug, Clone)]
pub(crate) struct Cost {
    /// Which.
    pub(crate) way: Way,
    /// Nanoseconds a packet.
    pub(crate) nanos: Series,
    /// Multiples of the empty program in the same round.
    pub(crate) ratio: Series,
}

/// What a block of rounds gave.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// Nanoseconds of the empty program, the test's own loop included.
    pub(crate) empty: Series,
    /// Insertion into a full LRU hash, as a multiple of the empty program.
    pub(crate) insert: Series,
    /// By way.
    pub(crate) costs: Vec<Cost>,
}

/// Keys of the LRU hash that are inserted before it is measured.
const LRU_FILL: u32 = 1 << 19;

/// Prepares and measures these ways on one ground.
pub(crate) fn measure(ground: &mut Ground, ways: &[Way], effort: Effort) -> Result<Block> {
    let mut block = Block { empty: Series::default(), insert: Series::default(), costs: Vec::new() };
    for way in ways {
        way.prepare(ground, effort.repeat)?;
        block.costs.push(Cost { way: *way, nanos: Series::default(), ratio: Series::default() });
    }
    let Some(first) = ways.first() else { return Ok(block) };
    ground.run("insert", &first.frame(), first.steer(0, 1).counting(0), LRU_FILL)?;
    for round in 1..=effort.rounds {
        let empty = ground.run("empty", &first.frame(), first.steer(0, 1), effort.repeat)?;
        block.empty.push(empty);
        for cost in &mut block.costs {
            let (frame, steer) = (cost.way.frame(), cost.way.steer(round, effort.repeat));
            let generate = ground.run("generate", &frame, steer, effort.repeat)?;
            let judge = ground.run("judge", &frame, steer, effort.repeat)?;
            cost.nanos.push(judge - generate);
            cost.ratio.push((judge - generate) / empty);
        }
        let steer = first.steer(0, 1).counting(LRU_FILL + round * effort.repeat);
        let generate = ground.run("generate", &first.frame(), steer, effort.repeat)?;
        let insert = ground.run("insert", &first.frame(), steer, effort.repeat)?;
        block.insert.push((insert - generate) / empty);
    }
    Ok(block)
}
