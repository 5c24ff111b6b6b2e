//! The modes of fallocate(2).

/// What fallocate(2) is asked to do to a range.
///
/// Disk space cannot be reserved in a bucket: to allocate is to make the file longer, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallocate {
    /// The file reaches to the end of the range.
    Allocate,
    /// Nothing.
    AllocateKeepSize,
    /// The range becomes zeros; the file does not become longer.
    PunchHole,
    /// The range becomes zeros; the file reaches to its end.
    ZeroRange,
    /// The range becomes zeros; the file does not become longer.
    ZeroRangeKeepSize,
}

impl Fallocate {
    const KEEP_SIZE: u32 = 0x01;
    const PUNCH_HOLE: u32 = 0x02;
    const ZERO_RANGE: u32 = 0x10;

    /// What the kernel's `mode` says (linux/falloc.h). `None` is EOPNOTSUPP: to collapse, insert or unshare a range.
    #[must_use]
    pub fn of_mode(mode: u32) -> Option<Self> {
        const HOLE: u32 = Fallocate::PUNCH_HOLE | Fallocate::KEEP_SIZE;
        const ZERO_KEEP: u32 = Fallocate::ZERO_RANGE | Fallocate::KEEP_SIZE;
        match mode {
            0 => Some(Self::Allocate),
            Self::KEEP_SIZE => Some(Self::AllocateKeepSize),
            HOLE => Some(Self::PunchHole),
            Self::ZERO_RANGE => Some(Self::ZeroRange),
            ZERO_KEEP => Some(Self::ZeroRangeKeepSize),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modes_of_the_kernel_are_known() {
        assert_eq!(Fallocate::of_mode(0), Some(Fallocate::Allocate));
        assert_eq!(Fallocate::of_mode(1), Some(Fallocate::AllocateKeepSize));
        assert_eq!(Fallocate::of_mode(3), Some(Fallocate::PunchHole));
        assert_eq!(Fallocate::of_mode(0x10), Some(Fallocate::ZeroRange));
        assert_eq!(Fallocate::of_mode(0x11), Some(Fallocate::ZeroRangeKeepSize));
        for refused in [2, 4, 8, 9, 0x20, 0x40] {
            assert_eq!(Fallocate::of_mode(refused), None);
        }
    }
}
