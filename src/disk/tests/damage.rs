//! Whatever happens to the files: the right bytes or none.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use proptest::prelude::*;

use super::*;

/// Something that happens to a file.
#[derive(Debug, Clone)]
enum Harm {
    Flip { at: u64, bits: u8 },
    Zero { at: u64, len: usize },
    Garbage { at: u64, seed: u64, len: usize },
    Cut { len: u64 },
    Grow { len: u64 },
    Remove,
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        5 => (any::<u64>(), 1..=255_u8).prop_map(|(at, bits)| Harm::Flip { at, bits }),
        2 => (any::<u64>(), 1..5000_usize).prop_map(|(at, len)| Harm::Zero { at, len }),
        2 => (any::<u64>(), any::<u64>(), 1..5000_usize).prop_map(|(at, seed, len)| Harm::Garbage { at, seed, len }),
        1 => any::<u64>().prop_map(|len| Harm::Cut { len }),
        1 => (1..10_000_u64).prop_map(|len| Harm::Grow { len }),
        1 => Just(Harm::Remove),
    ]
}

fn inflict(path: &Path, harm: &Harm) {
    let Ok(file) = File::options().read(true).write(true).open(path) else {
        return;
    };
    let size = file.metadata().unwrap().len();
    let place = |at: u64| at % size.max(1);
    match *harm {
        Harm::Flip { at, bits } if size > 0 => {
            let mut byte = [0];
            file.read_exact_at(&mut byte, place(at)).unwrap();
            file.write_all_at(&[byte[0] ^ bits], place(at)).unwrap();
        }
        Harm::Flip { .. } => {}
        Harm::Zero { at, len } => file.write_all_at(&vec![0; len], place(at)).unwrap(),
        Harm::Garbage { at, seed, len } => {
            file.write_all_at(&content(seed, len), place(at)).unwrap();
        }
        Harm::Cut { len } => file.set_len(place(len)).unwrap(),
        Harm::Grow { len } => file.set_len(size + len).unwrap(),
        Harm::Remove => fs::remove_file(path).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_harmed_file_gives_the_right_bytes_or_none(
        len in prop_oneof![1..BLOCK_BYTES, BLOCK_BYTES + 1..3 * BLOCK_BYTES],
        harms in proptest::collection::vec((any::<bool>(), harm()), 1..4),
    ) {
        let directory = TempDir::new().unwrap();
        let content = content(len as u64, len);
        let version = version("a", &content);
        let blocks = len.div_ceil(BLOCK_BYTES);
        {
            let host = Host::new(directory.path());
            host.write(&host.object(&version), &content, 0..blocks);
        }
        for (of_map, harm) in &harms {
            for path in files(directory.path(), if *of_map { ".map" } else { ".data" }) {
                inflict(&path, harm);
            }
        }
        let host = Host::new(directory.path());
        let object = host.object(&version);
        host.check(&object, &content);
        if let Some(file) = object.sealed() {
            let mut bytes = vec![0; len];
            file.read_exact_at(&mut bytes, 0).unwrap();
            prop_assert!(bytes == content, "what the kernel would read");
        }
        // Whatever it was, it is mended by the next one who reads.
        host.write(&object, &content, 0..blocks);
        prop_assert_eq!(host.check(&object, &content), blocks);
        prop_assert_eq!(object.sealed().is_some(), blocks > 1);
    }
}

#[test]
fn a_seal_is_broken_by_any_write_to_the_data() {
    let directory = TempDir::new().unwrap();
    let content = content(1, 4 * BLOCK_BYTES);
    let version = version("a", &content);
    let host = Host::new(directory.path());
    host.write(&host.object(&version), &content, 0..4);
    let [data] = files(directory.path(), ".data").try_into().unwrap();
    let times = fs::metadata(&data).unwrap();
    let file = File::options().write(true).open(&data).unwrap();
    file.write_all_at(&[content[7] ^ 1], 7).unwrap();
    // Whoever sets the time back changes the other one.
    let times = std::fs::FileTimes::new().set_modified(times.modified().unwrap());
    file.set_times(times).unwrap();
    let object = host.object(&version);
    object.look();
    assert!(object.sealed().is_none());
    assert!(host.cache.finish(SOON), "it is read back");
    assert_eq!(host.metrics.disk.bad_blocks.get(), 1);
    assert_eq!(host.check(&object, &content), 3);
}

#[test]
fn the_rest_of_an_interrupted_run_is_read_back() {
    let directory = TempDir::new().unwrap();
    let content = content(1, 4 * BLOCK_BYTES);
    let version = version("a", &content);
    {
        let host = Host::new(directory.path());
        host.write(&host.object(&version), &content, 0..4);
    }
    // All blocks are there, but the seal was not written any more.
    let [map] = files(directory.path(), ".map").try_into().unwrap();
    let map = File::options().write(true).open(map).unwrap();
    map.write_all_at(
        &[0; super::super::format::SEAL_BYTES],
        super::super::format::SEAL_AT,
    )
    .unwrap();
    let host = Host::new(directory.path());
    let object = host.object(&version);
    object.look();
    assert!(object.sealed().is_none());
    assert!(host.cache.finish(SOON));
    assert!(object.sealed().is_some());
}

#[test]
fn content_that_is_not_the_object_is_dropped() {
    let directory = TempDir::new().unwrap();
    let content = content(1, 2 * BLOCK_BYTES);
    let version = version("a", &content);
    let host = Host::new(directory.path());
    let object = host.object(&version);
    object.look();
    for index in 0..2 {
        let bytes = block_of(&content, index);
        let crc = crc_fast::checksum(Crc64Xz, bytes);
        // OSS has announced another one.
        object.write_later(index as u64, host.block(bytes), crc, Some(12_345));
    }
    assert!(host.cache.finish(SOON));
    assert!(
        host.cache.finish(SOON),
        "the removal stands in line after the reading back"
    );
    assert!(object.sealed().is_none());
    assert_eq!(files(directory.path(), ""), Vec::<PathBuf>::new());
}
