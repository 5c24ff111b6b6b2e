//! Names that say that a file will be renamed.

/// True if a file's name says that it is temporary: `tmp*`, `.tmp*`, `*.tmp`, `*.incomplete`, `.~*`.
///
/// What such a file holds stays staged up to a bound, so that its rename to the name that counts copies nothing. A name that only looks so
/// loses nothing: its close stores it like any other. `name` is the last component of the path; case counts.
#[must_use]
pub fn is_temporary(name: &str) -> bool {
    let begins = ["tmp", ".tmp", ".~"];
    let ends = [".tmp", ".incomplete"];
    begins.iter().any(|begin| name.starts_with(begin)) || ends.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_temporary_files_are_known() {
        let temporary = [
            "tmp",
            "tmpab12cd",
            ".tmp-1",
            ".tmp",
            "model.safetensors.tmp",
            "shard-0001.parquet.incomplete",
            ".~lock.odt#",
        ];
        for name in temporary {
            assert!(is_temporary(name), "{name}");
        }
        let others = [
            "model.pt",
            "attempt",
            "a.tmp.1",
            "TMP",
            "~a",
            "a~",
            "x.tmpl",
            ".",
            "a.incomplet",
        ];
        for name in others {
            assert!(!is_temporary(name), "{name}");
        }
    }
}
