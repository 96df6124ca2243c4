//! Engine: the handle that a host holds, and the dispatcher that it runs. tokio starts here.

pub(crate) mod audience;
pub(crate) mod backlog;
pub(crate) mod core;
pub(crate) mod dispatcher;
pub(crate) mod health;
pub(crate) mod holds;
pub(crate) mod hooks;
pub(crate) mod life;
pub(crate) mod manage;
pub(crate) mod meters;
pub(crate) mod options;
pub(crate) mod permits;
pub(crate) mod records;
pub(crate) mod replays;
pub(crate) mod reports;
pub(crate) mod request;
#[cfg(feature = "sealing")]
pub(crate) mod reseal;
pub(crate) mod retention;
pub(crate) mod tidings;
pub(crate) mod token;
pub(crate) mod turns;
pub(crate) mod vault;
