//! The steps of a turn, one per file. A step is a function over the parts that it needs; where it needs many, a struct lends
//! them.

pub(crate) mod accept;
pub(crate) mod catchup;
pub(crate) mod drain;
pub(crate) mod end;
pub(crate) mod fanout;
pub(crate) mod flush;
pub(crate) mod greet;
pub(crate) mod heartbeat;
pub(crate) mod hold;
pub(crate) mod lag;
pub(crate) mod notice;
pub(crate) mod publish;
pub(crate) mod pump;
pub(crate) mod query;
pub(crate) mod read;
pub(crate) mod render;
pub(crate) mod room;
pub(crate) mod subscribe;
pub(crate) mod topic;
pub(crate) mod wave;
