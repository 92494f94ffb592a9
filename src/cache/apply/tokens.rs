//! `tokens`: makes, rotates or revokes a token.

use crate::cache::outcome::CommandResult;
use crate::cache::{Cache, Outcome, TokenChange};

impl Cache {
    pub(super) fn change_tokens(&mut self, change: TokenChange) -> CommandResult {
        self.tokens.change(change, self.index, self.now_ms)?;
        Ok(Outcome::TokensChanged { revision: self.index })
    }
}
