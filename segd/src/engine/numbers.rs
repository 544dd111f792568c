//! When zones and rules that are gone give up their numbers. A number goes to another name only when nothing can speak of the
//! one before any more: no policy in force or kept, no image, no live connection, and no counter.

use jiff::Timestamp;

use super::writer::Core;

impl Core {
    /// Writes down since when names are gone.
    pub(super) fn note_names(&mut self) {
        let mut registry = self.registry.clone();
        registry.note(&self.force.written.policy, Timestamp::now());
        if registry == self.registry {
            return;
        }
        // A date that is lost makes a number wait longer, nothing else.
        match self.state.save_registry(&registry) {
            Ok(()) => self.registry = registry,
            Err(error) => tracing::error!("the numbers of zones and rules were not kept: {error}"),
        }
    }

    /// Takes numbers back from names that have been gone for long. Counters are cleared before the number is free: a daemon
    /// that dies in between leaves a name without counts, never counts under another name.
    pub(super) fn retire_names(&mut self, now: Timestamp) {
        self.retired = now;
        if self.kernel.may_go_back() {
            return;
        }
        let mut registry = self.registry.clone();
        let freed = registry.retire(now, &self.kernel.zones_in_flows());
        if freed.is_empty() {
            return;
        }
        let cleared = self.kernel.clear(&freed).map_err(|error| error.to_string());
        match cleared.and_then(|()| self.state.save_registry(&registry).map_err(|error| error.to_string())) {
            Ok(()) => {
                tracing::info!(
                    "{} zones and {} rules that are long gone gave up their numbers and counters",
                    freed.zones.len(),
                    freed.rules.len()
                );
                self.registry = registry;
            }
            Err(error) => tracing::error!("numbers of zones and rules that are gone are kept for now: {error}"),
        }
    }
}
