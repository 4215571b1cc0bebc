//! What goes wrong, and when it is over.

use oyez_broker::simulation::Readiness;
use oyez_storage::{Chances, Odds, OpKind};

use super::coverage;
use super::dice::Dice;
use super::link::Link;
use super::machine::Fall;
use super::message;
use super::plan::FaultKind;
use super::world::World;

/// What ends a fault that lasts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lift {
    /// A disk does what it should.
    Disk(usize),
    /// The sockets of a client do.
    Socket(usize),
    /// The network of a shard does.
    Net(usize),
}

/// Operations that a disk may not come to an end with.
const HELD: [OpKind; 6] = [
    OpKind::Write,
    OpKind::Sync,
    OpKind::Prepare,
    OpKind::Put,
    OpKind::Unlink,
    OpKind::Populate,
];

/// Bytes that sockets have room for again.
const ROOM_BYTES: usize = 256 << 10;

impl World {
    /// Lets something go wrong, if it can at the moment. Tells what.
    pub(super) fn strike(&mut self, kind: FaultKind) -> Option<String> {
        match kind {
            FaultKind::Kill => self.strike_broker(Fall::Process),
            FaultKind::Power => self.strike_broker(Fall::Power),
            FaultKind::Stop => self.ask_to_stop(),
            FaultKind::DiskErrors
            | FaultKind::DiskSyncs
            | FaultKind::DiskReads
            | FaultKind::DiskHangs
            | FaultKind::DiskRefuses
            | FaultKind::DiskFull => self.strike_disk(kind),
            FaultKind::Rot | FaultKind::Misdirect | FaultKind::Lose | FaultKind::Unreadable => {
                let may = !self.plan.harms_at_rest_only || self.is_at_rest();
                may.then(|| self.harm(kind)).flatten()
            }
            FaultKind::NoRoom
            | FaultKind::AcceptShort
            | FaultKind::Batches
            | FaultKind::FileEnds
            | FaultKind::Merged => self.strike_net(kind),
            FaultKind::Asleep => self.keep_someone_still(),
            FaultKind::Clock => Some(self.set_clock()),
            FaultKind::Pause => {
                let ms = self.fault_dice.among(100, 20_000);
                self.clock.pass(ms);
                Some(format!("nothing runs for {ms} ms"))
            }
            FaultKind::Starve => self.starve_a_shard(),
            // Only where a broker has stopped.
            FaultKind::PutBack => None,
            _ => self.strike_socket(kind),
        }
    }

    fn strike_broker(&mut self, fall: Fall) -> Option<String> {
        if fall == Fall::Process {
            self.machine.broker.as_ref()?;
        }
        self.fall(fall);
        Some(match fall {
            Fall::Process => "the process is killed".to_owned(),
            Fall::Power => "the power is gone".to_owned(),
        })
    }

    fn strike_disk(&mut self, kind: FaultKind) -> Option<String> {
        let number = self.fault_dice.index(self.machine.disks.len());
        let disk = self.machine.disks[number].clone();
        self.oracle.disk_trouble = true;
        let of_syncs = matches!(kind, FaultKind::DiskSyncs | FaultKind::DiskErrors);
        self.oracle.syncs_failed |= of_syncs;
        self.lift_later(Lift::Disk(number));
        let dice = &mut self.fault_dice;
        Some(match kind {
            FaultKind::DiskErrors => {
                disk.set_chances(chances(dice));
                format!("disk {number} makes errors")
            }
            FaultKind::DiskSyncs => {
                disk.set_chances(Chances {
                    seed: dice.next(),
                    sync: odds_of_errors(dice.among(50, 500)),
                    ..Chances::default()
                });
                format!("syncs of disk {number} fail")
            }
            FaultKind::DiskReads => {
                disk.set_chances(Chances {
                    seed: dice.next(),
                    populate: odds_of_errors(dice.below(300)),
                    opening: dice.below(40) as u16,
                    ..Chances::default()
                });
                self.harm_all_logs();
                format!("reads of disk {number} fail")
            }
            FaultKind::DiskHangs => {
                let makes = self.plan.hangs_making && dice.one_in(2);
                let step = if makes {
                    OpKind::Prepare
                } else {
                    *dice.pick(&HELD)
                };
                disk.hold(step);
                format!("disk {number} does not come to an end with {step}")
            }
            FaultKind::DiskRefuses => {
                disk.refuse(true);
                format!("disk {number} takes nothing")
            }
            _ => {
                disk.set_capacity(Some(dice.below(40) << 20));
                format!("disk {number} has no room")
            }
        })
    }

    /// What cannot be read counts as damaged, of any log: each disk reads for the subscribers of its shard.
    fn harm_all_logs(&mut self) {
        for spec in self.machine.dir.logs() {
            self.oracle.harmed(spec.id);
        }
    }

    /// The broker has stopped as it should, and is not back.
    fn is_at_rest(&self) -> bool {
        self.machine.broker.is_none() && self.machine.stopped_cleanly
    }

    fn harm(&mut self, kind: FaultKind) -> Option<String> {
        let number = self.fault_dice.index(self.machine.disks.len());
        let (disk, choice) = (&self.machine.disks[number], self.fault_dice.next());
        let harm = match kind {
            FaultKind::Rot => disk.rot(choice),
            FaultKind::Misdirect => disk.misdirect(choice),
            FaultKind::Lose => disk.lose(choice),
            _ => disk.unreadable(choice),
        }?;
        // A file may hold what belongs to another log now, which has lost nothing.
        let log = self.machine.log_of_path(&harm.path)?;
        let name = harm.path.file_name().and_then(|name| name.to_str())?;
        // Where everything is vouched for and nobody writes, harm costs what it hits and no more.
        match self.is_at_rest() && name != "carried" {
            true => {
                self.oracle
                    .harmed_at_rest(log, message::hit_by(disk, &harm));
            }
            false => self.oracle.harmed(log),
        }
        self.oracle.disk_trouble = true;
        self.coverage
            .meet(&format!("{kind}{}", coverage::site(&harm.path)));
        Some(format!("disk {number}: {harm}"))
    }

    /// Puts the state of some log back to what it was when the broker stopped before, as after a restore. What it does not
    /// know of is still there.
    fn perhaps_put_back(&mut self) {
        if !(self.may_strike(FaultKind::PutBack) && self.fault_dice.one_in(3)) {
            return;
        }
        let choice = self.fault_dice.next();
        if let Some((log, what)) = self.machine.put_back(choice) {
            self.oracle.put_back(log);
            self.oracle.disk_trouble = true;
            self.coverage.meet("fault put-back");
            self.tell(format_args!("fault"), format_args!("at rest: {what}"));
        }
    }

    /// While a broker that has stopped is away, its disks may be harmed.
    pub(super) fn perhaps_harm_at_rest(&mut self) {
        self.perhaps_put_back();
        self.machine.keep_states();
        let kinds = [
            FaultKind::Rot,
            FaultKind::Misdirect,
            FaultKind::Lose,
            FaultKind::Unreadable,
        ];
        for kind in kinds {
            if self.may_strike(kind)
                && self.fault_dice.one_in(3)
                && let Some(what) = self.harm(kind)
            {
                self.coverage.meet("harm at rest");
                self.tell(format_args!("fault"), format_args!("at rest: {what}"));
            }
        }
    }

    fn strike_net(&mut self, kind: FaultKind) -> Option<String> {
        let broker = self.machine.broker.as_ref()?;
        let dice = &mut self.fault_dice;
        let shard = dice.index(broker.shards());
        let net = broker.net(shard).clone();
        let what = match kind {
            FaultKind::NoRoom => {
                net.no_room_next(1);
                "the next connection finds no room"
            }
            FaultKind::AcceptShort => {
                net.short_next(libc::EMFILE);
                "accepting falls short of a descriptor"
            }
            FaultKind::Batches if dice.one_in(3) => {
                net.set_batches(false);
                "there are no batches"
            }
            FaultKind::Batches if dice.one_in(2) => {
                net.reverse_batches(true);
                "batches run from their end"
            }
            FaultKind::Batches => {
                net.interrupt_next_batch(dice.index(4));
                "a batch is not tried to its end"
            }
            FaultKind::FileEnds => {
                net.end_files(dice.one_in(2).then_some(1));
                "files end early"
            }
            _ => {
                net.tell_all(true);
                "readiness is told again and again"
            }
        };
        self.lift_later(Lift::Net(shard));
        Some(format!("shard {shard}: {what}"))
    }

    /// Tells every shard that every socket takes bytes again, whether it does or not.
    fn nudge_all(&mut self) -> String {
        for client in 0..self.clients() {
            if let Some(peer) = self.link_mut(client).and_then(|link| link.peer()) {
                peer.nudge(Readiness {
                    writable: true,
                    ..Readiness::default()
                });
            }
        }
        "everybody is told to be writable".to_owned()
    }

    fn strike_socket(&mut self, kind: FaultKind) -> Option<String> {
        if kind == FaultKind::Spurious && self.fault_dice.one_in(2) {
            return Some(self.nudge_all());
        }
        let client = self.fault_dice.index(self.clients());
        let dice = &mut self.fault_dice.clone();
        self.fault_dice.next();
        let link = self.link_mut(client)?;
        if kind == FaultKind::Flip && !link.has_checksums {
            return None;
        }
        let what = strike_link(link, kind, dice)?;
        self.lift_later(Lift::Socket(client));
        Some(format!("{}: {what}", self.name_of(client)))
    }

    fn keep_someone_still(&mut self) -> Option<String> {
        let client = self.fault_dice.index(self.clients());
        let ms = self.fault_dice.among(50, 8_000);
        let until_ms = self.clock.now_ms() + ms;
        self.keep_still(client, until_ms)?;
        Some(format!("{} does nothing for {ms} ms", self.name_of(client)))
    }

    fn starve_a_shard(&mut self) -> Option<String> {
        let shards = self.machine.broker.as_ref()?.shards();
        let shard = self.fault_dice.index(shards);
        if self.starved_until.iter().any(|until| *until > self.steps) {
            // One at a time: what the others do meanwhile waits for it.
            return None;
        }
        let steps = self.fault_dice.among(20, self.plan.starved_steps);
        self.starved_until[shard] = self.steps + steps;
        Some(format!("shard {shard} gets no time for {steps} steps"))
    }

    fn set_clock(&mut self) -> String {
        let ms = self.fault_dice.among(1, 100_000);
        let wall_ms = self.clock.wall_ms();
        let to = match self.fault_dice.one_in(2) {
            true => wall_ms + ms,
            false => wall_ms.saturating_sub(ms),
        };
        self.clock.set_wall_ms(to);
        format!("the clock is set from {wall_ms} to {to}")
    }

    /// Ends a fault.
    pub(super) fn lift(&mut self, lift: Lift) {
        match lift {
            Lift::Disk(number) => {
                let disk = &self.machine.disks[number];
                disk.set_chances(Chances::default());
                disk.refuse(false);
                disk.set_capacity(None);
                for step in HELD {
                    disk.lift(step);
                }
            }
            Lift::Socket(client) => {
                if let Some(peer) = self.link_mut(client).and_then(|link| link.peer()) {
                    peer.resume();
                    peer.set_room(ROOM_BYTES);
                    peer.dribble(usize::MAX);
                    peer.dribble_in(usize::MAX);
                    peer.interrupt_next(0);
                }
            }
            Lift::Net(shard) => {
                if let Some(broker) = &self.machine.broker {
                    let net = broker.net(shard);
                    net.set_batches(true);
                    net.reverse_batches(false);
                    net.tell_all(self.plan.tells_all);
                    net.no_room_next(0);
                    net.end_files(Some(0));
                }
            }
        }
    }
}

fn strike_link(link: &mut Link, kind: FaultKind, dice: &mut Dice) -> Option<String> {
    let peer = link.peer()?.clone();
    Some(match kind {
        FaultKind::Reset => {
            link.reset();
            "the connection is reset".to_owned()
        }
        FaultKind::HalfClose => {
            link.shut();
            "the client's side is shut".to_owned()
        }
        FaultKind::DribbleOut => {
            let bytes = dice.among(1, 200);
            peer.dribble(bytes as usize);
            format!("sends take {bytes} bytes at most")
        }
        FaultKind::DribbleIn => {
            let bytes = dice.among(1, 200);
            peer.dribble_in(bytes as usize);
            format!("reads give {bytes} bytes at most")
        }
        FaultKind::SmallRoom => {
            let bytes = dice.among(1, 3_000);
            peer.set_room(bytes as usize);
            format!("the socket has room for {bytes} bytes")
        }
        FaultKind::Stall => {
            peer.stall();
            "the socket takes nothing".to_owned()
        }
        FaultKind::Interrupt => {
            let calls = dice.among(1, 4);
            peer.interrupt_next(calls as usize);
            format!("{calls} calls are interrupted")
        }
        FaultKind::SendError => {
            let errno = *dice.pick(&[libc::ENOBUFS, libc::ENOMEM, libc::ETIMEDOUT, libc::EPIPE]);
            peer.fail_next_send(errno);
            format!("a send fails with error {errno}")
        }
        FaultKind::Spurious => {
            let [readable, writable, over] = [dice.one_in(2), dice.one_in(2), false];
            peer.nudge(Readiness {
                readable,
                writable,
                over,
            });
            "readiness is told that is none".to_owned()
        }
        FaultKind::Flip if dice.one_in(2) => {
            link.flips_in = true;
            "a bit changes on its way to the client".to_owned()
        }
        FaultKind::Flip => {
            link.flips_out = true;
            "a bit changes on its way to the broker".to_owned()
        }
        _ => return None,
    })
}

fn odds_of_errors(eio: u64) -> Odds {
    Odds {
        eio: eio as u16,
        ..Odds::default()
    }
}

fn chances(dice: &mut Dice) -> Chances {
    let mut odds = || {
        let mut some = |most| {
            if dice.one_in(4) {
                dice.below(most) as u16
            } else {
                0
            }
        };
        Odds {
            eio: some(60),
            enospc: some(100),
            short: some(300),
        }
    };
    let (write, sync, prepare, put) = (odds(), odds(), odds(), odds());
    let (overwrite, rename, unlink) = (odds(), odds(), odds());
    Chances {
        seed: dice.next(),
        write,
        sync,
        prepare,
        put,
        overwrite,
        rename,
        unlink,
        ..Chances::default()
    }
}
