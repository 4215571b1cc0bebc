//! How many shards: one per core, and more when the connections need more descriptor tables than that.

use std::fmt;

use crate::config::Config;

/// Descriptors that a shard needs beside its connections: standard streams, wakers, poll, ring, eventfds, listener,
/// open segment files, helper threads.
pub(crate) const DESCRIPTORS_RESERVED: usize = 512;

/// Most shards: each table holds the waker of every shard among its reserved descriptors, and keeps 64 of these for
/// the rest.
pub(crate) const SHARDS_MAX: usize = DESCRIPTORS_RESERVED - 64;

/// How the connections are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) shards: usize,
    pub(crate) connections_per_shard: usize,
    cores: usize,
    /// More shards than cores, because of the descriptor limit.
    for_descriptors: bool,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} shards on {} cores, room for {} connections in each",
            self.shards, self.cores, self.connections_per_shard
        )?;
        if self.for_descriptors {
            write!(
                f,
                "; more shards than cores, because one descriptor table holds no more (RLIMIT_NOFILE)"
            )?;
        }
        Ok(())
    }
}

/// The plan for `config` on a machine with so many cores and so many descriptors per table.
pub(crate) fn shards(config: &Config, cores: usize, descriptors: usize) -> Plan {
    let room = descriptors.saturating_sub(DESCRIPTORS_RESERVED).max(1);
    let wanted = if config.shards > 0 {
        config.shards
    } else {
        (cores..)
            .find(|shards| fits(config.max_connections, *shards, room))
            .unwrap_or(cores)
    };
    Plan {
        shards: wanted,
        connections_per_shard: room,
        cores,
        for_descriptors: config.shards == 0 && wanted > cores,
    }
}

fn fits(connections: usize, shards: usize, room: usize) -> bool {
    share_max(connections, shards) <= room as f64
}

/// The kernel spreads connections over listeners by hash: a shard's share is binomial, and its mean plus six standard
/// deviations must fit.
fn share_max(connections: usize, shards: usize) -> f64 {
    let mean = connections as f64 / shards as f64;
    let deviation = (mean * (1.0 - 1.0 / shards as f64)).sqrt();
    mean + 6.0 * deviation
}

/// Descriptors that the table of each of `shards` must hold for all to hold `connections` together.
pub(crate) fn descriptors_needed(connections: usize, shards: usize) -> usize {
    share_max(connections, shards).ceil() as usize + DESCRIPTORS_RESERVED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(max_connections: usize) -> Plan {
        let config = Config {
            max_connections,
            ..Config::default()
        };
        shards(&config, 2, 20_000)
    }

    #[test]
    fn few_connections_take_a_shard_per_core() {
        assert_eq!(plan(10_000).shards, 2);
        assert!(!plan(10_000).to_string().contains("more shards"));
    }

    #[test]
    fn a_million_connections_fit_with_six_deviations_to_spare() {
        let plan = plan(1_000_000);
        let mean = 1_000_000.0 / plan.shards as f64;
        assert!(mean + 6.0 * mean.sqrt() < plan.connections_per_shard as f64 + 1.0);
        assert!((52..60).contains(&plan.shards), "{}", plan.shards);
        assert!(plan.to_string().contains("more shards than cores"));
    }

    #[test]
    fn a_number_of_shards_is_taken_as_it_is() {
        let config = Config {
            shards: 7,
            ..Config::default()
        };
        assert_eq!(shards(&config, 2, 20_000).shards, 7);
    }
}
