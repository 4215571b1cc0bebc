//! Draws how far subscriptions are behind, from the broker's answer about lag. Pure.

use serde::{Deserialize, Serialize};

use super::fit::{Column, cells, columns_kept};
use super::format::{Size, bytes, duration};
use crate::output::grouped;
use crate::say::shown;

/// Length of the longest bar, in marks.
const BAR: f64 = 8.0;
/// Columns of the picture.
const PICTURE_COLUMNS: usize = 36;
/// Columns of the picture without its bars.
const COUNT_COLUMNS: usize = 26;
/// Columns of the address of a slow subscription.
const PEER_COLUMNS: usize = 21;
/// The columns before the topic: address, messages behind, time that its socket has taken nothing, bytes in the socket.
const SLOW: [Column; 4] = [
    Column {
        width: PEER_COLUMNS,
        rank: 1,
    },
    Column { width: 11, rank: 0 },
    Column { width: 9, rank: 2 },
    Column { width: 12, rank: 3 },
];
/// With fewer columns than that the slowest would be shown without their addresses.
const SLOW_COLUMNS_MIN: usize = PEER_COLUMNS + 11 + 2 + TOPIC_COLUMNS_MIN;
/// Least columns to which a topic is cut.
const TOPIC_COLUMNS_MIN: usize = 9;

/// The broker's answer about lag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Lag {
    pub(super) subscriptions: u64,
    pub(super) max: u64,
    /// Subscriptions by the number of decimal digits of the messages that they are behind; the last class is open.
    pub(super) by_digits: Vec<u64>,
    pub(super) slowest: Vec<Slow>,
}

/// One of the subscriptions that are furthest behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Slow {
    pub(super) peer: String,
    pub(super) topic: String,
    pub(super) lag: u64,
    pub(super) unacknowledged_bytes: u64,
    pub(super) blocked_ms: Option<u64>,
}

impl Lag {
    /// Number of lines that show everything, the title included.
    pub(super) fn lines_wanted(&self) -> usize {
        1 + self.classes_used().max(self.slowest.len()).max(1)
    }

    fn classes_used(&self) -> usize {
        let last = self.by_digits.iter().rposition(|count| *count > 0);
        last.map_or(1, |last| last + 1)
    }

    /// Draws the picture, and the slowest beside it, in so many lines, the title included.
    pub(super) fn lines(&self, lines: usize, size: Size) -> Vec<String> {
        let rows = lines.saturating_sub(1);
        if rows == 0 {
            return Vec::new();
        }
        // With little room the picture has no bars.
        let is_narrow = size.columns < PICTURE_COLUMNS + 2 + SLOW_COLUMNS_MIN;
        let picture_columns = if is_narrow {
            COUNT_COLUMNS
        } else {
            PICTURE_COLUMNS
        };
        let room = size.columns.saturating_sub(picture_columns + 2);
        let picture = self.picture(rows);
        let slowest = self.slowest(rows, room);
        let title = "messages behind    subscriptions";
        let title = if is_narrow {
            "behind   subscriptions"
        } else {
            title
        };
        let mut out = Vec::new();
        let first = slowest.first().map_or("", String::as_str);
        out.push(
            format!("{title:<picture_columns$}  {first}")
                .trim_end()
                .to_owned(),
        );
        for row in 0..picture.len().max(slowest.len() - 1) {
            let left = picture.get(row).map_or("", String::as_str);
            let left: String = left.chars().take(picture_columns).collect();
            let right = slowest.get(row + 1).map_or("", String::as_str);
            let line = format!("{left:<picture_columns$}  {right}");
            out.push(line.trim_end().to_owned());
        }
        out
    }

    /// Draws a bar for each class; the lower ones are merged where there is no room for all.
    fn picture(&self, rows: usize) -> Vec<String> {
        let used = self.classes_used();
        let first_alone = (used + 1).saturating_sub(rows).max(1);
        let count = |class: usize| self.by_digits.get(class).copied().unwrap_or(0);
        let mut classes = vec![("none".to_owned(), count(0))];
        if first_alone > 1 {
            let together = (1..=first_alone).map(count).sum();
            classes.push((self.label(1, first_alone), together));
        }
        let alone = if first_alone > 1 { first_alone + 1 } else { 1 };
        classes.extend((alone..used).map(|class| (self.label(class, class), count(class))));
        let most = classes.iter().map(|(_, count)| *count).max().unwrap_or(0);
        let line = |(label, count): &(String, u64)| {
            let text = format!("{label:<15}{:>11} {}", grouped(*count), bar(*count, most));
            text.trim_end().to_owned()
        };
        classes.iter().take(rows).map(line).collect()
    }

    /// Labels the classes `first` to `last`: how many messages their subscriptions are behind.
    fn label(&self, first: usize, last: usize) -> String {
        let least = grouped(10u64.pow(u32::try_from(first - 1).unwrap_or(0)));
        if last + 1 >= self.by_digits.len() {
            return format!("{least} up");
        }
        let most = 10u64.pow(u32::try_from(last).unwrap_or(0)) - 1;
        format!("{least}-{}", grouped(most))
    }

    /// Returns a title and a line for each of the slowest, in so many columns.
    fn slowest(&self, rows: usize, columns: usize) -> Vec<String> {
        let kept = columns_kept(SLOW, columns.saturating_sub(2 + TOPIC_COLUMNS_MIN));
        let widths = SLOW.iter().zip(kept).filter(|(_, kept)| *kept);
        let used: usize = widths.map(|(column, _)| column.width).sum();
        let room = columns.saturating_sub(used + 2).max(TOPIC_COLUMNS_MIN);
        let line = |peer: &str, figures: [String; 3], topic: &str| {
            let peer = format!("{peer:<PEER_COLUMNS$}");
            let [behind, blocked, bytes] = figures;
            let cells = cells(SLOW, kept, [peer, behind, blocked, bytes]);
            format!("{cells}  {topic}")
        };
        let titles = ["behind", "blocked", "in socket"].map(str::to_owned);
        let topic = if kept[0] { "topic" } else { "slowest" };
        let mut out = vec![line("slowest", titles, topic)];
        if self.slowest.is_empty() {
            out.push("no subscription is behind".to_owned());
        }
        out.extend(self.slowest.iter().take(rows).map(|slow| {
            let blocked = slow.blocked_ms.map_or_else(|| "-".to_owned(), duration);
            let figures = [
                grouped(slow.lag),
                blocked,
                bytes(slow.unacknowledged_bytes as f64),
            ];
            let peer = cut(&shown(&slow.peer), PEER_COLUMNS);
            line(&peer, figures, &cut(&shown(&slow.topic), room))
        }));
        out
    }
}

/// Draws a bar in proportion to `most`; any count above zero gets at least one mark.
fn bar(value: u64, most: u64) -> String {
    if value == 0 {
        return String::new();
    }
    let marks = value as f64 / most as f64 * BAR;
    "#".repeat((marks.round() as usize).max(1))
}

/// Cuts a text that is too long, and marks the cut with `~`.
fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let front: String = text.chars().take(columns - 1).collect();
    front + "~"
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size {
        rows: 24,
        columns: 100,
    };

    fn lag() -> Lag {
        Lag {
            subscriptions: 1_000_010,
            max: 123_456,
            by_digits: vec![1_000_000, 1, 2, 0, 3, 0, 4, 0],
            slowest: vec![Slow {
                peer: "[2001:db8::1234:5678]:40000".to_owned(),
                topic: "a/very/long/topic/\x1b[2J".to_owned(),
                lag: 123_456,
                unacknowledged_bytes: 2_621_440,
                blocked_ms: Some(54_321),
            }],
        }
    }

    #[test]
    fn the_picture_shows_every_class_up_to_the_furthest_behind() {
        let expected = "\
messages behind    subscriptions      slowest                   behind  blocked  topic
none             1,000,000 ########   [2001:db8::1234:5678~    123,456      54s  a/very/long/topic/~
1-9                      1 #
10-99                    2 #
100-999                  0
1,000-9,999              3 #
10,000-99,999            0
100,000-999,999          4 #";
        let lines = lag().lines(lag().lines_wanted(), SIZE);
        let shown = lines.join("\n");
        assert_eq!(shown, expected, "\n{shown}");
    }

    #[test]
    fn with_little_room_the_lower_classes_stand_together() {
        let labels = |lines: usize| -> Vec<String> {
            let picture = lag().lines(lines, SIZE);
            let label = |line: &String| line.chars().take(26).collect::<String>();
            let rows = picture[1..].iter().map(label);
            rows.map(|row| row.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect()
        };
        assert_eq!(
            labels(5),
            [
                "none 1,000,000",
                "1-9,999 6",
                "10,000-99,999 0",
                "100,000-999,999 4"
            ]
        );
        assert_eq!(labels(3), ["none 1,000,000", "1-999,999 10"]);
    }

    #[test]
    fn the_last_class_is_open() {
        let lag = Lag {
            by_digits: vec![0, 0, 0, 0, 0, 0, 0, 5],
            ..Lag::default()
        };
        let lines = lag.lines(9, SIZE);
        assert!(lines[8].starts_with("1,000,000 up"), "{lines:?}");
        assert!(lines[1].contains("no subscription is behind"), "{lines:?}");
    }
}
