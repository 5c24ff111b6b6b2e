//! Which processes use a mount: what `fuser -m` finds, as far as this user may look.

use std::fmt;
use std::fs;
use std::path::Path;

use nix::unistd::Pid;

/// How many are named to the user.
const NAMED_MAX: usize = 8;

/// The longest chain of parents that is followed; a table that changes meanwhile may hold a circle.
const PARENTS_MAX: usize = 1000;

/// A process that has a file of the mount open, is executed from there, or stands there.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) pid: Pid,
    name: String,
}

/// All of them but this process.
pub(super) fn of(mountpoint: &Path) -> Vec<Holder> {
    let own = Pid::this();
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .map(Pid::from_raw)
        .filter(|pid| *pid != own && uses(*pid, mountpoint))
        .map(|pid| Holder {
            pid,
            name: fs::read_to_string(format!("/proc/{pid}/comm"))
                .unwrap_or_default()
                .trim_end()
                .to_owned(),
        })
        .collect()
}

fn uses(pid: Pid, mountpoint: &Path) -> bool {
    let process = format!("/proc/{pid}");
    // Links are read, not followed: that would ask the mount.
    let leads_there = |link: &Path| fs::read_link(link).is_ok_and(|to| to.starts_with(mountpoint));
    let is_there = ["cwd", "root", "exe"]
        .iter()
        .any(|name| leads_there(&Path::new(&process).join(name)));
    is_there
        || fs::read_dir(format!("{process}/fd"))
            .is_ok_and(|fds| fds.flatten().any(|fd| leads_there(&fd.path())))
}

/// True if this process is above `pid`.
pub(super) fn is_below_us(pid: Pid) -> bool {
    let own = Pid::this();
    let chain = std::iter::successors(Some(pid), |pid| parent(*pid));
    chain.take(PARENTS_MAX).any(|pid| pid == own)
}

fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc_pid_stat(5): the name may hold anything, so what follows it is counted from its last parenthesis.
    let (_, behind) = stat.rsplit_once(") ")?;
    behind.split(' ').nth(1)?.parse().ok().map(Pid::from_raw)
}

/// Some of them, for a message.
pub(super) struct Named<'a>(pub(super) &'a [Holder]);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, holder) in self.0.iter().take(NAMED_MAX).enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{} ({})", holder.name, holder.pid)?;
        }
        match self.0.len().saturating_sub(NAMED_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_found_by_its_directory_and_is_below_us() -> std::io::Result<()> {
        let place = tempfile::tempdir()?;
        let path = place.path().canonicalize()?;
        assert!(of(&path).is_empty());
        let mut cat = Command::new("cat")
            .stdin(Stdio::piped())
            .current_dir(&path)
            .spawn()?;
        let holders = of(&path);
        assert_eq!(holders.len(), 1, "{holders:?}");
        assert_eq!(holders[0].pid.as_raw(), cat.id().cast_signed());
        assert!(is_below_us(holders[0].pid));
        assert!(!is_below_us(Pid::from_raw(1)));
        let shown = Named(&holders).to_string();
        assert!(shown.ends_with(&format!("({})", cat.id())), "{shown}");
        drop(cat.stdin.take());
        cat.wait()?;
        Ok(())
    }
}
