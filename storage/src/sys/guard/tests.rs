use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::atomic::AtomicBool;

use super::*;
use crate::sys::map::Map;

/// A file of so many blocks of ones, and its map.
fn ones(blocks: usize) -> (File, Map) {
    let file = tempfile::tempfile().expect("a file");
    let bytes = vec![1; blocks * BLOCK];
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).expect("room for it");
    let map = Map::file(&file, bytes.len() as u64).expect("a map");
    (file, map)
}

fn cut(file: &File, bytes: usize) {
    file.set_len(bytes as u64).expect("the file is ours");
}

/// Where the ones end, or how many bytes there are.
fn zeroes_from(bytes: &[u8]) -> usize {
    let end = bytes.iter().position(|byte| *byte == 0);
    let end = end.unwrap_or(bytes.len());
    assert!(bytes[end..].iter().all(|byte| *byte == 0));
    end
}

#[test]
fn a_map_is_found_by_each_address_of_it_and_by_no_other() {
    let table = Table::new();
    // More than the first two parts of the table hold.
    let range = |number: usize| (number + 1) * 0x10_0000..(number + 1) * 0x10_0000 + 0x8_0000;
    let unreadable =
        |number: usize| std::ptr::without_provenance_mut::<UnreadableBlocks>(number + 1);
    for number in 0..1000 {
        assert_eq!(table.add(&range(number), unreadable(number)), number);
    }
    for number in 0..1000 {
        let Range { start, end } = range(number);
        for (address, found) in [
            (start - 1, false),
            (start, true),
            (end - 1, true),
            (end, false),
        ] {
            let wanted = found.then(|| (start..end, unreadable(number)));
            assert_eq!(table.find(address), wanted);
        }
    }
    table.remove(500);
    assert_eq!(table.find(range(500).start), None);
    assert_eq!(
        table.add(&range(5000), unreadable(7)),
        500,
        "entries are used again"
    );
    assert_eq!(
        table.find(range(5000).start),
        Some((range(5000), unreadable(7)))
    );
}

#[test]
fn an_entry_that_changes_is_passed_over() {
    let entry = Entry::default();
    entry.set(&(100..200), std::ptr::null_mut());
    assert!(entry.holding(150).is_some());
    entry.version.fetch_add(1, Ordering::Relaxed);
    assert!(entry.holding(150).is_none());
}

#[test]
fn what_is_missing_reads_as_zeroes_and_its_block_alone_is_torn() {
    let (file, map) = ones(4);
    let whole = BLOCK + 5 * page_bytes();
    cut(&file, whole);
    assert!(!map.is_unreadable(0..4 * BLOCK), "nothing was read yet");
    assert_eq!(zeroes_from(map.bytes(0..2 * BLOCK)), whole);
    let unreadable = |block: usize| map.is_unreadable(block * BLOCK..(block + 1) * BLOCK);
    assert_eq!([0, 1, 2, 3].map(unreadable), [false, true, false, false]);
    assert_eq!(zeroes_from(map.bytes(3 * BLOCK..4 * BLOCK)), 0);
    assert_eq!([0, 1, 2, 3].map(unreadable), [false, true, false, true]);
    assert!(map.is_unreadable(BLOCK - 1..BLOCK + 1));
    assert!(!map.is_unreadable(0..BLOCK));
    // The file is as it was, and so is a new map of it; what was unreadable stays so.
    cut(&file, 4 * BLOCK);
    let again = Map::file(&file, 4 * BLOCK as u64).expect("a map");
    assert_eq!(zeroes_from(again.all()), whole);
    assert!(!again.is_unreadable(0..4 * BLOCK));
    assert!(unreadable(1) && unreadable(3));
}

#[test]
fn a_block_that_is_all_missing_takes_two_signals() {
    let (file, map) = ones(2);
    cut(&file, 0);
    let bytes = map.all();
    assert_eq!((bytes[0], bytes[page_bytes()]), (0, 0));
    let is_file = [2 * page_bytes(), BLOCK - 1, BLOCK].map(|at| is_of_file(&raw const bytes[at]));
    assert_eq!(is_file, [false, false, true]);
}

/// Whether the kernel has a file mapped at an address.
fn is_of_file(at: *const u8) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("a list of areas");
    let number = |hex: &str| usize::from_str_radix(hex, 16).expect("an address");
    let mut areas = maps.lines().map(|line| line.split_whitespace());
    let inode = areas.find_map(|mut area| {
        let (start, end) = area.next()?.split_once('-')?;
        let held = number(start)..number(end);
        held.contains(&(at as usize)).then(|| area.nth(3)).flatten()
    });
    inode.expect("it is mapped") != "0"
}

#[test]
fn maps_that_come_and_go_do_not_disturb_those_that_are_read() {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let (file, _map) = ones(3);
                while !done.load(Ordering::Relaxed) {
                    let maps = [1, 2, 3, 1].map(|blocks| Map::file(&file, blocks * BLOCK_BYTES));
                    for map in maps {
                        let map = map.expect("a map");
                        assert!(!map.is_unreadable(0..map.all().len()));
                    }
                }
            });
        }
        for round in 0..40 {
            let (file, map) = ones(1);
            let (other, sound) = ones(1);
            let kept = round % 8 * page_bytes();
            cut(&file, kept);
            assert_eq!(zeroes_from(map.all()), kept);
            assert!(map.is_unreadable(0..BLOCK), "round {round}");
            assert_eq!(zeroes_from(sound.all()), BLOCK);
            assert!(!sound.is_unreadable(0..BLOCK), "round {round}");
            drop((other, sound));
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn threads_that_miss_the_same_pages_all_learn_of_it() {
    for _ in 0..10 {
        let (file, map) = ones(1);
        cut(&file, page_bytes());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    assert_eq!(zeroes_from(map.all()), page_bytes());
                    assert!(map.is_unreadable(0..BLOCK));
                });
            }
        });
    }
}

/// What the child process is to do, in its environment.
const CHILD: &str = "OYEZ_GUARD_CHILD";
/// How the child ends from its own handler.
const HANDLED: i32 = 42;

/// Reads a map that is not in the table, of a file that was cut.
fn fault_elsewhere() {
    let (file, _map) = ones(1);
    let (len, fd) = (page_bytes(), file.as_raw_fd());
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start = unsafe {
        let kind = libc::MAP_SHARED;
        libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, kind, fd, 0)
    };
    assert_ne!(start, libc::MAP_FAILED);
    cut(&file, 0);
    // SAFETY: mapped above; the read faults, which is what this is for.
    unsafe { start.cast::<u8>().read_volatile() };
}

extern "C" fn leave(_signal: libc::c_int) {
    // SAFETY: ends the process.
    unsafe { libc::_exit(HANDLED) };
}

/// Not a test of its own: the process that the tests below start.
#[test]
fn a_process_of_its_own() {
    let Ok(task) = std::env::var(CHILD) else {
        return;
    };
    if task == "handled" {
        let leave: extern "C" fn(libc::c_int) = leave;
        act(leave as libc::sighandler_t, 0).expect("an action");
    }
    let (_file, _map) = ones(1);
    fault_elsewhere();
    unreachable!("the fault has ended the process");
}

fn run_child(task: &str) -> ExitStatus {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program);
    child.args(["--exact", "sys::guard::tests::a_process_of_its_own"]);
    let output = child.env(CHILD, task).output().expect("it runs");
    output.status
}

#[test]
fn a_fault_elsewhere_goes_to_the_handler_that_was_there_before() {
    assert_eq!(run_child("handled").code(), Some(HANDLED));
}

#[test]
fn a_fault_elsewhere_without_a_handler_ends_the_process_as_it_always_did() {
    assert_eq!(run_child("default").signal(), Some(libc::SIGBUS));
}
