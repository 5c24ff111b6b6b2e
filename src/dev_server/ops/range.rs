//! `Range` as OSS reads it.

use std::ops::Range;

/// What a GET serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Served {
    /// 200 with everything.
    Whole,
    /// 206.
    Part(Range<u64>),
    /// 416.
    Unsatisfiable,
}

/// What `x-oss-range-behavior` says of ranges that leave the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behavior {
    /// The header is missing: such a range is ignored, and the whole object comes with 200.
    Lenient,
    /// `standard`: cut at the end, or 416, as RFC 9110 has it.
    Standard,
}

/// Reads the first range of a header. What is no range of bytes is ignored, as RFC 9110 allows and OSS does.
pub(super) fn served(header: Option<&str>, behavior: Behavior, size: u64) -> Served {
    let Some((first, last)) = header.and_then(first_range) else {
        return Served::Whole;
    };
    let outside = |part: Served| match behavior {
        Behavior::Lenient => Served::Whole,
        Behavior::Standard => part,
    };
    match (first, last) {
        (None, None) => Served::Whole,
        (None, Some(0)) => outside(Served::Unsatisfiable),
        (None, Some(_)) if size == 0 => outside(Served::Unsatisfiable),
        (None, Some(suffix)) if suffix > size => outside(Served::Part(0..size)),
        (None, Some(suffix)) => Served::Part(size - suffix..size),
        (Some(first), Some(last)) if last < first => Served::Whole,
        (Some(first), _) if first >= size => outside(Served::Unsatisfiable),
        (Some(first), Some(last)) if last >= size => outside(Served::Part(first..size)),
        (Some(first), Some(last)) => Served::Part(first..last + 1),
        (Some(first), None) => Served::Part(first..size),
    }
}

/// First and last position of `bytes=a-b`, `a-` or `-n`; OSS serves the first of several ranges only.
fn first_range(header: &str) -> Option<(Option<u64>, Option<u64>)> {
    let ranges = header.trim().strip_prefix("bytes=")?;
    let (first, last) = ranges.split(',').next()?.trim().split_once('-')?;
    let number = |text: &str| match text {
        "" => Some(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            // A number that no u64 holds is beyond any object.
            Some(Some(digits.parse().unwrap_or(u64::MAX)))
        }
        _ => None,
    };
    Some((number(first)?, number(last)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_leave_the_object_depend_on_the_header() {
        use Served::{Part, Unsatisfiable, Whole};
        // (header, size, lenient, standard)
        let table = [
            ("bytes=0-9", 44, Part(0..10), Part(0..10)),
            ("bytes=43-43", 44, Part(43..44), Part(43..44)),
            ("bytes=0-43", 44, Part(0..44), Part(0..44)),
            ("bytes=0-44", 44, Whole, Part(0..44)),
            ("bytes=10-", 44, Part(10..44), Part(10..44)),
            ("bytes=43-99", 44, Whole, Part(43..44)),
            ("bytes=44-", 44, Whole, Unsatisfiable),
            ("bytes=44-50", 44, Whole, Unsatisfiable),
            ("bytes=-4", 44, Part(40..44), Part(40..44)),
            ("bytes=-44", 44, Part(0..44), Part(0..44)),
            ("bytes=-45", 44, Whole, Part(0..44)),
            ("bytes=-0", 44, Whole, Unsatisfiable),
            ("bytes=0-0", 0, Whole, Unsatisfiable),
            ("bytes=0-", 0, Whole, Unsatisfiable),
            ("bytes=-1", 0, Whole, Unsatisfiable),
            ("bytes=1-2,5-6", 44, Part(1..3), Part(1..3)),
            ("bytes=9-8", 44, Whole, Whole),
            ("bytes=-", 44, Whole, Whole),
            ("bytes=a-b", 44, Whole, Whole),
            ("bytes=+1-2", 44, Whole, Whole),
            ("lines=0-1", 44, Whole, Whole),
            ("bytes=99999999999999999999-", 44, Whole, Unsatisfiable),
            ("bytes=0-99999999999999999999", 44, Whole, Part(0..44)),
        ];
        for (header, size, lenient, standard) in table {
            let served = |behavior| served(Some(header), behavior, size);
            assert_eq!(served(Behavior::Lenient), lenient, "{header} of {size}");
            assert_eq!(served(Behavior::Standard), standard, "{header} of {size}");
        }
        assert_eq!(served(None, Behavior::Standard, 44), Whole);
    }
}
