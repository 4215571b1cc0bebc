//! Questions about the broker that are being answered.

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
    /// When there is something to do for answers that somebody waits for.
    pub(crate) fn due(&self) -> Due {
        Due::now_if(self.lag.is_wanted() || self.listings.is_wanted())
    }
}
