//! The seam between a bench and the code that finds its target.

use std::sync::Arc;

use super::broker::{Broker, Plan};
use super::target::Target;
use crate::GlobalOptions;
use crate::failure::Failure;

/// Finds or starts the server that a bench puts under load.
pub trait Targets {
    /// The target of a bench with this plan.
    ///
    /// # Errors
    /// When there is none, or it cannot do what is planned.
    fn find(&self, plan: Plan) -> Result<Arc<dyn Target>, Failure>;
}

/// The broker that the command line names.
impl Targets for GlobalOptions {
    fn find(&self, plan: Plan) -> Result<Arc<dyn Target>, Failure> {
        Ok(Arc::new(Broker::new(self, plan)?))
    }
}
