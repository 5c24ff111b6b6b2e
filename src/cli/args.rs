//! What was typed: flags, and the environment variables that stand in for them.

use std::path::PathBuf;

use clap::builder::{BoolishValueParser, OsStringValueParser, TypedValueParser};
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use super::bench::BenchArgs;
use super::control::{InvalidateArgs, LogLevelArgs};
use super::credentials::{CredentialsArgs, SourceArgs};
use super::doctor::DoctorArgs;
use super::generate::GenerateArgs;
use super::run::{RUN_HELP, RunCommand};
use super::settings::{ConfigCommand, PROFILES};
use super::status::StatusArgs;

/// Mounts the object-storage bucket of a job's RAM role as a directory.
#[derive(Debug, Parser)]
#[command(name = "rolefs", version, about, max_term_width = 100)]
pub(super) struct Args {
    /// Read options from this TOML file alone, instead of /etc/rolefs/config.toml and ~/.config/rolefs/config.toml.
    #[arg(long, global = true, env = "ROLEFS_CONFIG", value_name = "FILE", value_parser = path())]
    pub(super) config: Option<PathBuf>,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Mount a bucket, and return once the mount answers.
    Mount(Box<MountCommand>),
    /// Mount a bucket, run a command, store what it has written, and unmount.
    #[command(after_long_help = RUN_HELP)]
    Run(Box<RunCommand>),
    /// End a mount.
    Umount(UmountArgs),
    /// Read files through a mount, so that what is read next is there already.
    Warm(WarmArgs),
    /// Give up unfinished uploads that crashed mounts have left in a bucket.
    Cleanup(Box<CleanupArgs>),
    /// List, restore or drop what a crashed mount has left unstored in its staging directory.
    Recover(Box<RecoverArgs>),
    /// Show the credentials that a mount would use, or give them to other programs.
    Credentials(Box<CredentialsArgs>),
    /// Measure what this machine and a bucket reach, through a mount and by plain requests.
    Bench(BenchArgs),
    /// Look at the options of a command and where their values are from, or at a file that sets them.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show how a mount stands: throughput, hit rates, what is staged, what is slow.
    Status(StatusArgs),
    /// Have paths of a mount asked for again: their names and their cached blocks.
    Invalidate(InvalidateArgs),
    /// Change what a mount logs.
    LogLevel(LogLevelArgs),
    /// Check everything that a mount needs, in order, and say what mends what is wrong.
    Doctor(Box<DoctorArgs>),
    /// Write completions of a shell to standard output, or manual pages into a directory.
    #[command(hide = true)]
    Generate(GenerateArgs),
}

/// `rolefs mount`.
#[derive(Debug, Clone, ClapArgs)]
pub(super) struct MountCommand {
    /// Directory to mount on; it must exist. Or /dev/fd/N, a descriptor of /dev/fuse that the caller has mounted and hands over.
    pub(super) mountpoint: PathBuf,

    /// Stay in the foreground, for supervisors; log to the terminal.
    #[arg(long, env = "ROLEFS_FOREGROUND", value_parser = BoolishValueParser::new())]
    pub(super) foreground: bool,

    #[command(flatten)]
    pub(super) mount: MountArgs,
}

/// What is mounted, and how. Sizes are written `512MiB`, durations `30s` or `2min`.
#[derive(Debug, Clone, ClapArgs)]
pub(super) struct MountArgs {
    /// Bucket to mount; with its endpoint, if --endpoint does not say it, and with the directory to show as the root.
    #[arg(env = "ROLEFS_BUCKET", value_name = "oss://BUCKET[.ENDPOINT][/PREFIX]")]
    pub(super) bucket: Option<String>,

    /// Set TTLs, limits and modes together for a kind of data: what nobody changes, what must be stored and seen at once, or what
    /// is only of this mount.
    #[arg(
        long,
        env = "ROLEFS_PROFILE",
        value_name = "dataset|checkpoint|scratch",
        value_parser = PROFILES,
        hide_possible_values = true
    )]
    pub(super) profile: Option<String>,

    #[command(flatten)]
    pub(super) connection: ConnectionArgs,

    /// Memory for cached, prefetched and in-flight bytes; at least 16MiB; by default 1/8 of the memory limit, at most 4GiB.
    #[arg(long, env = "ROLEFS_MEMORY", value_name = "SIZE")]
    pub(super) memory: Option<String>,

    /// Keep what was read in this directory, over restarts and for all mounts of this host; made if it is not there.
    #[arg(long, env = "ROLEFS_CACHE_DIR", value_name = "DIR", value_parser = path())]
    pub(super) cache_dir: Option<PathBuf>,

    /// Room for --cache-dir; at least 64MiB; by default half of what is free there, what it already takes included.
    #[arg(long, env = "ROLEFS_CACHE_SIZE", value_name = "SIZE")]
    pub(super) cache_size: Option<String>,

    /// Requests to OSS per second, all kinds together; by default as many as help. For a bucket that others need too.
    #[arg(long, env = "ROLEFS_MAX_QPS", value_name = "N")]
    pub(super) max_qps: Option<String>,

    /// Bytes received from OSS per second, and as many sent, e.g. 500MiB; by default as many as come.
    #[arg(long, env = "ROLEFS_MAX_BANDWIDTH", value_name = "SIZE")]
    pub(super) max_bandwidth: Option<String>,

    /// How old attributes may be when a file is opened; 0 checks at every open.
    #[arg(
        long,
        env = "ROLEFS_ATTR_TTL",
        default_value = "1s",
        value_name = "DURATION"
    )]
    pub(super) attr_ttl: String,

    /// Fetch the files that this file names, one path relative to the mount a line, ahead of whoever reads them in that order.
    ///
    /// Empty lines and lines that begin with # are skipped; files that are not there are counted in the log.
    #[arg(long, env = "ROLEFS_PREFETCH_LIST", value_name = "PATH", value_parser = path())]
    pub(super) prefetch_list: Option<PathBuf>,

    /// Data that never changes, by paths from the mount's root such as 'imagenet/**': its attributes are not checked
    /// again. May be repeated; in the variable, patterns are separated by colons.
    #[arg(long, env = "ROLEFS_IMMUTABLE", value_name = "GLOB")]
    pub(super) immutable: Vec<String>,

    /// Files that are read past the kernel's page cache, such as '**/*.tar': what is read once needs no cache. May be
    /// repeated; in the variable, patterns are separated by colons.
    #[arg(long, env = "ROLEFS_DIRECT", value_name = "GLOB")]
    pub(super) direct: Vec<String>,

    /// Names to keep at most, of 200 bytes each; the kernel is asked to forget what is more.
    #[arg(
        long,
        env = "ROLEFS_MAX_CACHED_NAMES",
        default_value = "200000",
        value_name = "N"
    )]
    pub(super) max_cached_names: String,

    /// Owner of all files; by default the user that mounts.
    #[arg(long, env = "ROLEFS_UID")]
    pub(super) uid: Option<u32>,

    /// Group of all files; by default the group that mounts.
    #[arg(long, env = "ROLEFS_GID")]
    pub(super) gid: Option<u32>,

    /// Permission bits of files, octal.
    #[arg(
        long,
        env = "ROLEFS_FILE_MODE",
        default_value = "0644",
        value_name = "MODE"
    )]
    pub(super) file_mode: String,

    /// Permission bits of directories, octal.
    #[arg(
        long,
        env = "ROLEFS_DIR_MODE",
        default_value = "0755",
        value_name = "MODE"
    )]
    pub(super) dir_mode: String,

    /// Refuse every change with EROFS.
    #[arg(long, env = "ROLEFS_READ_ONLY", value_parser = BoolishValueParser::new())]
    pub(super) read_only: bool,

    /// What a commit does if somebody else has changed the object since it was opened: fail, or overwrite.
    #[arg(
        long,
        env = "ROLEFS_ON_CONFLICT",
        default_value = "fail",
        value_name = "fail|overwrite"
    )]
    pub(super) on_conflict: String,

    /// Who decides O_EXCL: local, among the names that this mount knows, or remote, OSS itself, by two more requests.
    #[arg(
        long,
        env = "ROLEFS_EXCLUSIVE_CREATE",
        default_value = "local",
        value_name = "local|remote"
    )]
    pub(super) exclusive_create: String,

    /// Keep written bytes in this directory until they are stored, so that they survive a crash (rolefs recover), and there is room for more than memory
    /// has; made if it is not there.
    #[arg(long, env = "ROLEFS_STAGING_DIR", value_name = "DIR", value_parser = path())]
    pub(super) staging_dir: Option<PathBuf>,

    /// Room for --staging-dir; at least 64MiB, by default 64GiB.
    #[arg(long, env = "ROLEFS_STAGING_SIZE", value_name = "SIZE")]
    pub(super) staging_size: Option<String>,

    /// Let other users than the one that mounts use the mount.
    #[arg(long, env = "ROLEFS_ALLOW_OTHER", value_parser = BoolishValueParser::new())]
    pub(super) allow_other: bool,

    /// Write the log here; in the background by default to a file in the temporary directory.
    #[arg(long, env = "ROLEFS_LOG_FILE", value_name = "PATH", value_parser = path())]
    pub(super) log_file: Option<PathBuf>,

    /// How much to log: error, warn, info, debug or trace, or a filter such as rolefs::oss=debug.
    #[arg(
        long,
        env = "ROLEFS_LOG_LEVEL",
        default_value = "info",
        value_name = "LEVEL"
    )]
    pub(super) log_level: String,

    /// How a line of the log looks: human, or json with an object a line.
    #[arg(
        long,
        env = "ROLEFS_LOG_FORMAT",
        default_value = "human",
        value_name = "human|json"
    )]
    pub(super) log_format: String,

    /// Begin the log file anew when it has this many bytes; 0 never does.
    #[arg(
        long,
        env = "ROLEFS_LOG_SIZE",
        default_value = "64MiB",
        value_name = "SIZE"
    )]
    pub(super) log_size: String,

    /// Old log files to keep, as PATH.1, PATH.2 and so on.
    #[arg(
        long,
        env = "ROLEFS_LOG_KEEP",
        default_value_t = 3,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(..=100)
    )]
    pub(super) log_keep: u16,
    /// Answer http://ADDR/metrics for Prometheus, and /healthz for probes; a port alone is one of 127.0.0.1.
    #[arg(long, env = "ROLEFS_METRICS", value_name = "[ADDR:]PORT")]
    pub(super) metrics: Option<String>,

    /// Directory for the socket that rolefs status asks; by default XDG_RUNTIME_DIR, /run, or the temporary directory.
    #[arg(long, env = "ROLEFS_CONTROL_DIR", value_name = "DIR", value_parser = path())]
    pub(super) control_dir: Option<PathBuf>,

    /// Log operations that take this long, with path or key and request id; 0 for none.
    #[arg(
        long,
        env = "ROLEFS_SLOW_AFTER",
        default_value = "5s",
        value_name = "DURATION"
    )]
    pub(super) slow_after: String,

    /// Write the mount's metrics here when it ends, as Prometheus text.
    #[arg(long, env = "ROLEFS_STATS_FILE", value_name = "PATH", value_parser = path())]
    pub(super) stats_file: Option<PathBuf>,
}

/// A path that may be empty, which clap's own refuses.
pub(super) fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

impl MountArgs {
    /// Takes flags that are empty for absent: a startup command writes `--region "$REGION"` whether or not there is a region.
    pub(super) fn without_empty(mut self) -> Self {
        self.connection = self.connection.without_empty();
        for text in [
            &mut self.bucket,
            &mut self.memory,
            &mut self.cache_size,
            &mut self.staging_size,
            &mut self.max_qps,
            &mut self.max_bandwidth,
            &mut self.metrics,
        ] {
            text.take_if(|text| text.is_empty());
        }
        for patterns in [&mut self.immutable, &mut self.direct] {
            patterns.retain(|pattern| !pattern.is_empty());
        }
        for path in [
            &mut self.log_file,
            &mut self.stats_file,
            &mut self.control_dir,
            &mut self.cache_dir,
            &mut self.staging_dir,
            &mut self.prefetch_list,
        ] {
            path.take_if(|path| path.as_os_str().is_empty());
        }
        self
    }
}

/// How a bucket is reached: what all commands that ask OSS share.
#[derive(Debug, Clone, ClapArgs)]
pub(super) struct ConnectionArgs {
    /// Where OSS is, e.g. oss-cn-hangzhou-internal.aliyuncs.com; https unless http:// is written. Also from OSS_ENDPOINT.
    #[arg(long, env = "ROLEFS_ENDPOINT", value_name = "URL|HOST")]
    pub(super) endpoint: Option<String>,

    /// Region id for V4 signatures, e.g. cn-hangzhou; by default taken from the endpoint.
    #[arg(long, env = "ROLEFS_REGION")]
    pub(super) region: Option<String>,

    #[command(flatten)]
    pub(super) source: SourceArgs,

    /// Signature version, v4 or v1. V1 only for endpoints that know no V4.
    #[arg(
        long,
        env = "ROLEFS_SIGNATURE",
        default_value = "v4",
        value_name = "v4|v1"
    )]
    pub(super) signature: String,

    /// Address the bucket in the path instead of the host name. Always on for an endpoint that is an IP address.
    #[arg(long, env = "ROLEFS_PATH_STYLE", value_parser = BoolishValueParser::new())]
    pub(super) path_style: bool,

    /// How long requests wait for credentials that have run out before they fail.
    #[arg(
        long,
        env = "ROLEFS_HOLD",
        default_value = "2min",
        value_name = "DURATION"
    )]
    pub(super) hold: String,

    /// How long a request to OSS is tried while nothing moves, as when the network is gone, before it fails.
    #[arg(
        long,
        env = "ROLEFS_RETRY_FOR",
        default_value = "1min",
        value_name = "DURATION"
    )]
    pub(super) retry_for: String,
}

/// Lists unfinished uploads of crashed mounts, and gives up the old ones.
///
/// Only uploads that rolefs has marked as its own are touched (part number 10,000 of each tells). The mark does not tell whether the mount
/// still lives, and giving up an upload that a living mount needs loses data: only --older-than protects it. So let it be longer than any file
/// of yours stays open for writing. What others have begun is left alone and counted; so is what was begun by a mount that died before its
/// first part was up.
#[derive(Debug, ClapArgs)]
pub(super) struct CleanupArgs {
    /// Bucket, and the directory below which uploads are looked for.
    #[arg(env = "ROLEFS_BUCKET", value_name = "oss://BUCKET[.ENDPOINT][/PREFIX]")]
    pub(super) bucket: Option<String>,

    #[command(flatten)]
    pub(super) connection: ConnectionArgs,

    /// How long ago an upload must have been begun to be given up, e.g. 36h or 7d.
    #[arg(long, default_value = "7d", value_name = "DURATION")]
    pub(super) older_than: String,

    /// Only say what would be done.
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl ConnectionArgs {
    /// As [`MountArgs::without_empty`].
    pub(super) fn without_empty(mut self) -> Self {
        for text in [&mut self.endpoint, &mut self.region] {
            text.take_if(|text| text.is_empty());
        }
        self
    }
}

/// Lists, restores or drops what a crashed mount has left unstored in its staging directory.
///
/// Files that were stored (by close or fsync) are in the bucket and not here; what was written later is, unless the mount had no --staging-dir.
/// Files of mounts that live are left alone.
#[derive(Debug, ClapArgs)]
pub(super) struct RecoverArgs {
    /// The --staging-dir of the mount.
    #[arg(long, env = "ROLEFS_STAGING_DIR", value_name = "DIR", value_parser = path())]
    pub(super) staging_dir: PathBuf,

    /// list: what is there. restore: store it in the bucket, and remove it here. drop: only remove it.
    #[arg(default_value = "list")]
    pub(super) action: RecoverAction,

    /// Only files of these keys.
    pub(super) keys: Vec<String>,

    /// Restore into this directory, below which each file is named by its key, instead of the bucket. This is the way for files whose object somebody
    /// else has changed since: what they need of the old one, and is gone, is zeros there, and told.
    #[arg(long, value_name = "DIR", value_parser = path())]
    pub(super) to: Option<PathBuf>,

    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

/// What [`RecoverArgs`] ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum RecoverAction {
    List,
    Restore,
    Drop,
}

#[derive(Debug, ClapArgs)]
pub(super) struct UmountArgs {
    /// The directory that a bucket is mounted on.
    pub(super) mountpoint: PathBuf,

    /// Take the mount out of the tree now and end it when its last file is closed.
    #[arg(long)]
    pub(super) lazy: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct WarmArgs {
    /// Files, and directories with all that is below them.
    #[arg(required = true)]
    pub(super) paths: Vec<PathBuf>,

    /// Files read at the same time, 1 to 256.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) jobs: u16,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn an_empty_value_is_an_absent_one() {
        let typed = [
            "rolefs",
            "mount",
            "--region=",
            "--endpoint=",
            "--memory=",
            "--log-file=",
            "/mnt",
            "",
        ];
        let Command::Mount(args) = Args::parse_from(typed).command else {
            panic!("mount was typed");
        };
        let args = args.mount.without_empty();
        assert_eq!(
            (
                args.bucket,
                args.connection.endpoint,
                args.connection.region,
                args.memory
            ),
            (None, None, None, None)
        );
        assert_eq!(args.log_file, None);
    }
}
