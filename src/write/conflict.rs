//! Whether a commit may replace what it finds under its name.
//!
//! OSS has no conditional PUT but `x-oss-forbid-overwrite`. So a HEAD before the commit is compared with what the file was
//! opened on. It is best effort: who writes between the HEAD and the commit is not seen.
//!
//! A file that was made here, under a name that had nothing, is not looked for: its first commit asks OSS not to overwrite, which costs no request. Not if
//! a rename has put it over what is there, for that is what a rename does.

use crate::object::ETag;

/// `--on-conflict`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// The commit fails, what the other wrote stays, and what was written here stays staged.
    #[default]
    Fail,
    /// The last close wins.
    Overwrite,
}

/// What a commit does about what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// Nobody else has changed the object.
    None,
    /// Somebody has; it is replaced. Worth a warning.
    Overwrite,
    /// Somebody has; the commit fails.
    Refuse,
    /// Somebody has, and it cannot be replaced, for unchanged ranges of what was there are needed and gone.
    Lost,
}

/// What a commit does, of a file that was opened on the version `opened` (`None`: it was not there), if the name now stands for
/// `found` (`None`: nothing is there).
///
/// `needs_old` says whether the plan reads or copies from the version that it was opened on ([`super::Plan::needs`]).
#[must_use]
pub fn conflict(
    opened: Option<&ETag>,
    found: Option<&ETag>,
    policy: OnConflict,
    needs_old: bool,
) -> Conflict {
    if opened == found {
        return Conflict::None;
    }
    match policy {
        OnConflict::Fail => Conflict::Refuse,
        OnConflict::Overwrite if needs_old => Conflict::Lost,
        OnConflict::Overwrite => Conflict::Overwrite,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_changed_is_no_conflict() {
        let one = ETag::new("\"1\"");
        for policy in [OnConflict::Fail, OnConflict::Overwrite] {
            for needs_old in [false, true] {
                let same = conflict(Some(&one), Some(&ETag::new("1")), policy, needs_old);
                assert_eq!(same, Conflict::None);
                assert_eq!(conflict(None, None, policy, needs_old), Conflict::None);
            }
        }
    }

    #[test]
    fn another_version_none_and_a_new_one_are_conflicts() {
        let (one, two) = (ETag::new("1"), ETag::new("2"));
        let cases = [
            (Some(&one), Some(&two)),
            (Some(&one), None),
            (None, Some(&two)),
        ];
        for (opened, found) in cases {
            let fail = OnConflict::Fail;
            let over = OnConflict::Overwrite;
            assert_eq!(conflict(opened, found, fail, false), Conflict::Refuse);
            assert_eq!(conflict(opened, found, fail, true), Conflict::Refuse);
            assert_eq!(conflict(opened, found, over, false), Conflict::Overwrite);
            assert_eq!(conflict(opened, found, over, true), Conflict::Lost);
        }
    }
}
