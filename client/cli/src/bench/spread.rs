//! Spreads connections over descriptor tables, source addresses and topics. Pure arithmetic.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

/// Descriptors of a table that are no connections: standard streams, wakers, poll, timer, a few to spare.
pub(crate) const DESCRIPTORS_RESERVED: usize = 64;
/// Connections from one source address. `connect` becomes slow when one address has used half of the ephemeral ports
/// towards one destination, 14,116 by default.
const CONNECTIONS_PER_SOURCE: usize = 8_000;
/// Source addresses: 127.16.0.1 to 127.255.250.250, out of the way of what usually listens.
const SOURCES_MAX: usize = 240 * 250 * 250;
/// What a subscriber of a topic adds to a pause, on one core: a two-hundredth of the 10 us that a core takes at best to
/// send and receive a small record (about 200,000 deliveries a second on two cores).
const PAUSE_PER_SUBSCRIBER_NS: u64 = 50;
/// A shorter pause costs more than it saves: with 10,000 subscribers a delivery took the crowd 15 % more processor time
/// with 20 us than with none, 20 % less with 50 us, 45 % less with 250 us.
const PAUSE_MIN: Duration = Duration::from_micros(50);

/// Connections over threads, each with a table of its own, and over topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spread {
    connections: usize,
    tables: usize,
    groups: usize,
    cores: usize,
}

impl Spread {
    /// Threads for `connections` when a table holds `descriptors`: as many as the tables ask for, and at least a thread
    /// per core while there are enough connections.
    pub(crate) fn new(connections: usize, groups: usize, descriptors: usize, cores: usize) -> Self {
        let room = descriptors.saturating_sub(DESCRIPTORS_RESERVED).max(1);
        let tables = connections
            .div_ceil(room)
            .max(cores.min(connections))
            .max(1);
        Self {
            connections,
            tables,
            groups: groups.clamp(1, connections.max(1)),
            cores: cores.max(1),
        }
    }

    pub(crate) const fn connections(&self) -> usize {
        self.connections
    }

    pub(crate) const fn tables(&self) -> usize {
        self.tables
    }

    pub(crate) const fn groups(&self) -> usize {
        self.groups
    }

    /// How long a thread that has read leaves its sockets alone, so that the next poll finds many of them readable and
    /// the server seldom has to wake a reader: 0.5 % of the time that a record takes to all subscribers of its topic.
    /// An arrival may be noticed late by this much; the first after a silence never is. `None` where so few subscribers
    /// share a topic that it would save nothing.
    pub(crate) fn pause(&self) -> Option<Duration> {
        let subscribers = self.connections / self.groups;
        let ns = subscribers as u64 * PAUSE_PER_SUBSCRIBER_NS / self.cores as u64;
        Some(Duration::from_nanos(ns)).filter(|pause| *pause >= PAUSE_MIN)
    }

    /// The connections of one table.
    pub(crate) const fn table(&self, table: usize) -> Range<usize> {
        share(self.connections, self.tables, table)..share(self.connections, self.tables, table + 1)
    }

    /// The connections that subscribe to one topic.
    pub(crate) const fn group(&self, group: usize) -> Range<usize> {
        share(self.connections, self.groups, group)..share(self.connections, self.groups, group + 1)
    }

    /// The topic that a connection subscribes to.
    pub(crate) const fn group_of(&self, connection: usize) -> usize {
        // The inverse of `share`: the last group that begins at or before the connection.
        ((connection + 1) * self.groups - 1) / self.connections
    }

    /// The topics of a table's connections, and how many of its connections each has.
    pub(crate) fn groups_of_table(
        &self,
        table: usize,
    ) -> impl Iterator<Item = (usize, usize)> + '_ {
        let range = self.table(table);
        let groups = if range.is_empty() {
            0..0
        } else {
            self.group_of(range.start)..self.group_of(range.end - 1) + 1
        };
        groups.map(move |group| {
            let own = self.group(group);
            let shared = own.start.max(range.start)..own.end.min(range.end);
            (group, shared.len())
        })
    }

    /// How many tables have connections of each topic.
    pub(crate) fn tables_per_group(&self) -> Vec<u32> {
        let mut tables = vec![0; self.groups];
        for table in 0..self.tables {
            for (group, _) in self.groups_of_table(table) {
                tables[group] += 1;
            }
        }
        tables
    }
}

/// Where share `number` of `parts` equal ones begins.
const fn share(whole: usize, parts: usize, number: usize) -> usize {
    whole * number / parts
}

/// Addresses of this host that connections may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceNet {
    first: u32,
    /// How many there are, without the net's own address and the broadcast address.
    hosts: u32,
}

impl FromStr for SourceNet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "give a network of IPv4, as 10.20.0.0/16, with at least two addresses";
        let (address, bits) = text.split_once('/').ok_or(expected)?;
        let address: Ipv4Addr = address.parse().map_err(|_| expected)?;
        let bits: u32 = bits.parse().map_err(|_| expected)?;
        if !(1..=30).contains(&bits) {
            return Err(expected.to_owned());
        }
        let size = 1 << (32 - bits);
        Ok(Self {
            first: (address.to_bits() & !(size - 1)) + 1,
            hosts: size - 2,
        })
    }
}

impl SourceNet {
    /// The address that a connection comes from; its own 8,000 share one, while there are enough.
    fn source(self, connection: usize) -> Ipv4Addr {
        let number = connection / CONNECTIONS_PER_SOURCE % self.hosts as usize;
        Ipv4Addr::from_bits(self.first + u32::try_from(number).expect("it is below `hosts`"))
    }
}

/// The source address of a connection: its own 8,000 share one, from `net` or on loopback; elsewhere the kernel's
/// choice.
pub(crate) fn source(
    connection: usize,
    to: SocketAddr,
    net: Option<SourceNet>,
) -> Option<Ipv4Addr> {
    let IpAddr::V4(to) = to.ip() else { return None };
    if let Some(net) = net {
        return Some(net.source(connection));
    }
    if !to.is_loopback() {
        return None;
    }
    let number = connection / CONNECTIONS_PER_SOURCE % SOURCES_MAX;
    let byte = |value: usize| u8::try_from(value).expect("each part is below 256");
    Some(Ipv4Addr::new(
        127,
        byte(16 + number / (250 * 250)),
        byte(number / 250 % 250),
        byte(1 + number % 250),
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn every_connection_is_in_one_table_and_no_table_is_too_full() {
        for (connections, descriptors) in [
            (1, 20_000),
            (100, 20_000),
            (1_000_000, 20_000),
            (1_000_000, 1_048_576),
            (70, 66),
        ] {
            let spread = Spread::new(connections, 1, descriptors, 2);
            let mut next = 0;
            for table in 0..spread.tables() {
                let range = spread.table(table);
                assert_eq!(range.start, next);
                assert!(range.len() <= descriptors - DESCRIPTORS_RESERVED);
                next = range.end;
            }
            assert_eq!(next, connections);
        }
        assert_eq!(Spread::new(1_000_000, 1, 20_000, 2).tables(), 51);
        assert_eq!(Spread::new(10_000, 1, 20_000, 2).tables(), 2);
    }

    #[test]
    fn every_connection_has_the_topic_whose_range_holds_it() {
        for (connections, groups) in [(1, 1), (10, 3), (1_000, 7), (1_000, 1_000), (999, 1_000)] {
            let spread = Spread::new(connections, groups, 20_000, 3);
            for connection in 0..connections {
                let group = spread.group_of(connection);
                assert!(
                    spread.group(group).contains(&connection),
                    "{connection} of {connections}"
                );
            }
            let counted: usize = (0..spread.tables())
                .flat_map(|table| spread.groups_of_table(table).collect::<Vec<_>>())
                .map(|(_, count)| count)
                .sum();
            assert_eq!(counted, connections);
        }
    }

    #[test]
    fn tables_per_group_counts_those_that_have_a_part_of_it() {
        let spread = Spread::new(100, 3, 20_000, 2);
        assert_eq!(spread.tables_per_group(), [1, 2, 1]);
    }

    #[test]
    fn a_pause_grows_with_the_subscribers_of_a_topic_and_is_none_for_few() {
        let pause = |connections, groups, cores| {
            Spread::new(connections, groups, 20_000, cores)
                .pause()
                .map(|pause| pause.as_micros())
        };
        assert_eq!(pause(10_000, 1, 2), Some(250));
        assert_eq!(pause(1_000_000, 1, 2), Some(25_000));
        assert_eq!(pause(1_000_000, 100, 2), Some(250));
        assert_eq!(pause(2_000, 1, 2), Some(50));
        assert_eq!(pause(1_999, 1, 2), None);
        assert_eq!(pause(10_000, 1, 64), None);
    }

    #[test]
    fn no_source_address_has_more_than_its_share_of_connections() {
        let to = SocketAddr::from(([127, 0, 0, 1], 7450));
        let mut sources: HashMap<Ipv4Addr, usize> = HashMap::new();
        for connection in 0..1_000_000 {
            *sources
                .entry(source(connection, to, None).unwrap())
                .or_default() += 1;
        }
        assert_eq!(sources.len(), 125);
        assert!(
            sources
                .values()
                .all(|count| *count <= CONNECTIONS_PER_SOURCE)
        );
        assert!(sources.keys().all(Ipv4Addr::is_loopback));
        assert!(!sources.contains_key(&Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn only_loopback_is_reached_from_made_up_addresses() {
        assert_eq!(source(0, SocketAddr::from(([192, 0, 2, 1], 1)), None), None);
        assert_eq!(source(0, "[::1]:1".parse().unwrap(), None), None);
    }

    #[test]
    fn a_net_lends_its_addresses_but_the_first_and_the_last() {
        let to = SocketAddr::from(([10, 7, 0, 1], 7450));
        let net: SourceNet = "10.8.1.9/30".parse().unwrap();
        let from = |connection| source(connection, to, Some(net)).unwrap();
        assert_eq!(from(0), Ipv4Addr::new(10, 8, 1, 9));
        assert_eq!(from(7_999), from(0));
        assert_eq!(from(8_000), Ipv4Addr::new(10, 8, 1, 10));
        assert_eq!(from(16_000), from(0));
        for text in [
            "",
            "10.8.1.9",
            "10.8.1.9/31",
            "10.8.1.9/0",
            "10.8/16",
            "::1/64",
        ] {
            assert!(text.parse::<SourceNet>().is_err(), "{text}");
        }
    }
}
