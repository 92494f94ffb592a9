//! `configure`: changes settings. All data stays; what no longer fits is evicted in bounded steps.

use crate::cache::{Cache, CacheConfig, CommandError, ConfigChange, Event, Outcome};

impl Cache {
    pub(super) fn configure(
        &mut self,
        change: &ConfigChange,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, CommandError> {
        let config = CacheConfig {
            policy: change.policy.unwrap_or(self.config.policy),
            capacity_entries: change.capacity_entries.unwrap_or(self.config.capacity_entries),
            capacity_bytes: change.capacity_bytes.unwrap_or(self.config.capacity_bytes),
            default_ttl_ms: change.default_ttl_ms.unwrap_or(self.config.default_ttl_ms),
        };
        config.check()?;
        if config != self.config {
            if config.policy != self.config.policy {
                self.store.set_policy(config.policy);
            }
            self.config = config.clone();
            events.push(Event::Configured(config.clone()));
        }
        Ok(Outcome::Configured(config))
    }
}
