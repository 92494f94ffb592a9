//! Recovery after the loss of a majority: whose log goes on, when it is refused, and whether it says the truth about what is
//! lost.

mod model;
mod refusals;
