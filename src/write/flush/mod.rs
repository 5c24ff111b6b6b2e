//! Whose close stores a file.
//!
//! The kernel sends FLUSH whenever a descriptor is closed: by the program that writes, by each process that it forked,
//! of each dup(2). All but the last are followed by more writes, maybe. A commit at each would be correct, and would show
//! others half a file: a child that inherited the descriptor and exits must not publish what its parent has not
//! finished. To commit at RELEASE only, which comes when the last descriptor is gone, would be too late: nobody waits
//! for it, so close(2) could not report that the upload failed.
//!
//! So a FLUSH commits, unless it comes from a process that never wrote while the opener still holds the file. RELEASE commits the rest. What
//! is not known speaks for a commit: a process in another pid namespace, a thread that is gone, bytes of a mapping, which
//! the kernel writes in nobody's name.
//!
//! | who closes | what happens |
//! |---|---|
//! | the writer, from any thread | commit |
//! | the writer, one of two dup'd descriptors | commit; writing goes on |
//! | a forked child that did not write, the parent still runs and has not closed | left |
//! | the same, the parent has closed and has not written since, or is gone | commit |
//! | `Popen(stdout=f)`: the child that wrote exits | commit |
//! | a reader, or a second writer that has not written, while the one who wrote has the file open | left |

/// A process: its thread group (tgid) in our pid namespace. FUSE tells the id of a thread: look it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process(pub u32);

/// One open(2) of the file; the kernel's file handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandleId(pub u64);

/// What a FLUSH or a RELEASE does about bytes that are not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It stores them.
    Commit,
    /// Somebody else will.
    Leave,
}

/// How a file was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// O_RDONLY.
    Read,
    /// O_WRONLY or O_RDWR.
    Write,
}

/// More processes than this write through one handle: any may have.
const WRITERS_MAX: usize = 64;

#[derive(Debug, Clone)]
struct Handle {
    id: HandleId,
    opener: Option<Process>,
    access: Access,
    /// The opener has closed a descriptor and has not written since.
    has_opener_closed: bool,
    /// Who wrote; at most [`WRITERS_MAX`].
    writers: Vec<Process>,
    /// Somebody wrote of whom nothing is known.
    has_unknown_writer: bool,
}

impl Handle {
    fn was_written(&self) -> bool {
        self.has_unknown_writer || !self.writers.is_empty()
    }
}

/// Who has one file open, and who of them wrote.
#[derive(Debug, Clone, Default)]
pub struct Holders {
    /// In the order of opening.
    handles: Vec<Handle>,
    /// The kernel wrote what was written through a mapping, by whichever handle it found.
    was_mapped: bool,
}

impl Holders {
    /// Nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The file was opened by a process.
    pub fn opened(&mut self, id: HandleId, opener: Option<Process>, access: Access) {
        self.handles.push(Handle {
            id,
            opener,
            access,
            has_opener_closed: false,
            writers: Vec::new(),
            has_unknown_writer: false,
        });
    }

    /// A process wrote, or truncated, or changed the file otherwise. `None`: it is not known which one.
    pub fn wrote(&mut self, id: HandleId, writer: Option<Process>) {
        let Some(handle) = self.handle(id) else {
            return;
        };
        match writer {
            Some(writer) if handle.writers.contains(&writer) => {}
            Some(writer) if handle.writers.len() < WRITERS_MAX => handle.writers.push(writer),
            Some(_) | None => handle.has_unknown_writer = true,
        }
        // It must hold another descriptor.
        handle.has_opener_closed &= writer != handle.opener;
    }

    /// A process has set the size by the file's name, as open(2) with O_TRUNC does when it has the handle: it counts as written through the one that
    /// this process has opened last, if it has one.
    pub fn truncated(&mut self, by: Option<Process>) {
        let is_its = |handle: &&Handle| handle.access == Access::Write && handle.opener == by;
        let last = self.handles.iter().rfind(is_its).map(|handle| handle.id);
        if let Some(last) = last {
            self.wrote(last, by);
        }
    }

    /// The kernel wrote back pages of a mapping (FUSE_WRITE_CACHE): the process and the handle that it names say nothing.
    pub fn wrote_back(&mut self) {
        self.was_mapped = true;
    }

    /// A descriptor was closed while there are bytes that are not stored. `lives` says whether a process still exists.
    pub fn flushed(
        &mut self,
        id: HandleId,
        by: Option<Process>,
        lives: impl FnOnce(Process) -> bool,
    ) -> Decision {
        let was_mapped = self.was_mapped;
        let others_wrote = self
            .handles
            .iter()
            .any(|other| other.id != id && other.was_written());
        let Some(handle) = self.handle(id) else {
            return Decision::Commit;
        };
        let is_opener = by.is_none() || by == handle.opener;
        handle.has_opener_closed |= is_opener;
        if handle.access == Access::Read {
            return Decision::Leave;
        }
        if was_mapped {
            return Decision::Commit;
        }
        if !handle.was_written() && others_wrote {
            return Decision::Leave;
        }
        let has_written = match by {
            None => true,
            Some(by) => handle.has_unknown_writer || handle.writers.contains(&by),
        };
        let is_held = match handle.opener {
            Some(opener) => !handle.has_opener_closed && lives(opener),
            None => false,
        };
        if has_written || !is_held {
            Decision::Commit
        } else {
            Decision::Leave
        }
    }

    /// A handle is gone: the last descriptor, and the last mapping, of one open(2). Of what is left, somebody must take care:
    /// who wrote through this handle will not come again.
    pub fn released(&mut self, id: HandleId) -> Decision {
        let Some(index) = self.handles.iter().position(|handle| handle.id == id) else {
            return Decision::Leave;
        };
        let gone = self.handles.remove(index);
        let is_last = !self
            .handles
            .iter()
            .any(|handle| handle.access == Access::Write);
        if gone.was_written() || is_last || (self.was_mapped && gone.access == Access::Write) {
            Decision::Commit
        } else {
            Decision::Leave
        }
    }

    /// True if the file is open for writing.
    #[must_use]
    pub fn is_open_for_writing(&self) -> bool {
        self.handles
            .iter()
            .any(|handle| handle.access == Access::Write)
    }

    fn handle(&mut self, id: HandleId) -> Option<&mut Handle> {
        self.handles.iter_mut().find(|handle| handle.id == id)
    }
}

#[cfg(test)]
mod tests;
