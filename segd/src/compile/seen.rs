//! On which interfaces sources of a zone may be seen.

use segd_common::image::Ref;

use super::pages::{Kind, PageStore};
use super::pairs::by_zone;
use super::{Facts, InterfaceFact, Registry};
use crate::policy::{Policy, Zone};

/// Zones that name no interfaces, and all that the policy does not name, may be seen anywhere.
const ANYWHERE: Ref = Ref::leaf(1);

/// Lays the trie from zone and interface slot to 1 or 0.
pub(super) fn lay(store: &mut PageStore, policy: &Policy, facts: &Facts, registry: &Registry) -> Ref {
    let mut rows = Vec::new();
    for zone in policy.zones.iter().filter(|zone| !zone.interfaces.is_empty()) {
        if let Some(number) = registry.zone_id(&zone.name.0) {
            rows.push((number, row(store, zone, facts)));
        }
    }
    by_zone(store, true, Kind::Values, rows.into_iter(), ANYWHERE)
}

/// Whether the zone names an interface by which packets come in there.
#[must_use]
pub fn names(zone: &Zone, interface: &InterfaceFact) -> bool {
    let named = |name: &String| zone.interfaces.iter().any(|glob| glob.matches(name));
    named(&interface.name) || interface.above.iter().any(named)
}

/// Tables over the slot's two bytes.
fn row(store: &mut PageStore, zone: &Zone, facts: &Facts) -> Ref {
    let own = facts.interfaces.iter().filter(|interface| names(zone, interface));
    by_zone(store, true, Kind::Values, own.map(|interface| (interface.slot, ANYWHERE)), Ref::leaf(0))
}
