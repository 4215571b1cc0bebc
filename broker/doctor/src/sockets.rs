//! Checks the kernel's table of TCP connections, in which every packet looks up its socket.

use super::figures::grouped;
use super::{Exam, Finding, Fix, Verdict};

/// Sockets in the table for each connection; one within the host has both there.
const SOCKETS_PER_CONNECTION: u64 = 2;
/// Sockets to a chain that a look-up still walks quickly. *A broadcast to 1M clients on the same host, 8 sockets to a
/// chain: a fifth of all processor time was spent in look-ups.*
const CHAIN_MAX: u64 = 4;
/// Most entries of a table that the kernel makes for a network namespace.
const ENTRIES_MAX: u64 = 1 << 24;
/// The text before the table's size in the kernel's log, for kernels before 6.2.
const LOGGED: &str = "TCP established hash table entries: ";

/// Judges the length of the chains that look-ups walk.
pub(crate) fn established_table(exam: &Exam<'_>) -> Finding {
    const KEY: &str = "net.ipv4.tcp_ehash_entries";
    let Some(present) = entries(exam, KEY) else {
        return Finding::unreadable(KEY);
    };
    let sockets = exam.connections.saturating_mul(SOCKETS_PER_CONNECTION);
    let wanted = sockets.checked_next_power_of_two().unwrap_or(ENTRIES_MAX);
    let wanted = wanted.min(ENTRIES_MAX);
    let why = format!(
        "each packet looks up its socket here, and {} connections from this host itself are {} sockets, {} to a chain \
         (half as many when all clients are elsewhere); long chains slow every broadcast down",
        grouped(exam.connections),
        grouped(sockets),
        grouped(sockets.div_ceil(present.max(1)))
    );
    let fix = Fix::Advice(format!(
        "it is read-only: boot with thash_entries={wanted}; or, to try it in a network namespace of its own: \
         sysctl -w net.ipv4.tcp_child_ehash_entries={wanted}; unshare -n; ip link set lo up"
    ));
    let text = format!(">= {}", grouped(wanted));
    Finding::new(KEY, grouped(present), text, why).judged(
        sockets <= present.saturating_mul(CHAIN_MAX),
        Verdict::Warn,
        fix,
    )
}

/// Chains of the table. The setting is negative where a network namespace shares the table of the first namespace.
fn entries(exam: &Exam<'_>, key: &str) -> Option<u64> {
    let told = exam
        .sysctl(key)
        .and_then(|text| text.parse::<i64>().ok())
        .map(i64::unsigned_abs);
    told.or_else(|| {
        let log = exam.facts.kernel_log().ok()?;
        let (_, rest) = log.split_once(LOGGED)?;
        rest.split_whitespace().next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Case, FakeFacts, check_table};

    fn with(entries: &str) -> FakeFacts {
        FakeFacts::healthy().sysctl("net.ipv4.tcp_ehash_entries", entries)
    }

    #[test]
    fn the_table_is_judged_by_the_length_of_its_chains() {
        let logged = "[0.1] TCP established hash table entries: 262144 (order: 9, 2097152 bytes)\n";
        check_table(&[
            Case::new(
                established_table,
                with("2097152"),
                Verdict::Ok,
                "1 to a chain",
            ),
            Case::new(
                established_table,
                with("524288"),
                Verdict::Ok,
                "4 to a chain",
            ),
            Case::new(
                established_table,
                with("262144"),
                Verdict::Warn,
                "8 to a chain",
            ),
            Case::new(
                established_table,
                with("-262144"),
                Verdict::Warn,
                "8 to a chain",
            ),
            Case::new(
                established_table,
                FakeFacts::default().kernel_log(logged),
                Verdict::Warn,
                "2,000,000 sockets",
            ),
            Case::new(
                established_table,
                FakeFacts::default(),
                Verdict::Unknown,
                "tcp_ehash_entries",
            ),
        ]);
    }

    #[test]
    fn few_connections_fit_into_any_table() {
        let host = with("16384");
        assert_eq!(established_table(&host.exam(10_000)).verdict, Verdict::Ok);
        let many = established_table(&host.exam(u64::MAX));
        assert_eq!(many.wanted, ">= 16,777,216");
    }
}
