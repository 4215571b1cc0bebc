//! CRC-32C (Castagnoli), the checksum of every frame. It finds every burst of up to 32 flipped bits, and the
//! processor computes it at memory speed.

/// Checksum of `bytes`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    ::crc32c::crc32c(bytes)
}

/// Checksum of what `crc` covered, followed by `bytes`.
#[must_use]
pub fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    ::crc32c::crc32c_append(crc, bytes)
}

/// Where the checksum of a control frame stands. It covers every other byte of the frame.
const CONTROL_CRC: core::ops::Range<usize> = 8..12;

/// Checksum of a whole control frame, or of a log mark, which keep it in bytes 8 to 12.
///
/// # Panics
/// If `frame` is shorter than 12 bytes.
#[must_use]
pub(crate) fn frame_crc(frame: &[u8]) -> u32 {
    crc32c_append(
        crc32c(&frame[..CONTROL_CRC.start]),
        &frame[CONTROL_CRC.end..],
    )
}

/// Writes the checksum of a frame into its place.
///
/// # Panics
/// If `frame` is shorter than 12 bytes.
pub fn seal_frame(frame: &mut [u8]) {
    let crc = frame_crc(frame);
    frame[CONTROL_CRC].copy_from_slice(&crc.to_le_bytes());
}

/// Whether bytes 8 to 12 hold the checksum of the rest.
///
/// # Panics
/// If `frame` is shorter than 12 bytes.
#[must_use]
pub fn frame_is_intact(frame: &[u8]) -> bool {
    frame[CONTROL_CRC] == frame_crc(frame).to_le_bytes()
}
