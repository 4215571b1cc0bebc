//! Little-endian numbers at fixed places. Callers have checked the length before; an index out of bounds here is a
//! defect of the decoder, which the property tests and the fuzzers look for.

pub(crate) fn read_u16(bytes: &[u8], at: usize) -> u16 {
    let mut raw = [0; 2];
    raw.copy_from_slice(&bytes[at..at + 2]);
    u16::from_le_bytes(raw)
}

pub(crate) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(raw)
}

pub(crate) fn read_u48(bytes: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw[..6].copy_from_slice(&bytes[at..at + 6]);
    u64::from_le_bytes(raw)
}

pub(crate) fn read_u64(bytes: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(raw)
}

pub(crate) fn write_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn write_u48(bytes: &mut [u8], at: usize, value: u64) {
    debug_assert!(value < 1 << 48, "{value} does not fit into 48 bits");
    bytes[at..at + 6].copy_from_slice(&value.to_le_bytes()[..6]);
}

pub(crate) fn write_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn write_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}
