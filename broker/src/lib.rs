//! The Oyez push broker.
#![deny(missing_docs)]

mod catchup;
mod chain;
mod clock;
mod close;
pub mod config;
mod dispatch;
mod drain;
mod error;
mod fanout;
mod heartbeat;
mod inbox;
mod listener;
mod metrics;
mod plan;
mod publish;
mod query;
mod receive;
mod registry;
mod send;
mod server;
mod session;
mod shard;
mod shared;
mod subscribe;
mod subscription;
#[expect(
    unsafe_code,
    reason = "system calls that neither std nor mio has: unshare, sendmsg, sendfile, affinity, eventfd"
)]
mod sys;
mod timer;
mod topic;

pub use config::Config;
pub use error::{ShardError, StartError};
pub use server::{Server, Stopper};
