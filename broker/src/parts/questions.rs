//! The questions about the broker that a shard's sessions and other shards have under way.

use crate::parts::allowance::Allowance;
use crate::parts::due::Due;
use crate::parts::inquiries::Inquiries;
use crate::parts::lag::LagSurveys;
use crate::parts::listings::Listings;

/// The questions of one shard's sessions, and those of other shards.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    pub(crate) allowance: Allowance,
    pub(crate) listings: Listings,
    pub(crate) lag: LagSurveys,
    pub(crate) inquiries: Inquiries,
}

impl Questions {
    /// When there is work to do for answers that sessions or other shards wait for.
    pub(crate) fn due(&self) -> Due {
        Due::now_if(self.lag.is_wanted() || self.listings.is_wanted())
    }
}
