//! The CRC-64/XZ of two pieces put together, cheaply when the second is one block long.
//!
//! Combining is linear over GF(2): `combine(a, b, n) = shift_n(a) ^ b`, where `shift_n` stands for n more bytes. The library
//! builds that operator anew for each pair, which takes some 90 µs; for the one length that nearly all blocks have it is
//! built once, out of the library's own answers, and applied with 64 conditional XORs.

use std::sync::OnceLock;

use crc_fast::CrcAlgorithm::Crc64Xz;

use super::BLOCK;

/// The image of each bit of a checksum under "[`BLOCK`] more bytes".
static BY_ONE_BLOCK: OnceLock<[u64; 64]> = OnceLock::new();

/// The checksum of a content with checksum `front`, followed by `len` bytes with checksum `back`.
pub(super) fn combine(front: u64, back: u64, len: u64) -> u64 {
    if len != BLOCK {
        return crc_fast::checksum_combine(Crc64Xz, front, back, len);
    }
    let images = BY_ONE_BLOCK.get_or_init(|| {
        std::array::from_fn(|bit| crc_fast::checksum_combine(Crc64Xz, 1 << bit, 0, BLOCK))
    });
    let shifted = images
        .iter()
        .enumerate()
        .fold(0, |sum, (bit, image)| sum ^ (image * ((front >> bit) & 1)));
    shifted ^ back
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_what_the_library_says(front: u64, back: u64, other in 0..3 * BLOCK) {
            for len in [BLOCK, other] {
                let slow = crc_fast::checksum_combine(Crc64Xz, front, back, len);
                prop_assert_eq!(combine(front, back, len), slow);
            }
        }
    }
}
