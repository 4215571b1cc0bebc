//! Explains the words and numbers of the screen, for `--help` and for the key `h`.

/// One explanation a line, so that a small terminal shows all of them.
pub(super) const GLOSSARY: &str = "\
What it shows:
  messages, records published (in) and delivered (out); a record holds messages
  compression       bytes of messages for each byte on the wire, as published
  catch-ups         subscriptions far behind that began to read from disk
  gaps              times that a subscriber was told of messages that never come
  records per sync  publishers that shared one wait for the disk
  turns             passes of a shard's loop; cores: busy shards on average
  in storage        the part of a turn inside storage calls, an upper bound
  sync              from the turn that queues a sync to that which finds it done
  to be visible     from a record's append until it is acknowledged, delivered
  longest waiting   of the publishes that wait for the disk now
  p50 ... max       in microseconds, since the broker's start
  messages behind   subscriptions by how many messages they still lack
  slowest           subscriptions furthest behind: their address, and
  blocked           how long their socket has taken nothing, and what it holds
  memory            private memory of the process; the arena is part of it
  shard             shards, busiest first, with a bar for deliveries
On a narrow terminal the least important figures are left out.";

/// The keys that work while a screen is shown.
pub(super) const KEYS: &str = "\
Keys:
  q, Ctrl-C         end
  h, ?              explain the figures, and back
  p, space          pause, and go on";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_terminal_shows_all_explanations() {
        let text = [KEYS, GLOSSARY].join("\n");
        assert!(text.lines().count() <= 24);
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(80), "{longest:?}");
    }
}
