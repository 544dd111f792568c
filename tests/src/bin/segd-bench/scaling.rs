//! What grows with the policy, and what does not: the packet path, the image, and a change, along one size at a time.

use std::path::Path;

use anyhow::Result;

use crate::ground::{Ground, Published};
use crate::measure::{Block, Effort, measure};
use crate::path::{Kind, Way};
use crate::policy::{Shape, Size, with_one_rule_changed, write};

/// What of the sizes is varied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axis {
    /// Prefixes of all zones.
    Prefixes,
    /// Rules.
    Rules,
    /// Zones.
    Zones,
    /// Live connections.
    Flows,
}

impl Axis {
    /// What it is called.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Prefixes => "prefixes",
            Self::Rules => "rules",
            Self::Zones => "zones",
            Self::Flows => "live connections",
        }
    }
}

/// One size along an axis, and what was seen there.
#[derive(Debug)]
pub(crate) struct Point {
    /// Along which.
    pub(crate) axis: Axis,
    /// How many.
    pub(crate) count: usize,
    /// The packet path: established, default deny, each for IPv4 and IPv6, then new flows by IPv4.
    pub(crate) costs: [Block; 2],
    /// The whole policy.
    pub(crate) published: Published,
    /// One rule of it changed, the middle one of several.
    pub(crate) changed: Published,
}

/// Connections that are live where their number is not what varies.
const FLOWS: u32 = 1 << 10;
/// A size that is large in nothing.
const SMALL: Size = Size { prefixes: 1_000, zones: 50, rules: 500, connections: Some(1 << 19), shape: Shape::Mixed };
const CHANGES: usize = 5;

/// Every point.
pub(crate) fn measure_all(programs: &Path, effort: Effort) -> Result<Vec<Point>> {
    let effort = Effort { rounds: effort.rounds.min(7), repeat: effort.repeat.min(200_000), ..effort };
    let mut points = Vec::new();
    for prefixes in some(effort, [10, 1_000, 10_000, 100_000, 1_000_000]) {
        let (zones, rules) = if prefixes < SMALL.prefixes { (5, 12) } else { (SMALL.zones, SMALL.rules) };
        points.push(point(
            Axis::Prefixes,
            prefixes,
            Size { prefixes, zones, rules, ..SMALL },
            FLOWS,
            programs,
            effort,
        )?);
    }
    for rules in some(effort, [10, 100, 1_000, 10_000, 100_000]) {
        let size = Size { rules, zones: 1_000, prefixes: 10_000, ..SMALL };
        points.push(point(Axis::Rules, rules, size, FLOWS, programs, effort)?);
    }
    if effort.brief {
        return Ok(points);
    }
    for zones in [10, 100, 1_000] {
        let size = Size { zones, rules: 1_000, prefixes: 10_000, ..SMALL };
        points.push(point(Axis::Zones, zones, size, FLOWS, programs, effort)?);
    }
    for flows in [1 << 10, 1 << 13, 1 << 17, 1 << 20] {
        // Both families' at one time, in a table that is half full.
        let size = Size { connections: Some(flows * 4), ..SMALL };
        points.push(point(Axis::Flows, flows as usize, size, flows, programs, effort)?);
    }
    Ok(points)
}

/// All sizes along an axis, or its first and the last but one.
fn some<T: Copy, const N: usize>(effort: Effort, sizes: [T; N]) -> Vec<T> {
    let wanted = |place: usize| !effort.brief || place == 0 || place + 2 == N;
    sizes.into_iter().enumerate().filter(|(place, _)| wanted(*place)).map(|(_, size)| size).collect()
}

fn point(axis: Axis, count: usize, size: Size, flows: u32, programs: &Path, effort: Effort) -> Result<Point> {
    eprintln!("scale: {count} {} …", axis.name());
    let policy = write(size);
    let (mut ground, published) = Ground::new(&policy, programs)?;
    let ways = |kind| [false, true].map(|v6| Way { kind, v6 });
    let steady = measure(&mut ground, &[ways(Kind::Established(flows)), ways(Kind::Denied)].concat(), effort)?;
    let new = measure(&mut ground, &[Way { kind: Kind::New, v6: false }], effort)?;
    let other = with_one_rule_changed(&policy.zones)?;
    let mut changes = Vec::new();
    for _ in 0..CHANGES {
        changes.push(ground.change(&other)?);
        changes.push(ground.change(&policy.zones)?);
    }
    changes.sort_by_key(|change| change.compile + change.publish);
    Ok(Point { axis, count, costs: [steady, new], published, changed: changes[CHANGES] })
}

/// What the packet path costs at most where the size is the largest, as a multiple of what it costs at the smallest.
pub(crate) fn growth(points: &[Point], axis: Axis, cost: impl Fn(&Point) -> f64) -> f64 {
    let along: Vec<f64> = points.iter().filter(|point| point.axis == axis).map(cost).collect();
    let first = along.first().copied().unwrap_or(f64::NAN);
    along.iter().copied().fold(first, f64::max) / first
}
