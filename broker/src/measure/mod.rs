//! What a shard counts and measures. Nothing is decided on it.

pub(crate) mod histogram;
pub(crate) mod metrics;
pub(crate) mod storage_time;
pub(crate) mod turn_cpu;
