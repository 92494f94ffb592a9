//! `configure`: changes settings. All data stays. Later log entries evict what no longer fits, and move entries to the
//! order of another policy, a bounded number each.

use crate::cache::{Cache, CacheConfig, CommandError, ConfigChange, Event, Outcome, TouchConfig};

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
            touch: TouchConfig {
                enabled: change.touch_enabled.unwrap_or(self.config.touch.enabled),
                interval_ms: change.touch_interval_ms.unwrap_or(self.config.touch.interval_ms),
                max_per_flush: change.touch_max_per_flush.unwrap_or(self.config.touch.max_per_flush),
            },
        };
        config.check()?;
        if config != self.config {
            self.store.set_policy(config.policy);
            let policy_changed = config.policy != self.config.policy;
            self.config = config.clone();
            events.push(Event::Configured { config: Box::new(config.clone()), policy_changed });
        }
        Ok(Outcome::Configured(config))
    }
}
