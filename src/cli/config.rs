//! What the arguments mean: units, defaults, bounds, and every limit of the program in one list.
//!
//! Pure: the environment and the machine are read by [`Surroundings::now`] and handed in.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytesize::ByteSize;

use super::args::MountArgs;
use crate::buffer::MEMORY_BYTES_MIN;
use crate::credentials;
use crate::object::Prefix;
use crate::oss::{Endpoint, SignatureVersion};
use crate::tree::NEGATIVE_TTL_MAX;

/// Default of `--memory`, unless 1/8 of the memory limit is less.
const MEMORY_BYTES_DEFAULT_MAX: u64 = 4 << 30;

/// Every bound of the program, with its reason. All are printed at start in the debug log.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// The farthest one stream is read ahead: 16 requests of 8 MiB, 1.3 GB/s at 100 MB/s a connection and 20 ms.
    pub(super) window_bytes_max: u64,
    /// Read-ahead GETs in flight. Past this OSS gains nothing more on the links that were measured.
    pub(super) ahead_gets_max: usize,
    /// Names and inodes known without being used by the kernel, about 300 bytes each.
    pub(super) cached_entries_max: usize,
    /// Requests of the kernel that may be in flight in the background (its own read-ahead).
    pub(super) max_background: u16,
    /// Threads that take requests from the kernel; hits are answered on them.
    pub(super) fuse_threads: usize,
    /// Threads of the async runtime.
    pub(super) runtime_threads: usize,
}

impl Limits {
    fn for_cores(cores: usize) -> Self {
        Self {
            window_bytes_max: 128 << 20,
            ahead_gets_max: 64,
            cached_entries_max: 100_000,
            max_background: 64,
            fuse_threads: cores.clamp(2, 8),
            runtime_threads: cores.clamp(2, 8),
        }
    }
}

/// What the process finds around it.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    /// `OSS_ENDPOINT`.
    pub(super) oss_endpoint: Option<String>,
    /// The credentials variables.
    pub(super) credentials: credentials::Environment,
    /// The smaller of the machine's memory and the cgroup's limit.
    pub(super) memory_limit: u64,
    /// Cores this process may use.
    pub(super) cores: usize,
    /// The user and group that mount.
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// What relative paths start from.
    pub(super) directory: PathBuf,
}

impl Surroundings {
    /// Reads them.
    pub(super) fn now() -> Self {
        let variable = |name: &str| env::var(name).ok();
        Self {
            oss_endpoint: variable("OSS_ENDPOINT").filter(|value| !value.is_empty()),
            credentials: credentials::Environment::read(variable),
            memory_limit: memory_limit(),
            cores: std::thread::available_parallelism().map_or(2, usize::from),
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            // Without one, relative paths fail when they are used.
            directory: env::current_dir().unwrap_or_default(),
        }
    }
}

/// A mount as it is meant.
#[derive(Debug, Clone)]
pub(super) struct Config {
    pub(super) mountpoint: PathBuf,
    pub(super) bucket: String,
    pub(super) prefix: Prefix,
    pub(super) endpoint: Endpoint,
    pub(super) region: Option<String>,
    pub(super) signature: SignatureVersion,
    pub(super) path_style: bool,
    pub(super) credentials: credentials::Config,
    pub(super) memory_bytes: u64,
    pub(super) attr_ttl: Duration,
    pub(super) negative_ttl: Duration,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) file_mode: u16,
    pub(super) dir_mode: u16,
    pub(super) allow_other: bool,
    pub(super) foreground: bool,
    pub(super) log_file: Option<PathBuf>,
    pub(super) log_level: String,
    pub(super) stats_file: Option<PathBuf>,
    pub(super) limits: Limits,
}

impl Config {
    /// Gives the arguments their meaning.
    pub(super) fn new(args: MountArgs, around: Surroundings) -> Result<Self> {
        let args = args.without_empty();
        // A mount leaves the directory it was started in.
        let absolute = |path: PathBuf| around.directory.join(path);
        let target = Target::parse(args.bucket.as_deref().context(
            "no bucket is given; pass oss://BUCKET[.ENDPOINT][/PREFIX] or set ROLEFS_BUCKET",
        )?)?;
        let endpoint = args
            .endpoint
            .or(target.endpoint)
            .or(around.oss_endpoint)
            .context("no endpoint is given; pass --endpoint or set OSS_ENDPOINT, e.g. oss-cn-hangzhou-internal.aliyuncs.com")?;
        let attr_ttl = duration("--attr-ttl", &args.attr_ttl)?;
        let hold = duration("--hold", &args.hold)?;
        let source = credentials::Source::from_str(&args.credentials).context("--credentials")?;
        let source = match source {
            credentials::Source::File(path) => credentials::Source::File(absolute(path)),
            source => source,
        };
        Ok(Self {
            mountpoint: absolute(args.mountpoint),
            bucket: target.bucket,
            prefix: target.prefix,
            endpoint: Endpoint::from_str(&endpoint).context("--endpoint")?,
            region: args.region,
            signature: SignatureVersion::from_str(&args.signature).context("--signature")?,
            path_style: args.path_style,
            credentials: credentials::Config {
                hold,
                ..credentials::Config::new(source, around.credentials)
            },
            memory_bytes: memory(args.memory.as_deref(), around.memory_limit)?,
            attr_ttl,
            negative_ttl: attr_ttl.min(NEGATIVE_TTL_MAX),
            uid: args.uid.unwrap_or(around.uid),
            gid: args.gid.unwrap_or(around.gid),
            file_mode: mode("--file-mode", &args.file_mode)?,
            dir_mode: mode("--dir-mode", &args.dir_mode)?,
            allow_other: args.allow_other,
            foreground: args.foreground,
            log_file: args.log_file.map(absolute),
            log_level: args.log_level,
            stats_file: args.stats_file.map(absolute),
            limits: Limits::for_cores(around.cores),
        })
    }
}

/// `oss://BUCKET[.ENDPOINT][/PREFIX]`, taken apart. A bucket's name has no dot, so the first one ends it.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    bucket: String,
    endpoint: Option<String>,
    prefix: Prefix,
}

impl Target {
    fn parse(text: &str) -> Result<Self> {
        let rest = match text.split_once("://") {
            Some(("oss", rest)) => rest,
            Some((scheme, _)) => {
                bail!("{scheme}:// is not oss://; write oss://BUCKET[.ENDPOINT][/PREFIX]")
            }
            None => text,
        };
        ensure!(
            !rest.contains('?'),
            "{text}: a query is not supported; pass --endpoint instead"
        );
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let (bucket, endpoint) = match host.split_once('.') {
            Some((bucket, endpoint)) => (bucket, Some(endpoint.to_owned())),
            None => (host, None),
        };
        ensure!(
            !bucket.is_empty(),
            "{text}: the bucket's name is missing; write oss://BUCKET[.ENDPOINT][/PREFIX]"
        );
        let mut prefix = prefix.to_owned();
        if !prefix.is_empty() && !prefix.ends_with('/') {
            prefix.push('/');
        }
        ensure!(
            prefix
                .split_terminator('/')
                .all(|part| !matches!(part, "" | "." | "..")),
            "{text}: a prefix has no empty, '.' or '..' part"
        );
        Ok(Self {
            bucket: bucket.to_owned(),
            endpoint,
            prefix: Prefix::new(prefix)?,
        })
    }
}

fn duration(flag: &str, text: &str) -> Result<Duration> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let parsed = text
        .parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .with_context(|| {
            format!("{flag} {text}: not a duration; write for instance 500ms, 30s or 2min")
        })?;
    ensure!(
        parsed <= Duration::from_secs(86_400),
        "{flag} {text}: at most 24h"
    );
    Ok(parsed)
}

fn mode(flag: &str, text: &str) -> Result<u16> {
    u16::from_str_radix(text, 8)
        .ok()
        .filter(|&mode| mode <= 0o777)
        .with_context(|| format!("{flag} {text}: not permission bits; write for instance 0644"))
}

fn memory(flag: Option<&str>, limit: u64) -> Result<u64> {
    let Some(text) = flag else {
        return Ok((limit / 8).clamp(MEMORY_BYTES_MIN, MEMORY_BYTES_DEFAULT_MAX));
    };
    let bytes = text
        .parse::<ByteSize>()
        .map_err(|_| anyhow::anyhow!("--memory {text}: not a size; write for instance 512MiB"))?
        .as_u64();
    ensure!(
        bytes >= MEMORY_BYTES_MIN,
        "--memory {text}: at least {}",
        ByteSize::b(MEMORY_BYTES_MIN).display().iec()
    );
    Ok(bytes)
}

/// The smaller of the machine's memory and the limits of the cgroup and its parents (v2, then v1).
fn memory_limit() -> u64 {
    let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let total = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            text.lines()
                .next()?
                .split_whitespace()
                .nth(1)?
                .parse::<u64>()
                .ok()
        })
        .map_or(8 << 30, |kib| kib * 1024);
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut limit = total;
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // In a container the path may be the host's; the mount's own root then holds our limit.
        let own = PathBuf::from(root).join(path.trim_start_matches('/'));
        for directory in own
            .ancestors()
            .take_while(|directory| directory.starts_with(root))
        {
            limit = limit.min(number(directory.join(file)).unwrap_or(u64::MAX));
        }
    }
    limit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target::parse(text).expect("well-formed")
    }

    #[test]
    fn a_target_is_bucket_endpoint_and_prefix() {
        let full = target("oss://b.oss-cn-beijing-internal.aliyuncs.com/data/train");
        assert_eq!(full.bucket, "b");
        assert_eq!(
            full.endpoint.as_deref(),
            Some("oss-cn-beijing-internal.aliyuncs.com")
        );
        assert_eq!(full.prefix.as_str(), "data/train/");
        assert_eq!(target("oss://b").prefix, Prefix::root());
        assert_eq!(target("b/x/").prefix.as_str(), "x/");
    }

    #[test]
    fn a_bad_target_is_named_with_its_remedy() {
        for bad in [
            "s3://b",
            "oss://",
            "oss:///x",
            "oss://b/a/../c",
            "oss://b?x=1",
            "oss://b/a//c",
        ] {
            let error = Target::parse(bad).expect_err(bad).to_string();
            assert!(!error.contains('\n') && error.len() > 10, "{error}");
        }
    }

    #[test]
    fn durations_have_units_and_a_bound() {
        assert_eq!(
            duration("--hold", "2min").ok(),
            Some(Duration::from_secs(120))
        );
        assert_eq!(
            duration("--hold", "500ms").ok(),
            Some(Duration::from_millis(500))
        );
        assert_eq!(duration("--hold", "0").ok(), Some(Duration::ZERO));
        assert_eq!(duration("--hold", "0s").ok(), Some(Duration::ZERO));
        for bad in ["", "soon", "-1s", "25h", "12"] {
            assert!(duration("--hold", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn memory_has_a_minimum_and_a_default() {
        assert_eq!(memory(None, 64 << 30).ok(), Some(4 << 30));
        assert_eq!(memory(None, 8 << 30).ok(), Some(1 << 30));
        assert_eq!(memory(None, 1 << 20).ok(), Some(MEMORY_BYTES_MIN));
        assert_eq!(memory(Some("512MiB"), 0).ok(), Some(512 << 20));
        let below = (MEMORY_BYTES_MIN - 1).to_string();
        assert!(memory(Some(&below), 0).is_err());
        assert!(memory(Some(&MEMORY_BYTES_MIN.to_string()), 0).is_ok());
        assert!(memory(Some("much"), 0).is_err());
    }

    #[test]
    fn modes_are_octal_permission_bits() {
        assert_eq!(mode("--file-mode", "0640").ok(), Some(0o640));
        assert!(mode("--file-mode", "0888").is_err());
        assert!(mode("--file-mode", "1777").is_err());
    }
}
