//! A safetensors file through a mapping, as frameworks load models.

use std::collections::HashMap;
use std::fs::File;
use std::hint::black_box;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use memmap2::Mmap;
use serde::Deserialize;

use super::ContextOf as _;
use crate::report::{Report, Stopwatch};

/// One byte of each page is read: what a mapping costs is its faults, not the copying behind them.
const PAGE_BYTES: usize = 4096;
/// The format's own bound of a header.
const HEADER_BYTES_MAX: u64 = 100_000_000;

/// Order of the tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    /// As they lie in the file.
    File,
    /// Shuffled.
    Random,
}

/// Touches every page of every tensor; operations are tensors. Reading the header is not counted.
pub(super) fn touch(path: &Path, header: &Path, order: Order, seed: u64) -> anyhow::Result<Report> {
    let mut tensors = tensors(File::open(header).context_of(header)?)
        .with_context(|| format!("{} is no safetensors file", header.display()))?;
    if order == Order::Random {
        fastrand::Rng::with_seed(seed).shuffle(&mut tensors);
    }
    let watch = Stopwatch::start()?;
    let mapping = map(path)?;
    let (mut bytes, mut sum) = (0, 0_u64);
    for range in &tensors {
        let tensor = mapping.get(range.clone());
        let tensor = tensor.with_context(|| format!("{} is too short", path.display()))?;
        for page in tensor.chunks(PAGE_BYTES) {
            sum = sum.wrapping_add(u64::from(page[0]));
        }
        bytes += tensor.len() as u64;
    }
    black_box(sum);
    watch.stop(bytes, tensors.len() as u64)
}

#[expect(unsafe_code, reason = "memory-mapped reading is what is measured")]
fn map(path: &Path) -> anyhow::Result<Mmap> {
    let file = File::open(path).context_of(path)?;
    // SAFETY: the benchmark's files are written before and changed by nobody while it runs. Were one cut, this process
    // would die of SIGBUS, which its parent reports.
    unsafe { Mmap::map(&file) }.context_of(path)
}

/// Where the tensors lie in the file, in the file's order.
fn tensors(mut file: impl std::io::Read) -> anyhow::Result<Vec<Range<usize>>> {
    #[derive(Deserialize)]
    struct Tensor {
        data_offsets: [usize; 2],
    }
    let mut len = [0; 8];
    file.read_exact(&mut len).context("no length")?;
    let len = u64::from_le_bytes(len);
    ensure!(len <= HEADER_BYTES_MAX, "a header of {len} bytes");
    let mut text = Vec::new();
    file.take(len).read_to_end(&mut text)?;
    let entries: HashMap<String, serde_json::Value> = serde_json::from_slice(&text)?;
    let data = usize::try_from(len)? + 8;
    let mut ranges = Vec::new();
    for (name, value) in entries {
        if name != "__metadata__" {
            let [start, end] = serde_json::from_value::<Tensor>(value)?.data_offsets;
            ranges.push(data + start..data + end);
        }
    }
    ranges.sort_unstable_by_key(|range| range.start);
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let len = (header.len() as u64).to_le_bytes();
        [&len, header.as_bytes(), &vec![1; data]].concat()
    }

    #[test]
    fn tensors_lie_behind_the_header_in_the_order_of_the_file() {
        let header = r#"{"b":{"dtype":"U8","shape":[2],"data_offsets":[10,12]},"__metadata__":{"x":"y"},"a":{"dtype":"U8","shape":[10],"data_offsets":[0,10]}}"#;
        let data = header.len() + 8;
        let found = tensors(file(header, 12).as_slice()).expect("a header");
        assert_eq!(found, [data..data + 10, data + 10..data + 12]);
        assert!(tensors([0xff; 8].as_slice()).is_err());
        assert!(tensors(file("no JSON", 0).as_slice()).is_err());
    }

    #[test]
    fn every_tensor_is_touched_in_both_orders() {
        let header = r#"{"a":{"dtype":"U8","shape":[9000],"data_offsets":[0,9000]},"b":{"dtype":"U8","shape":[1],"data_offsets":[9000,9001]}}"#;
        let path = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(path.path(), file(header, 9001)).expect("room on the disk");
        for order in [Order::File, Order::Random] {
            let report = touch(path.path(), path.path(), order, 1).expect("readable");
            assert_eq!((report.operations, report.bytes), (2, 9001));
        }
        let short = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(short.path(), file(header, 100)).expect("room on the disk");
        assert!(touch(short.path(), path.path(), Order::File, 1).is_err());
    }
}
