//! What a zone file means, once it has been checked. Nothing here is unchecked input, and nothing here knows
//! of YAML, of maps or of sockets: `config` makes these values, `compile` and the control API read them.

mod model;
mod service;

pub use model::{
    Essential, Failsafe, Forward, HookChoice, InterfaceSelector, IntraZone, Limits, Mode, PairMode, Place, Policy,
    PolicyTest, Rule, RuleId, Zone, ZoneName, ZoneRef,
};
pub use service::{Service, ServiceError};
