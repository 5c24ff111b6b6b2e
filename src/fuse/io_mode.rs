//! How an inode is read: the kernel's rule, so that it is never broken. Pure.
//!
//! The kernel reads an inode through its page cache or from a backing file, never both at the same time: an open that does not
//! fit to those before it fails with EIO (`fs/fuse/iomode.c`, `fuse_file_io_open`). So the first open decides, and the others follow:
//! - While a handle reads the backing file, all others must. One that wants direct I/O gets it as a flag beside.
//! - While a handle uses the page cache, all others do, or are direct.
//! - A direct handle uses neither, but its first shared mmap brings the inode into the page cache without asking us. So as long
//!   as one is open nobody gets the backing file.
//!
//! The kernel leaves a mode before it sends the RELEASE, and enters one after it has the answer to the OPEN. So what is counted
//! here is never less than what the kernel counts.

/// How a handle is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Through the kernel's page cache.
    Cached,
    /// Past the page cache, by us.
    Direct,
    /// By the kernel, from the backing file.
    Passthrough,
    /// By us, while others have the backing file.
    PassthroughDirect,
}

/// What is best for a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// The backing file if there is one, else the page cache.
    Fast,
    /// By us: the caller has opened it with `O_DIRECT`. The kernel would open a backing file so too, and then take only reads
    /// that the file system under it takes, aligned ones; ours take any. Without a backing file the kernel does by itself what
    /// is right.
    ByUs,
    /// Past the page cache, whatever the caller says.
    Direct,
}

/// The open handles of one inode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Handles {
    cached: u32,
    direct: u32,
    passthrough: u32,
}

impl Handles {
    /// How one more handle is to be read. `backing`: there is a file, or the kernel has one of this inode already.
    pub(super) fn choose(self, wish: Wish, backing: bool) -> Mode {
        let is_passthrough = self.passthrough > 0;
        match wish {
            Wish::Direct | Wish::ByUs if is_passthrough => Mode::PassthroughDirect,
            Wish::Direct => Mode::Direct,
            Wish::Fast if is_passthrough => Mode::Passthrough,
            Wish::Fast if backing && self.cached == 0 && self.direct == 0 => Mode::Passthrough,
            Wish::Fast | Wish::ByUs => Mode::Cached,
        }
    }

    /// One more.
    pub(super) fn open(&mut self, mode: Mode) {
        *self.count(mode) += 1;
    }

    /// One less.
    pub(super) fn close(&mut self, mode: Mode) {
        let count = self.count(mode);
        debug_assert!(*count > 0, "only an open handle is closed");
        *count = count.saturating_sub(1);
    }

    /// True if the kernel holds a backing file.
    pub(super) fn is_passthrough(self) -> bool {
        self.passthrough > 0
    }

    /// True if no handle is open.
    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }

    fn count(&mut self, mode: Mode) -> &mut u32 {
        match mode {
            Mode::Cached => &mut self.cached,
            Mode::Direct => &mut self.direct,
            Mode::Passthrough | Mode::PassthroughDirect => &mut self.passthrough,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The kernel's side, as `fs/fuse/iomode.c` has it: positive counts handles in the page cache, negative those with a
    /// backing file.
    #[derive(Debug, Default)]
    struct Kernel {
        iocachectr: i32,
        backing: Option<u32>,
    }

    /// `ff->iomode`.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum IoMode {
        None,
        Cached,
        Uncached,
    }

    impl Kernel {
        fn open(&mut self, mode: Mode, backing: u32) -> Result<IoMode, &'static str> {
            let passthrough = matches!(mode, Mode::Passthrough | Mode::PassthroughDirect);
            if self.backing.is_some() && !passthrough {
                return Err("EINVAL: the inode has a backing file");
            }
            if mode == Mode::Direct {
                return Ok(IoMode::None);
            }
            if passthrough {
                if self.backing.is_some_and(|other| other != backing) {
                    return Err("EBUSY: another backing file");
                }
                if self.iocachectr > 0 {
                    return Err("ETXTBSY: the inode is in the page cache");
                }
                self.iocachectr -= 1;
                self.backing = Some(backing);
                return Ok(IoMode::Uncached);
            }
            self.cached()
        }

        fn cached(&mut self) -> Result<IoMode, &'static str> {
            if self.backing.is_some() {
                return Err("ETXTBSY: the inode has a backing file");
            }
            self.iocachectr += 1;
            Ok(IoMode::Cached)
        }

        fn release(&mut self, mode: IoMode) {
            match mode {
                IoMode::None => {}
                IoMode::Cached => self.iocachectr -= 1,
                IoMode::Uncached => {
                    self.iocachectr += 1;
                    if self.iocachectr == 0 {
                        self.backing = None;
                    }
                }
            }
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Open {
            wish: Wish,
            backing: bool,
        },
        /// The kernel lets go; we hear of it later.
        Release(usize),
        /// We hear of the release that is the longest ago.
        Hear,
        /// Maps a direct handle.
        Map(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let wish = prop_oneof![Just(Wish::Fast), Just(Wish::ByUs), Just(Wish::Direct)];
        prop_oneof![
            3 => (wish, any::<bool>()).prop_map(|(wish, backing)| Step::Open { wish, backing }),
            2 => any::<usize>().prop_map(Step::Release),
            2 => Just(Step::Hear),
            1 => any::<usize>().prop_map(Step::Map),
        ]
    }

    proptest! {
        #[test]
        fn no_open_and_no_mapping_is_ever_refused(steps in proptest::collection::vec(step(), 0..200)) {
            let (mut kernel, mut handles) = (Kernel::default(), Handles::default());
            let mut open: Vec<(Mode, IoMode)> = Vec::new();
            let mut unheard = std::collections::VecDeque::new();
            let mut next_backing = 0;
            for step in steps {
                match step {
                    Step::Open { wish, backing } => {
                        // A backing file is registered anew once nobody has the last one.
                        if !handles.is_passthrough() {
                            next_backing += 1;
                        }
                        let mode = handles.choose(wish, backing);
                        handles.open(mode);
                        let is_direct = matches!(mode, Mode::Direct | Mode::PassthroughDirect);
                        prop_assert!(is_direct || wish != Wish::Direct);
                        prop_assert!(mode != Mode::Passthrough || wish == Wish::Fast);
                        let opened = kernel.open(mode, next_backing);
                        prop_assert!(opened.is_ok(), "{:?} as {:?}: {:?}", wish, mode, opened);
                        open.push((mode, opened.unwrap_or(IoMode::None)));
                    }
                    Step::Release(at) if !open.is_empty() => {
                        let (mode, io_mode) = open.swap_remove(at % open.len());
                        kernel.release(io_mode);
                        unheard.push_back(mode);
                    }
                    Step::Hear => {
                        if let Some(mode) = unheard.pop_front() {
                            handles.close(mode);
                        }
                    }
                    Step::Map(at) if !open.is_empty() => {
                        let at = at % open.len();
                        if let (Mode::Direct, IoMode::None) = open[at] {
                            let mapped = kernel.cached();
                            prop_assert!(mapped.is_ok(), "{:?}", mapped);
                            open[at].1 = IoMode::Cached;
                        }
                    }
                    Step::Release(_) | Step::Map(_) => {}
                }
            }
            for (mode, _) in open {
                handles.close(mode);
            }
            for mode in unheard {
                handles.close(mode);
            }
            prop_assert!(handles.is_empty());
        }
    }

    #[test]
    fn the_backing_file_is_taken_when_nobody_else_reads() {
        let mut handles = Handles::default();
        assert_eq!(handles.choose(Wish::Fast, true), Mode::Passthrough);
        handles.open(Mode::Cached);
        assert_eq!(handles.choose(Wish::Fast, true), Mode::Cached);
        handles.close(Mode::Cached);
        handles.open(Mode::Passthrough);
        assert_eq!(handles.choose(Wish::Fast, false), Mode::Passthrough);
        assert_eq!(handles.choose(Wish::Direct, false), Mode::PassthroughDirect);
    }
}
