//! What an old node has to be told before it is where the log is.

/// What it has to be told, beside the changes that come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owed {
    Nothing,
    /// The whole state.
    State,
    /// That, and what is removed: nothing is known of what it has.
    StateAndRemovals,
    /// Changes are missed: it has to forget everything, and gets the state.
    Afresh,
}

impl Owed {
    /// Of a node that comes, which is known to have heard everything up to this index; 0 if nothing is known.
    pub fn to_one_that_heard(up_to: u64) -> Self {
        if up_to == 0 { Self::StateAndRemovals } else { Self::State }
    }

    /// Up to where the node was told everything, if it was told the changes up to this index. As long as it is owed something, it
    /// may not be noted: when the connection ends, the next one would begin there.
    pub fn told_up_to(self, index: u64) -> Option<u64> {
        (self == Self::Nothing).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_hides_what_was_told() {
        assert_eq!(Owed::to_one_that_heard(7), Owed::State);
        let owed = Owed::to_one_that_heard(0);
        assert_eq!(owed, Owed::StateAndRemovals);
        for owed in [owed, Owed::State, Owed::Afresh] {
            assert_eq!(owed.told_up_to(8), None, "{owed:?}");
        }
        assert_eq!(Owed::Nothing.told_up_to(8), Some(8));
    }
}
