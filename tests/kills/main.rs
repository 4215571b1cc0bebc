//! A directory that nobody has damaged is never doubted: whenever the broker is killed and wherever the power fails,
//! every acknowledged record is there, once and in order, no log gets a new epoch that has no reason for one, and the
//! directory does not grow by dying.
//!
//! - `rounds` kills the broker under load and during its starts, `cuts` takes the power from it, `space` looks at what
//!   each death costs.
//! - `load` publishes, `ledger` knows what must be there, `topic` reads it back, `message` makes messages that can be
//!   told apart. `machine` is a disk that can lose power.
//!
//! The daily run is a sample; `OYEZ_FULL=1` runs all rounds.

mod cuts;
mod ledger;
mod load;
mod machine;
mod message;
mod rounds;
mod space;
mod topic;
