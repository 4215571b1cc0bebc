//! How many shards: one per core, and more when the connections need more descriptor tables than that.
//!
//! Where threads cannot have tables of their own (a container's filter of system calls), all shards share one: more shards would
//! make no more room, and each may hold as many connections as the table.

use std::fmt;

use crate::config::Config;
use crate::error::StartError;

pub(crate) use crate::config::{CONNECTIONS_BESIDE, DESCRIPTORS_RESERVED, SHARDS_MAX};

/// Descriptors that a shard needs in a table that all share, beside the connections that it serves: 128, half of them for segment
/// files that it reads, half for waker, poll, rings, eventfds, listener and segments that it writes; and [`CONNECTIONS_BESIDE`].
const DESCRIPTORS_OF_SHARD: usize = 128 + CONNECTIONS_BESIDE;

/// Whether shards have descriptor tables of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tables {
    /// Each shard has one.
    Private,
    /// All shards share the process's.
    Shared,
}

impl Tables {
    /// Its name in statistics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Shared => "shared",
        }
    }
}

/// How the connections are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) shards: usize,
    /// Connections that one shard has room for: where all share one table, those of the table.
    pub(crate) connections_per_shard: usize,
    pub(crate) tables: Tables,
    cores: usize,
    /// Descriptors of one table.
    descriptors: usize,
    /// More shards than cores, because of the descriptor limit.
    for_descriptors: bool,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self.tables {
            Tables::Private => "in each",
            Tables::Shared => "in the one descriptor table that they share",
        };
        write!(
            f,
            "{} shards on {} cores, room for {} connections {whose}",
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
pub(crate) fn shards(config: &Config, cores: usize, descriptors: usize, tables: Tables) -> Plan {
    let room = |shards| room(descriptors, shards, tables);
    let one_per_core = cores.min(SHARDS_MAX);
    let wanted = match (config.shards, tables) {
        (0, Tables::Private) => (one_per_core..SHARDS_MAX)
            .find(|shards| fits(config.max_connections, *shards, room(*shards)))
            // Where the connections do not fit into these either, `check` says so.
            .unwrap_or(SHARDS_MAX),
        (0, Tables::Shared) => one_per_core,
        (shards, _) => shards,
    };
    Plan {
        shards: wanted,
        connections_per_shard: room(wanted),
        tables,
        cores,
        descriptors,
        for_descriptors: config.shards == 0 && wanted > cores,
    }
}

impl Plan {
    /// Checks that the plan can be carried out.
    ///
    /// # Errors
    /// When the connections need more shards than there can be, or more room than the shared table has.
    pub(crate) fn check(&self, config: &Config) -> Result<(), StartError> {
        let (connections, descriptors) = (config.max_connections, self.descriptors);
        let room = self.connections_per_shard;
        match self.tables {
            Tables::Private if descriptors <= DESCRIPTORS_RESERVED => {
                Err(StartError::NoDescriptors {
                    connections,
                    descriptors,
                    reserved: DESCRIPTORS_RESERVED,
                    needed: descriptors_needed(connections, self.cores, Tables::Private),
                })
            }
            Tables::Private if config.shards == 0 && !fits(connections, self.shards, room) => {
                Err(StartError::Descriptors {
                    connections,
                    descriptors,
                    shards: self.shards,
                    most: most(self.shards, room),
                    needed: descriptors_needed(connections, self.cores, Tables::Private),
                })
            }
            Tables::Shared if connections > room => Err(StartError::OneTable {
                connections,
                room,
                descriptors,
                needed: connections + reserved(self.shards, Tables::Shared),
            }),
            Tables::Private | Tables::Shared => Ok(()),
        }
    }
}

/// Connections that one table has room for.
fn room(descriptors: usize, shards: usize, tables: Tables) -> usize {
    let room = descriptors.saturating_sub(reserved(shards, tables));
    room.max(1)
}

/// Descriptors of one table that are not for connections.
pub(crate) const fn reserved(shards: usize, tables: Tables) -> usize {
    let all = shards * DESCRIPTORS_OF_SHARD;
    match tables {
        Tables::Shared if all > DESCRIPTORS_RESERVED => all,
        Tables::Private | Tables::Shared => DESCRIPTORS_RESERVED,
    }
}

fn fits(connections: usize, shards: usize, room: usize) -> bool {
    share_max(connections, shards) <= room as f64
}

/// Most connections that fit into so many shards with so much room each.
fn most(shards: usize, room: usize) -> usize {
    let (mut fitting, mut too_many) = (0, shards * room + 1);
    while too_many - fitting > 1 {
        let middle = usize::midpoint(fitting, too_many);
        match fits(middle, shards, room) {
            true => fitting = middle,
            false => too_many = middle,
        }
    }
    fitting
}

/// The kernel spreads connections over listeners by hash: a shard's share is binomial, and its mean plus six standard
/// deviations must fit.
fn share_max(connections: usize, shards: usize) -> f64 {
    let mean = connections as f64 / shards as f64;
    let deviation = (mean * (1.0 - 1.0 / shards as f64)).sqrt();
    mean + 6.0 * deviation
}

/// Descriptors that a table must hold for all shards to hold `connections` together.
pub(crate) fn descriptors_needed(connections: usize, shards: usize, tables: Tables) -> usize {
    let share = match tables {
        Tables::Private => share_max(connections, shards).ceil() as usize,
        Tables::Shared => connections,
    };
    share.saturating_add(reserved(shards, tables))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(max_connections: usize) -> Plan {
        let config = Config {
            max_connections,
            ..Config::default()
        };
        shards(&config, 2, 20_000, Tables::Private)
    }

    fn in_one_table(shards: usize, max_connections: usize) -> (Config, Plan) {
        let config = Config {
            shards,
            max_connections,
            ..Config::default()
        };
        let plan = super::shards(&config, 2, 20_000, Tables::Shared);
        (config, plan)
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
    fn a_machine_with_more_cores_than_the_most_shards_runs_the_most_shards() {
        let config = Config::default();
        for tables in [Tables::Private, Tables::Shared] {
            let plan = shards(&config, 1024, 1 << 20, tables);
            assert_eq!(plan.shards, SHARDS_MAX);
            plan.check(&config).unwrap();
        }
    }

    #[test]
    fn a_number_of_shards_is_taken_as_it_is() {
        let config = Config {
            shards: 7,
            ..Config::default()
        };
        let plan = shards(&config, 2, 20_000, Tables::Private);
        assert_eq!(plan.shards, 7);
        assert!(plan.check(&config).is_ok());
    }

    #[test]
    fn one_table_for_all_takes_no_more_shards_than_cores_and_says_when_it_is_too_small() {
        let (config, plan) = in_one_table(0, 19_000);
        assert_eq!((plan.shards, plan.connections_per_shard), (2, 20_000 - 576));
        assert!(plan.to_string().contains("share"), "{plan}");
        plan.check(&config).unwrap();

        let (config, plan) = in_one_table(0, 1_000_000);
        assert_eq!(plan.shards, 2);
        let refusal = plan.check(&config).unwrap_err().to_string();
        for word in ["1000000", "1000576", "unshare", "max_connections"] {
            assert!(refusal.contains(word), "{word} is not in: {refusal}");
        }
    }

    #[test]
    fn connections_that_no_number_of_shards_holds_are_refused_with_what_to_raise() {
        let refusal = |max_connections, descriptors| {
            let config = Config {
                max_connections,
                ..Config::default()
            };
            let plan = shards(&config, 2, descriptors, Tables::Private);
            assert!(plan.shards <= SHARDS_MAX, "{}", plan.shards);
            plan.check(&config).unwrap_err().to_string()
        };
        // As much as a table's reserve, and less.
        for descriptors in [0, 256, 576] {
            let said = refusal(10_000, descriptors);
            let needed = descriptors_needed(10_000, 2, Tables::Private);
            for words in [&*format!("ulimit -n {needed}"), "10000", "576 descriptors"] {
                assert!(said.contains(words), "{words:?} is not in: {said}");
            }
            assert!(!said.contains("shards of"), "{said}");
        }
        // Too little for all, and for a number that no machine has.
        for connections in [10_000, usize::MAX] {
            let said = refusal(connections, 584);
            for words in ["448 shards", "RLIMIT_NOFILE", "max_connections"] {
                assert!(said.contains(words), "{words:?} is not in: {said}");
            }
        }
        let most = most(SHARDS_MAX, 1000);
        assert!(fits(most, SHARDS_MAX, 1000) && !fits(most + 1, SHARDS_MAX, 1000));
    }

    #[test]
    fn one_table_keeps_room_for_what_each_shard_opens() {
        let (_, plan) = in_one_table(100, 1000);
        assert_eq!(plan.connections_per_shard, 20_000 - 100 * 192);
    }
}
