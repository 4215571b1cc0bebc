//! What a shard is made of. A part owns its data; the steps of a turn borrow the few parts that they need.

pub(crate) mod allowance;
pub(crate) mod awake;
pub(crate) mod budget;
pub mod chain;
pub(crate) mod ending;
pub(crate) mod feed;
pub(crate) mod feeds;
pub(crate) mod held;
pub(crate) mod here;
pub(crate) mod lag;
pub(crate) mod listings;
pub(crate) mod logs;
pub(crate) mod mail;
pub(crate) mod parcel;
pub(crate) mod publishes;
pub(crate) mod room;
pub(crate) mod sending;
pub(crate) mod session;
pub(crate) mod sessions;
pub(crate) mod shared;
pub(crate) mod spares;
pub(crate) mod subscription;
pub(crate) mod taken;
pub(crate) mod timers;
