//! Which names a directory can show.

/// Bytes of the longest name (`NAME_MAX` of Linux; FUSE itself would take 1024).
pub const NAME_BYTES_MAX: usize = 255;

/// Why a name can't be a directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No byte, as between the slashes of the key `a//b`.
    #[error("the name is empty")]
    Empty,
    /// `.` or `..`, which mean something else in a path.
    #[error("the name is '.' or '..'")]
    Dots,
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("the name is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// Keys of OSS are UTF-8; no object can have this name.
    #[error("the name is not UTF-8")]
    NotUtf8,
    /// It holds a `/` or a NUL byte, which no path component can.
    #[error("the name holds a slash or a NUL byte")]
    Forbidden,
}

/// Checks one path component, as the kernel or a listing has it.
///
/// # Errors
/// [`NameError`] says which rule the name breaks.
pub fn valid_name(name: &[u8]) -> Result<&str, NameError> {
    match name {
        b"" => Err(NameError::Empty),
        b"." | b".." => Err(NameError::Dots),
        _ if name.len() > NAME_BYTES_MAX => Err(NameError::TooLong),
        _ if name.iter().any(|byte| matches!(byte, b'/' | 0)) => Err(NameError::Forbidden),
        _ => std::str::from_utf8(name).map_err(|_| NameError::NotUtf8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_1_to_255_bytes() {
        assert_eq!(valid_name(b""), Err(NameError::Empty));
        assert_eq!(valid_name(b"a"), Ok("a"));
        let longest = "n".repeat(NAME_BYTES_MAX);
        assert_eq!(valid_name(longest.as_bytes()), Ok(longest.as_str()));
        let longer = "n".repeat(NAME_BYTES_MAX + 1);
        assert_eq!(valid_name(longer.as_bytes()), Err(NameError::TooLong));
    }

    #[test]
    fn a_name_is_one_component_of_utf8() {
        assert_eq!(valid_name(b"."), Err(NameError::Dots));
        assert_eq!(valid_name(b".."), Err(NameError::Dots));
        assert_eq!(valid_name(b"..."), Ok("..."));
        assert_eq!(valid_name(b"a/b"), Err(NameError::Forbidden));
        assert_eq!(valid_name(b"a\0b"), Err(NameError::Forbidden));
        assert_eq!(valid_name(b"a\xff"), Err(NameError::NotUtf8));
        assert_eq!(valid_name("ä \n+%?#&".as_bytes()), Ok("ä \n+%?#&"));
    }
}
