//! Golden bytes of everything on disk. A change here is a new format version, or a mistake.

mod support;

use oyez_protocol::Position;
use oyez_protocol::limits::Limits;
use oyez_storage::*;
use support::{Rig, options, pool, record};

/// Sixteen bytes a line, without the lines that are all zero.
fn dump(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (line, bytes) in bytes.chunks(16).enumerate() {
        if bytes.iter().any(|byte| *byte != 0) {
            out += &format!("{:04x} ", line * 16);
            bytes.iter().for_each(|byte| out += &format!("{byte:02x}"));
            out.push('\n');
        }
    }
    out
}

fn check(what: &str, bytes: &[u8], golden: &str) {
    let golden: Vec<&str> = golden.split_whitespace().collect();
    let found = dump(bytes);
    let found: Vec<&str> = found.split_whitespace().collect();
    assert!(found == golden, "{what} is now\n{}", dump(bytes));
}

/// A synced log after: one record, its mark, three more that fill the first segment, one in the second, a drain. The
/// first segment is retained or dropped.
struct Written {
    disk: MemoryDisk,
    dir: DataDir,
    _lock: DirLock,
    _temp: tempfile::TempDir,
}

const RECORD: usize = 1_040_000;

fn written(retained: bool) -> Written {
    let temp = tempfile::tempdir().expect("a directory");
    let dir_options = DirOptions {
        logs_per_durability: 1,
        entropy: *b"0123456789abcdef",
        restored: false,
    };
    let (dir, lock) = DataDir::open(temp.path(), &dir_options).expect("a data directory");
    let disk = MemoryDisk::new();
    let options = LogOptions {
        limits: Limits::HARD,
        retention_bytes: Some(support::SEGMENT),
        ..options()
    };
    let mut rig = Rig::open(&dir, Box::new(disk.clone()), &pool(16), &options, 1_000_000);
    let log = rig.log(Durability::Synced);
    let mut end = Position::new(0);
    for number in 0..5u8 {
        rig.now_ms += 1;
        end = rig
            .append(log, &record("a/topic", 1, &vec![number; RECORD]))
            .end;
        rig.until_visible(log, end);
        for _ in 0..3 {
            rig.turn();
        }
    }
    rig.until_visible(log, end);
    rig.now_ms += if retained { 0 } else { 2000 };
    for _ in 0..5 {
        rig.turn();
    }
    rig.drain();
    Written {
        disk,
        dir,
        _lock: lock,
        _temp: temp,
    }
}

impl Written {
    fn content(&self, name: &str) -> Vec<u8> {
        let path = self.dir.path().join("synced-0").join(name);
        let content = self.disk.content(&path);
        content.unwrap_or_else(|| panic!("{name} is there: {:?}", self.disk.files()))
    }
}

#[test]
fn meta() {
    let written = written(true);
    let meta = std::fs::read(written.dir.path().join("meta")).expect("the meta file");
    check(
        "meta",
        &meta,
        "
        0000 4f59455a44495231020000001089a25c
        0010 985535f14dd397fb5e62e63cc18f55a8
        0020 aff77daaf42404a90100000000000000
        ",
    );
}

#[test]
fn state() {
    let written = written(true);
    let mut state = written.content("state");
    assert!(
        state == written.content("state.copy"),
        "the copies are alike"
    );
    // The directory's fingerprint is the file system's choice.
    state[152..160].fill(0);
    state[12..16].fill(0);
    let crc = oyez_protocol::checksum::crc32c(&state);
    state[12..16].copy_from_slice(&crc.to_le_bytes());
    check(
        "state",
        &state,
        "
        0000 4f59455a4c4f47310200000043f1a1dc
        0010 448edd369f8b8ebf0100000002000100
        0020 01000000000000000000000000000000
        0030 28df4f00000000000500000000000000
        0040 45420f0000000000985535f14dd397fb
        0050 e6b2698d000000000600000000000000
        0070 00004000000000000000400000000000
        ",
    );
}

#[test]
fn block_header_and_marks() {
    let segment = written(true).content("0000000000000000.seg");
    let size = (48 + 7 + RECORD + 4usize).next_multiple_of(8);
    check(
        "block header",
        &segment[..64],
        "
        0000 400000008200010029873ab702000000
        0010 4f59455a424c4b310100000000000000
        0030 0000000000000000985535f14dd397fb
        ",
    );
    let mark = 64 + size;
    check(
        "sync mark",
        &segment[mark..mark + SYNC_MARK_SIZE],
        "
        0000 280000008100000097c227bdad758a33
        0010 010000000000000000df0f0000000000
        0020 0100000000000000
        ",
    );
    let pad = mark + SYNC_MARK_SIZE + size + SYNC_MARK_SIZE;
    check(
        "pad",
        &segment[pad..pad + 64],
        "
        0000 f0410000800000004c9f2d7d00000000
        ",
    );
    check(
        "second block",
        &segment[BLOCK_BYTES as usize..][..64],
        "
        0000 40000000820001003e98065402000000
        0010 4f59455a424c4b31010000000face594
        0020 01000000000000000200000000000000
        0030 42420f0000000000985535f14dd397fb
        ",
    );
}

#[test]
fn footer() {
    check(
        "footer",
        &written(true).content("0000000000000000.idx"),
        "
        0000 4f59455a4944583102000000cae0e820
        0010 02000000010000000000000000000000
        0020 00004000000000000000400000000000
        0030 00000000000000000400000000000000
        0040 44420f0000000000985535f14dd397fb
        0050 02000000000000000100000008000000
        0060 04000000000000000000000000000000
        0070 efe0c39520be1f0021b2776c20be1f00
        0080 00000000070000000000000004000000
        0090 007b3f00000000000400000000000000
        00a0 612f746f706963000000000000000000
        00b0 080000c0de2f00000100000000000000
        00c0 e5fb01c0de2f00000200000000000000
        00d0 080004c0de2f00000300000000000000
        00e0 e5fb05c0de2f0000
        ",
    );
}

#[test]
fn carried() {
    check(
        "carried",
        &written(false).content("carried"),
        "
        0000 4f59455a544f503102000000c702c90b
        0010 01000000000000000100000000000000
        0020 040000000000000007612f746f706963
        ",
    );
}
