//! `configure`: changes settings. All data stays; what no longer fits is evicted in bounded steps.

use super::check::{is_ttl, ttl_rule};
use crate::cache::limits::CAPACITY_ENTRIES_MAX;
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
        check(&config)?;
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

fn check(config: &CacheConfig) -> Result<(), CommandError> {
    let invalid = |field: &str, reason| Err(CommandError::Invalid { op: None, field: field.into(), reason });
    if !(1..=CAPACITY_ENTRIES_MAX).contains(&config.capacity_entries) {
        return invalid("capacity_entries", format!("it is 1 to {CAPACITY_ENTRIES_MAX}"));
    }
    if config.capacity_bytes == 0 {
        return invalid("capacity_bytes", "it is at least 1".into());
    }
    if config.default_ttl_ms.is_some_and(|ttl_ms| !is_ttl(ttl_ms)) {
        return invalid("default_ttl_ms", ttl_rule());
    }
    Ok(())
}
