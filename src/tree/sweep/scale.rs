//! A scale on which names stand at about equal distances, learned from the names that were seen.
//!
//! Each position of a name is a digit. Its values are the characters that were met at that position, and those of the
//! same class that are likely there too (one digit was met: all ten may come). So numbers with leading zeros, hashes,
//! UUIDs and dates all lie evenly. A guess that is wrong costs a request, never a name.

use std::ops::Range;

/// Characters of a name that are learned; names that first differ behind these are not told apart.
const POSITIONS_MAX: usize = 255;

/// Characters outside of ASCII that are kept of one position.
const OTHERS_MAX: usize = 64;

/// Digits before the one in which a page's names differ: the scale reaches so many powers farther than the page.
const HEADROOM: usize = 10;

/// The product of all radices stays below this, so that values and their distances fit `u128` with room to multiply.
const VALUES_MAX: u128 = 1 << 100;

/// The characters met at one position.
#[derive(Debug, Clone, Default)]
struct Position {
    /// A bit for each character of ASCII.
    ascii: u128,
    /// The others, ascending.
    others: Vec<char>,
}

const fn class(range: Range<u8>) -> u128 {
    (1 << range.end) - (1 << range.start)
}

const DIGITS: u128 = class(b'0'..b'9' + 1);
const LOWER: u128 = class(b'a'..b'z' + 1);
const LOWER_HEX: u128 = class(b'a'..b'f' + 1);
const UPPER: u128 = class(b'A'..b'Z' + 1);
const UPPER_HEX: u128 = class(b'A'..b'F' + 1);

impl Position {
    fn learn(&mut self, letter: char) {
        if letter.is_ascii() {
            self.ascii |= 1 << u32::from(letter);
        } else if self.others.len() < OTHERS_MAX
            && let Err(at) = self.others.binary_search(&letter)
        {
            self.others.insert(at, letter);
        }
    }

    /// What may stand here, ascending. `next` is the position behind.
    fn letters(&self, next: Option<&Self>) -> Vec<char> {
        let mut ascii = self.ascii;
        if ascii & !DIGITS == 0
            && let Some(next) = next
        {
            // The first page of hashes begins with 0 throughout: only what follows shows that the digits are hexadecimal.
            for (class, hex) in [(LOWER, LOWER_HEX), (UPPER, UPPER_HEX)] {
                let met = next.ascii & class;
                if next.ascii & DIGITS != 0 && met & !hex == 0 {
                    ascii |= met;
                }
            }
        }
        for (class, hex) in [(LOWER, LOWER_HEX), (UPPER, UPPER_HEX)] {
            let met = ascii & class;
            if met != 0 {
                let is_hex = met & !hex == 0 && ascii & DIGITS != 0;
                ascii |= if is_hex { hex } else { class };
            }
        }
        if ascii & DIGITS != 0 {
            ascii |= DIGITS;
        }
        let ascii = (0..128_u8).filter(|code| ascii >> code & 1 == 1);
        ascii
            .map(char::from)
            .chain(self.others.iter().copied())
            .collect()
    }
}

/// What was learned of a directory's names.
#[derive(Debug, Clone, Default)]
pub(super) struct Scale(Vec<Position>);

/// A part of the scale: the digits from one position on, below one beginning.
#[derive(Debug)]
pub(super) struct Ruler {
    /// What all names on it begin with.
    head: Vec<char>,
    digits: Vec<Vec<char>>,
}

impl Scale {
    /// Learns a name.
    pub(super) fn learn(&mut self, name: &str) {
        for (at, letter) in name.chars().take(POSITIONS_MAX).enumerate() {
            if letter == '/' {
                return; // a directory's name ends here
            }
            if at == self.0.len() {
                self.0.push(Position::default());
            }
            self.0[at].learn(letter);
        }
    }

    /// A ruler that tells the names between `first` and `last` apart, and reaches from there towards `end`.
    pub(super) fn ruler(&self, first: &str, last: &str, end: Option<&str>) -> Ruler {
        let near = common(first, last);
        let far = end.map_or(0, |end| common(last, end));
        let begin = far.max(near.saturating_sub(HEADROOM));
        let mut digits = Vec::new();
        let mut values: u128 = 1;
        for (at, position) in self.0.iter().enumerate().skip(begin) {
            let letters = position.letters(self.0.get(at + 1));
            values = values.saturating_mul(letters.len() as u128 + 1);
            if values > VALUES_MAX {
                break;
            }
            digits.push(letters);
        }
        Ruler {
            head: last.chars().take(begin).collect(),
            digits,
        }
    }
}

/// How many characters both begin with.
fn common(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count()
}

impl Ruler {
    /// Where `name` stands: 0 for what lies before all names on this ruler, [`Self::len`] for what lies behind.
    pub(super) fn value(&self, name: &str) -> u128 {
        let mut rest = name.trim_end_matches('/').chars();
        for expected in &self.head {
            match rest.next() {
                Some(letter) if letter > *expected => return self.len(),
                Some(letter) if letter == *expected => {}
                Some(_) | None => return 0,
            }
        }
        let mut value = 0;
        let mut is_exact = true;
        for letters in &self.digits {
            let digit = match (is_exact, rest.next()) {
                (true, Some(letter)) => {
                    let below = letters.partition_point(|other| *other < letter);
                    is_exact = letters.get(below) == Some(&letter);
                    below + usize::from(is_exact)
                }
                (false, _) | (true, None) => {
                    is_exact = false; // it has ended: nothing stands here
                    0
                }
            };
            value = value * (letters.len() as u128 + 1) + digit as u128;
        }
        value
    }

    /// One more than the last value.
    pub(super) fn len(&self) -> u128 {
        self.digits
            .iter()
            .map(|letters| letters.len() as u128 + 1)
            .product()
    }

    /// A name that lies behind all on this ruler, though perhaps not behind all names.
    pub(super) fn behind(&self) -> Option<String> {
        let last = self.digits.first()?.last()?;
        let next = char::from_u32(u32::from(*last) + 1)?;
        if matches!(next, '/' | '\\') {
            return None; // OSS may refuse a key that begins so
        }
        Some(self.head.iter().chain([&next]).collect())
    }

    /// The name at `value`; `None` behind the last.
    pub(super) fn name(&self, mut value: u128) -> Option<String> {
        let mut name: Vec<char> = Vec::new();
        for letters in self.digits.iter().rev() {
            let radix = letters.len() as u128 + 1;
            let digit = usize::try_from(value % radix).ok()?;
            value /= radix;
            match digit.checked_sub(1) {
                Some(at) => name.push(letters[at]),
                None => name.clear(), // a name that ends here has nothing behind
            }
        }
        let name = self.head.iter().chain(name.iter().rev()).collect();
        (value == 0).then_some(name)
    }
}
