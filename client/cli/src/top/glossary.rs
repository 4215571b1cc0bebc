//! What the words and numbers of the screen mean, for `--help` and for the key that asks.

/// One explanation a line, so that a small terminal shows all of them.
pub(super) const GLOSSARY: &str = "\
What it shows:
  messages, records    published (in) and delivered (out); a record carries one or more messages
  compression          bytes of messages for each byte on the wire, of what was published
  catch-ups            subscriptions that began to be served from disk, because they were far behind
  gaps                 times that a subscriber was told of messages that it will not get
  records per sync     publishers that shared one wait for the disk
  turns                passes of a shard's loop, how long they take; cores: shards that were busy
  in storage           the part of a turn inside storage calls, an upper bound
  sync                 from the turn that queues a sync to the turn that finds it done
  to be visible        from a record's append until it is acknowledged and delivered
  longest waiting      how long the publish waits now that has waited longest for the disk
  p50 ... max          in microseconds, since the broker's start
  messages behind      subscriptions by how many messages they have not got
  slowest              those furthest behind: address, how long the socket has taken nothing, what it holds
  memory               private memory of the process; the arena is part of it
  shard                the busiest first, with a bar for its deliveries";

/// The keys, while a screen is shown.
pub(super) const KEYS: &str = "\
Keys:
  q, Ctrl-C            end
  h, ?                 explain, and back
  p, space             pause, and go on";
