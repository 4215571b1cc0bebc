//! Computes how many connections fit into the server, and into this process. Pure arithmetic.

use super::target::Room;
use crate::output::grouped;

/// Connections of a bench when no number is given and so many fit.
pub(crate) const USUAL: usize = 10_000;
/// Connections when no number is given and the server does not say how many it takes.
const USUAL_UNTOLD: usize = 1_000;
/// Connections of the server that stay free, for publishers, questions and operators.
const SPARE: usize = 8;

/// How many connections the user wants, and the flag that says so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) connections: Option<usize>,
    pub(crate) flag: &'a str,
}

/// How many connections a bench makes: as many as were asked for, else as many as are usual and fit. `own` is how many
/// this process can hold, where that has a limit.
///
/// # Errors
/// When what was asked for, or anything, does not fit; says how it would.
pub(crate) fn fit(
    asked: Asked<'_>,
    server: Option<Room>,
    own: Option<usize>,
) -> Result<usize, String> {
    let fits = server.map(|room| room.limit.saturating_sub(room.taken + SPARE));
    let usual = fits.map_or(USUAL_UNTOLD, |fits| USUAL.min(fits));
    let usual = own.map_or(usual, |own| usual.min(own));
    let wanted = asked.connections.unwrap_or(usual.max(1));
    if let (Some(room), Some(fits)) = (server, fits)
        && wanted > fits
    {
        return Err(beyond_the_server(wanted, asked.flag, room, fits));
    }
    match own {
        Some(own) if wanted > own => Err(beyond_this_process(wanted, asked.flag, own)),
        _ => Ok(wanted),
    }
}

fn beyond_the_server(wanted: usize, flag: &str, room: Room, fits: usize) -> String {
    let count = |number: usize| grouped(number as u64);
    let needed = wanted + room.taken + SPARE;
    let fewer = match fits {
        0 => String::new(),
        _ => format!(", or ask for at most {} ({flag})", count(fits)),
    };
    format!(
        "{} more connections do not fit: the broker takes {} connections, has {} already and keeps {SPARE} free for \
         publishers and questions; start it with --max-connections {needed}{fewer}",
        count(wanted),
        count(room.limit),
        count(room.taken),
    )
}

fn beyond_this_process(wanted: usize, flag: &str, own: usize) -> String {
    let count = |number: usize| grouped(number as u64);
    format!(
        "{} connections do not fit into this process: a sandbox keeps its threads from having descriptor tables of their \
         own, and one table holds {}; raise the limit (`ulimit -n`), or ask for at most as many ({flag})",
        count(wanted),
        count(own),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(connections: Option<usize>) -> Asked<'static> {
        let flag = "--subscribers";
        Asked { connections, flag }
    }

    const DEFAULT: Room = Room {
        limit: 10_000,
        taken: 1,
    };

    #[test]
    fn where_nobody_asks_as_many_come_as_are_usual_and_fit() {
        assert_eq!(fit(asked(None), None, None), Ok(1_000));
        assert_eq!(fit(asked(None), Some(DEFAULT), None), Ok(9_991));
        assert_eq!(fit(asked(None), Some(DEFAULT), Some(960)), Ok(960));
        let large = Room {
            limit: 1_000_000,
            taken: 5,
        };
        assert_eq!(fit(asked(None), Some(large), None), Ok(10_000));
    }

    #[test]
    fn what_is_asked_for_comes_or_is_refused_with_what_helps() {
        assert_eq!(fit(asked(Some(9_991)), Some(DEFAULT), None), Ok(9_991));
        assert_eq!(fit(asked(Some(50_000)), None, None), Ok(50_000));
        let error = fit(asked(Some(10_000)), Some(DEFAULT), None).unwrap_err();
        assert!(error.contains("--max-connections 10009"), "{error}");
        assert!(error.contains("at most 9,991 (--subscribers)"), "{error}");
        let error = fit(asked(Some(2_000)), None, Some(960)).unwrap_err();
        assert!(error.contains("ulimit -n"), "{error}");
        assert!(error.contains("holds 960"), "{error}");
    }

    #[test]
    fn a_broker_without_any_room_is_told_apart() {
        let full = Room { limit: 5, taken: 5 };
        let error = fit(asked(None), Some(full), None).unwrap_err();
        assert!(error.ends_with("--max-connections 14"), "{error}");
    }
}
