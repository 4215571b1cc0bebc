//! What a shard counts and measures. The broker decides nothing by it.

pub(crate) mod counter;
pub(crate) mod exposition;
pub(crate) mod histogram;
pub(crate) mod metrics;
pub(crate) mod turn_cpu;
