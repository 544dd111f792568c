//! What goes on for long, under load: policies and programs change, daemons die, interfaces come, builds follow each other,
//! while a flood of forbidden packets looks for a hole and allowed traffic is counted at its receiver.
//!
//! `flood` sends what is forbidden, `stream` what is allowed; `ground` runs both around a scenario, `figures` are what came
//! of it. Each scenario is a file. The quick suite and `cargo xtask soak` call the same functions.

mod figures;
mod flood;
mod ground;
mod life;
mod lockout;
mod remote;
mod stream;

pub use figures::Figures;
pub use flood::Flood;
pub use ground::Ground;
pub use life::{hotplug, kills, plug_in, restarts, swaps, upgrades};
pub use lockout::{Lockouts, lockouts};
pub use stream::{Carried, Stream};
