//! `null`: a FUSE file system that answers from memory.
//!
//! With `--writable` files can be created in a directory `new`, and what is written to them is copied once, as a program that keeps it must, and
//! forgotten: the calls that a small file costs, and nothing of what is done with it.
//!
//! It shows one file `big.bin`, files `shard-0.bin`, `shard-1.bin`, … and a directory `small` with files `000000.bin`,
//! `000001.bin`, …: the names that `scripts/bench.sh` gives to its objects. All show the same bytes. It is set up as the mount means to be (two threads,
//! reads of 1 MiB, no FLUSH, page cache kept), so that the difference between both is the mount's own work.
//!
//! This is the one place besides the `fuse` room that names fuser: a yardstick that went through our own door would
//! measure the door with itself.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context as _;
use bytesize::ByteSize;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request,
    WriteFlags,
};
use memmap2::{Advice, MmapMut};
use tokio::signal::unix::{SignalKind, signal};

use crate::report::{Report, Stopwatch};

/// Largest READ that the kernel sends without a raised `max_pages_limit`: 256 pages.
const READ_BYTES_MAX: u32 = 1 << 20;
/// Bytes of the content that is shown again and again: more than the processor's caches hold, as real content is.
const PATTERN_BYTES: usize = 64 << 20;
/// How long the kernel may believe names and attributes: nothing here changes.
const TTL: Duration = Duration::from_secs(3600);

const BIG: u64 = 2;
const SMALL_DIR: u64 = 3;
const SHARD_FIRST: u64 = 4;
/// Bound of `--shards`.
const SHARDS_MAX: u64 = 12;
const SMALL_FIRST: u64 = SHARD_FIRST + SHARDS_MAX;
const NEW_DIR: u64 = 1 << 32;

/// What to serve.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An empty directory.
    mountpoint: PathBuf,
    /// Bytes of `big.bin`.
    #[arg(long, default_value = "1GiB")]
    size: ByteSize,
    /// How many more large files, at most 12.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=SHARDS_MAX))]
    shards: u64,
    /// Bytes of each.
    #[arg(long, default_value = "1GiB")]
    shard_size: ByteSize,
    /// How many small files.
    #[arg(long, default_value_t = 0)]
    files: u64,
    /// Bytes of each small file.
    #[arg(long, default_value = "100KiB")]
    file_size: ByteSize,
    /// Have a directory `new`, in which files can be created.
    #[arg(long)]
    writable: bool,
    /// Answer every open with FOPEN_DIRECT_IO, so that reads bypass the page cache.
    #[arg(long)]
    direct: bool,
    /// How far the kernel reads ahead, in KiB; its own default is 128.
    #[arg(long, default_value_t = READ_BYTES_MAX / 1024)]
    read_ahead: u32,
}

/// Serves until SIGTERM or SIGINT; then the report tells the CPU time (bytes and operations are 0: the reader counts).
///
/// # Errors
/// If the mount cannot be made.
pub(crate) fn run(args: &Args) -> anyhow::Result<Report> {
    let mut pattern = MmapMut::map_anon(PATTERN_BYTES + READ_BYTES_MAX as usize)?;
    // Answers from 4 KiB pages cost the daemon half as much again; a kernel without huge pages serves all the same.
    let _ = pattern.advise(Advice::HugePage);
    fastrand::Rng::with_seed(1).fill(&mut pattern);
    let null = Null {
        pattern,
        size: args.size.0,
        shards: args.shards,
        shard_size: args.shard_size.0,
        files: args.files,
        file_size: args.file_size.0,
        writable: args.writable,
        created: AtomicU64::new(0),
        opened: FopenFlags::FOPEN_NOFLUSH
            | if args.direct {
                FopenFlags::FOPEN_DIRECT_IO
            } else {
                FopenFlags::FOPEN_KEEP_CACHE
            },
    };
    let mut config = fuser::Config::default();
    config.mount_options = vec![MountOption::FSName("null".to_owned())];
    if !args.writable {
        config.mount_options.push(MountOption::RO);
    }
    config.n_threads = Some(2);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Signals first: one that comes while mounting must not leave the mount behind.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let session = fuser::spawn_mount(null, &args.mountpoint, &config)
            .with_context(|| format!("cannot mount on {}", args.mountpoint.display()))?;
        set_read_ahead(&args.mountpoint, args.read_ahead);
        let watch = Stopwatch::start()?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let report = watch.stop(0, 0);
        drop(session);
        report
    })
}

/// Says how far the kernel asks ahead: its offer at INIT is 128 KiB, and only sysfs raises it. Without the right to,
/// reads are smaller.
fn set_read_ahead(mountpoint: &Path, kib: u32) {
    let Ok(metadata) = mountpoint.metadata() else {
        return;
    };
    let (major, minor) = (libc::major(metadata.dev()), libc::minor(metadata.dev()));
    let path = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    if let Err(error) = std::fs::write(&path, kib.to_string()) {
        eprintln!("rolefs-bench: reads stay small: cannot write {path}: {error}");
    }
}

struct Null {
    pattern: MmapMut,
    size: u64,
    shards: u64,
    shard_size: u64,
    files: u64,
    file_size: u64,
    writable: bool,
    created: AtomicU64,
    opened: FopenFlags,
}

impl Null {
    /// Attributes of an inode, `None` if there is no such inode.
    fn attributes(&self, ino: INodeNo) -> Option<FileAttr> {
        let (kind, size) = match u64::from(ino) {
            1 | SMALL_DIR => (FileType::Directory, 0),
            NEW_DIR if self.writable => (FileType::Directory, 0),
            // The kernel knows how long it is by now.
            new if new > NEW_DIR => (FileType::RegularFile, 0),
            BIG => (FileType::RegularFile, self.size),
            shard if (SHARD_FIRST..SHARD_FIRST + self.shards).contains(&shard) => {
                (FileType::RegularFile, self.shard_size)
            }
            small if (SMALL_FIRST..SMALL_FIRST + self.files).contains(&small) => {
                (FileType::RegularFile, self.file_size)
            }
            _ => return None,
        };
        Some(FileAttr {
            ino,
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: if kind == FileType::Directory {
                0o755
            } else {
                0o644
            },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: READ_BYTES_MAX,
            flags: 0,
        })
    }

    /// The inode of a name.
    fn find(&self, parent: INodeNo, name: &OsStr) -> Option<INodeNo> {
        match (u64::from(parent), name.to_str()?) {
            (1, "big.bin") => Some(INodeNo(BIG)),
            (1, "small") => Some(INodeNo(SMALL_DIR)),
            (1, "new") => Some(INodeNo(NEW_DIR)),
            (1, name) => {
                let number: u64 = name
                    .strip_prefix("shard-")?
                    .strip_suffix(".bin")?
                    .parse()
                    .ok()?;
                (number < self.shards && name == shard_name(number))
                    .then_some(INodeNo(SHARD_FIRST + number))
            }
            (SMALL_DIR, name) => {
                let number: u64 = name.strip_suffix(".bin")?.parse().ok()?;
                (number < self.files && name == small_name(number))
                    .then_some(INodeNo(SMALL_FIRST + number))
            }
            _ => None,
        }
    }

    /// The entry of a directory at a place, and its name. `.` and `..` are left out: the kernel needs neither.
    fn entry(&self, directory: INodeNo, place: u64) -> Option<(INodeNo, String)> {
        match (u64::from(directory), place) {
            (1, 0) => Some((INodeNo(BIG), "big.bin".to_owned())),
            (1, 1) => Some((INodeNo(SMALL_DIR), "small".to_owned())),
            (1, place) if place - 2 < self.shards => {
                Some((INodeNo(SHARD_FIRST + place - 2), shard_name(place - 2)))
            }
            (SMALL_DIR, number) if number < self.files => {
                Some((INodeNo(SMALL_FIRST + number), small_name(number)))
            }
            _ => None,
        }
    }
}

fn shard_name(number: u64) -> String {
    format!("shard-{number}.bin")
}

fn small_name(number: u64) -> String {
    format!("{number:06}.bin")
}

impl Filesystem for Null {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // What the kernel lacks it says in the error, and the rest still holds: each is asked for alone.
        for flag in [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_ASYNC_DIO,
        ] {
            let _ = config.add_capabilities(flag);
        }
        // The error is the nearest value that is possible, and it is in force.
        let _ = config.set_max_write(READ_BYTES_MAX);
        let _ = config.set_max_background(64);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.find(parent, name).and_then(|ino| self.attributes(ino));
        match found {
            Some(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), self.opened);
    }

    fn read(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let file_size = self.attributes(ino).map_or(0, |attributes| attributes.size);
        let len = u64::from(size.min(READ_BYTES_MAX)).min(file_size.saturating_sub(offset));
        let start = offset % PATTERN_BYTES as u64;
        let range =
            usize::try_from(start).and_then(|start| Ok(start..start + usize::try_from(len)?));
        match range.ok().and_then(|range| self.pattern.get(range)) {
            Some(data) => reply.data(data),
            None => reply.error(Errno::EIO),
        }
    }

    fn create(
        &self,
        _request: &Request,
        parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let ino = INodeNo(NEW_DIR + 1 + self.created.fetch_add(1, Ordering::Relaxed));
        match self.attributes(ino) {
            Some(attributes) if parent == INodeNo(NEW_DIR) => {
                let opened = FopenFlags::empty();
                reply.created(&TTL, &attributes, Generation(0), FileHandle(0), opened);
            }
            Some(_) | None => reply.error(Errno::EACCES),
        }
    }

    fn write(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let kept = std::hint::black_box(data.to_vec());
        reply.written(u32::try_from(kept.len()).unwrap_or(u32::MAX));
    }

    fn flush(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn readdir(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        for place in offset.. {
            let Some((child, name)) = self.entry(ino, place) else {
                break;
            };
            let kind = self
                .attributes(child)
                .map_or(FileType::RegularFile, |attributes| attributes.kind);
            if reply.add(child, place + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn readdirplus(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        for place in offset.. {
            let entry = self.entry(ino, place);
            let Some((child, name, attributes)) =
                entry.and_then(|(child, name)| Some((child, name, self.attributes(child)?)))
            else {
                break;
            };
            if reply.add(child, place + 1, name, &TTL, &attributes, Generation(0)) {
                break;
            }
        }
        reply.ok();
    }
}
