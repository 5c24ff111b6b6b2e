//! Names that change while files are written, stored early, or of nobody knows which version; against a development server, without a kernel.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rolefs::dev_server::{Fault, Operation};
use rolefs::fs::{Error, FileKind, FileSystem, Found, Maker, Process, WriteBy, WriteOpen};
use rolefs::op::Op;
use rolefs::tree::{Ino, Over};
use tokio::task::JoinHandle;

use crate::harness::{BUCKET, content};
use crate::stack::{NEVER, Stack, soon};

const MIB: usize = 1 << 20;
const TTL: Duration = Duration::from_secs(60);
const MAKER: Maker = Maker {
    mode: 0o644,
    uid: 0,
    gid: 0,
};
const ME: Option<Process> = Some(Process(1));
const COPY: Option<Operation> = Some(Operation::CopyObject);

fn op() -> Op {
    Op::background("test")
}

/// A mount without a kernel.
#[derive(Clone)]
struct Mounted {
    stack: Arc<Stack>,
    fs: Arc<FileSystem>,
}

impl Mounted {
    async fn new(memory: u64) -> Self {
        let stack = Arc::new(Stack::new(memory).await);
        let (fs, _) = stack.file_system(TTL, 10_000).await;
        Self { stack, fs }
    }

    async fn lookup(&self, parent: Ino, name: &str) -> Option<Ino> {
        let found = match self.fs.lookup_known(parent, name) {
            Some(known) => known.unwrap(),
            None => self.fs.lookup(&op(), parent, name).await.unwrap(),
        };
        match found {
            Found::Entry(entry) => {
                let ino = entry.attributes().ino;
                entry.give();
                Some(ino)
            }
            Found::Nothing(_) => None,
        }
    }

    async fn place<'a>(&self, path: &'a str) -> (Ino, &'a str) {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut at = Ino::ROOT;
        for name in above.split('/').filter(|name| !name.is_empty()) {
            at = self.lookup(at, name).await.unwrap();
        }
        (at, name)
    }

    /// Opens a file for writing, and makes it if it is not there.
    async fn create(&self, path: &str) -> u64 {
        let (directory, name) = self.place(path).await;
        let how = WriteOpen {
            truncate: false,
            exclusive: false,
            opener: ME,
        };
        let created = match self.fs.create_known(directory, name, MAKER, how) {
            Some(known) => known,
            None => self.fs.create(&op(), directory, name, MAKER, how).await,
        };
        let (entry, opened) = created.unwrap();
        entry.give();
        opened.handle
    }

    async fn write(&self, handle: u64, at: usize, bytes: &[u8]) {
        for (piece, bytes) in bytes.chunks(MIB).enumerate() {
            let (at, by) = ((at + piece * MIB) as u64, WriteBy::Process(ME));
            if self.fs.try_write(handle, at, bytes, by).unwrap().is_err() {
                let (op, fs) = (op(), &self.fs);
                let write = fs.write(&op, handle, at, bytes, by);
                let done = tokio::time::timeout(NEVER, write).await;
                done.expect("a WRITE does not hang").unwrap();
            }
        }
    }

    async fn close(&self, handle: u64) -> Result<(), Error> {
        let done = match self.fs.flush_known(handle, || ME, |_| true) {
            Some(known) => known,
            None => self.fs.commit_handle(&op(), handle).await,
        };
        self.fs.release(handle);
        done
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        let (from, to) = (self.place(from).await, self.place(to).await);
        self.fs.rename(&op(), from, to, Over::Replace).await
    }

    /// The same, of which a request with a fault is waited for.
    async fn rename_stalled(&self, from: &str, to: &str) -> JoinHandle<Result<(), Error>> {
        let (it, from, to) = (self.clone(), from.to_owned(), to.to_owned());
        let renaming = tokio::spawn(async move { it.rename(&from, &to).await });
        let faults = self.stack.server.faults();
        soon("the rename stands still", || faults.stalled() == 1).await;
        renaming
    }

    async fn unlink(&self, path: &str) -> Result<(), Error> {
        let (directory, name) = self.place(path).await;
        self.fs.unlink(&op(), directory, name).await
    }

    fn keys(&self) -> Vec<String> {
        self.stack.server.keys(BUCKET, "")
    }

    #[track_caller]
    fn has(&self, key: &str, bytes: &[u8]) {
        let stored = self.stack.server.get(BUCKET, key);
        let stored = stored.unwrap_or_else(|| panic!("{key} is not there: {:?}", self.keys()));
        assert!(stored == bytes, "{key} has other bytes");
    }

    /// Fills memory with files that are too short for parts, so that some are stored early. Their handles.
    async fn fill(&self, files: usize) -> Vec<u64> {
        let early = self.stack.metrics.write.early_commits.get();
        let mut handles = Vec::new();
        for at in 0..files {
            let handle = self.create(&format!("fill{at}")).await;
            self.write(handle, 0, &content(at as u64, 40_000)).await;
            handles.push(handle);
        }
        assert!(self.stack.metrics.write.early_commits.get() > early);
        handles
    }
}

/// What an early commit, or the next part, would do under the old name is done under the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_written_on_while_the_directory_above_them_moves() {
    let it = Mounted::new(16 << 20).await;
    it.stack.put("d/stored", &content(1, 3 * MIB));
    it.stack.put("d/sub/x", b"x");
    let stored = it.create("d/stored").await;
    let fresh = it.create("d/fresh").await;
    it.write(stored, 0, b"before").await;
    it.write(fresh, 0, b"before").await;
    let faults = it.stack.server.faults();
    faults.script(1, COPY, "sub/x", Fault::StallAnswer);
    let renaming = it.rename_stalled("d", "e").await;
    let late = it.create("d/sub/late").await;
    let opened = it.create("d/sub/x").await;
    // More than memory has: they have to go up one day.
    let bytes = content(2, 20 * MIB);
    let mut writers = Vec::new();
    for handle in [stored, fresh, late, opened] {
        let (it, bytes) = (it.clone(), bytes.clone());
        writers.push(tokio::spawn(async move {
            it.write(handle, 3, &bytes).await;
        }));
    }
    soon("writers wait for room", || {
        it.stack.metrics.write.waits.get() > 0
    })
    .await;
    assert_eq!(it.stack.server.upload_count(BUCKET), 0);
    faults.release();
    renaming.await.unwrap().unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    for handle in [stored, fresh, late, opened] {
        it.close(handle).await.unwrap();
    }
    assert_eq!(it.keys(), ["e/fresh", "e/stored", "e/sub/late", "e/sub/x"]);
    let behind = |begin: &[u8]| [begin, &bytes].concat();
    it.has("e/stored", &behind(b"bef"));
    it.has("e/fresh", &behind(b"bef"));
    it.has("e/sub/late", &behind(&[0; 3]));
    it.has("e/sub/x", &behind(b"x\0\0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_upload_is_begun_below_a_directory_that_moves() {
    let it = Mounted::new(64 << 20).await;
    it.stack.put("d/x", b"x");
    let faults = it.stack.server.faults();
    faults.script(1, COPY, "e/x", Fault::StallAnswer);
    let renaming = it.rename_stalled("d", "e").await;
    let late = it.create("d/late").await;
    let bytes = content(2, 40 * MIB);
    it.write(late, 0, &bytes[..20 * MIB]).await;
    faults.release();
    renaming.await.unwrap().unwrap();
    it.write(late, 20 * MIB, &bytes[20 * MIB..]).await;
    it.close(late).await.unwrap();
    assert_eq!(it.keys(), ["e/late", "e/x"]);
    it.has("e/late", &bytes);
    let stats = it.stack.server.stats();
    assert_eq!((stats.initiates(), stats.aborts()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_not_stored_under_its_old_name_to_make_room_while_it_is_renamed() {
    let it = Mounted::new(16 << 20).await;
    let file = it.create("old").await;
    it.write(file, 0, &content(1, 50_000)).await;
    it.fs.commit_handle(&op(), file).await.unwrap();
    let faults = it.stack.server.faults();
    faults.script(1, COPY, "new", Fault::StallAnswer);
    let renaming = it.rename_stalled("old", "new").await;
    // The largest of all that are short: it would be the first to be stored early.
    let bytes = content(2, 90_000);
    it.write(file, 0, &bytes).await;
    let filler = it.fill(300).await;
    faults.release();
    renaming.await.unwrap().unwrap();
    it.close(file).await.unwrap();
    it.has("new", &bytes);
    assert!(it.stack.server.get(BUCKET, "old").is_none());
    for handle in filler {
        it.close(handle).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_after_a_rename_that_failed_survives_its_repetition() {
    let it = Mounted::new(64 << 20).await;
    let denied = Fault::forbidden("AccessDenied");
    let faults = it.stack.server.faults();
    it.stack.put("old", b"as it was");
    let file = it.create("old").await;
    faults.script(1, Some(Operation::DeleteObject), "old", denied);
    it.rename("old", "new").await.unwrap_err();
    it.write(file, 0, b"AS IT").await;
    it.close(file).await.unwrap();
    it.has("old", b"AS IT was");
    it.rename("old", "new").await.unwrap();
    it.has("new", b"AS IT was");
    for name in ["a", "b", "c"] {
        it.stack.put(&format!("d/{name}"), b"as it was");
    }
    let (b, c) = (it.create("d/b").await, it.create("d/c").await);
    // First a copy fails: no file has moved. Then the deletion: they have.
    faults.script(1, COPY, "e/c", denied);
    it.rename("d", "e").await.unwrap_err();
    it.write(b, 0, b"b").await;
    it.close(b).await.unwrap();
    it.has("d/b", b"bs it was");
    let delete = Some(Operation::DeleteMultipleObjects);
    faults.script(1, delete, "", denied);
    it.rename("d", "e").await.unwrap_err();
    it.write(c, 0, b"c").await;
    it.close(c).await.unwrap();
    it.rename("d", "e").await.unwrap();
    assert_eq!(it.keys(), ["e/a", "e/b", "e/c", "new"]);
    it.has("e/b", b"bs it was");
    it.has("e/c", b"cs it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_early_is_shown_moved_and_removed() {
    let it = Mounted::new(16 << 20).await;
    let handles = it.fill(300).await;
    let early = it.keys();
    assert!(early.len() >= 3, "{early:?}");
    let (moved, removed) = (&early[0], &early[1]);
    // Both are open, and nothing has told the tree.
    let content_of = |name: &str| content(name[4..].parse().unwrap(), 40_000);
    it.rename(moved, "moved").await.unwrap();
    it.has("moved", &content_of(moved));
    it.unlink(removed).await.unwrap();
    assert!(!it.keys().contains(removed) && !it.keys().contains(moved));
    for handle in handles {
        it.close(handle).await.unwrap();
    }
    let mut expected: Vec<String> = (0..300).map(|at| format!("fill{at}")).collect();
    expected.retain(|name| name != moved && name != removed);
    expected.push("moved".to_owned());
    expected.sort();
    assert_eq!(it.keys(), expected);
    // The tree knows them as objects: they are removed from the bucket, too.
    for name in &early[2..] {
        it.unlink(name).await.unwrap();
        assert!(!it.keys().contains(name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tree_is_told_of_an_early_store_at_the_close() {
    let it = Mounted::new(16 << 20).await;
    let handles = it.fill(300).await;
    let early = it.keys();
    let at = early[0][4..].parse::<usize>().unwrap();
    let ino = it.lookup(Ino::ROOT, &early[0]).await.unwrap();
    it.close(handles[at]).await.unwrap();
    let attributes = it.fs.attributes_known(ino).unwrap().unwrap();
    assert_eq!((attributes.kind, attributes.size), (FileKind::File, 40_000));
    let etag = it.fs.xattr_known(ino, "user.oss.etag").unwrap().unwrap();
    let stored = it.stack.server.etag(BUCKET, &early[0]).unwrap();
    assert_eq!(String::from_utf8(etag).unwrap(), stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_stored_is_deleted_and_is_not_renamed_by_its_name_alone() {
    let it = Mounted::new(64 << 20).await;
    let faults = it.stack.server.faults();
    for name in ["removed", "renamed"] {
        let put = Some(Operation::PutObject);
        faults.script(1, put, name, Fault::AnswerLost);
        faults.script(1, put, name, Fault::StallAnswer);
        let file = it.create(name).await;
        it.write(file, 0, b"some").await;
        let (fs, injected) = (Arc::clone(&it.fs), faults.injected());
        let commit = tokio::spawn(async move { fs.commit_handle(&op(), file).await });
        soon("it stands still", || faults.injected() == injected + 2).await;
        // Nobody has seen an answer.
        commit.abort();
        assert!(commit.await.unwrap_err().is_cancelled());
        it.has(name, b"some");
        match name {
            "removed" => it.unlink(name).await.unwrap(),
            _ => it.rename(name, "to").await.unwrap(),
        }
        it.close(file).await.unwrap();
    }
    faults.release();
    assert_eq!(it.keys(), ["to"]);
    it.has("to", b"some");
}

/// A reader has the file open whose name goes, and memory lets go of parts of it while it is brought into staging.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_file_whose_removal_is_refused_has_nothing_to_be_stored() {
    let it = Mounted::new(64 << 20).await;
    let bytes = content(1, 3 * MIB);
    it.stack.put("kept", &bytes);
    let ino = it.lookup(Ino::ROOT, "kept").await.unwrap();
    let handle = it.fs.open(&op(), ino).await.unwrap().handle;
    let refused = Fault::Refuse {
        status: 403,
        code: "AccessDenied",
    };
    let faults = it.stack.server.faults();
    faults.script(1, Some(Operation::DeleteObject), "kept", refused);
    it.unlink("kept").await.unwrap_err();
    assert_eq!(it.fs.unstored(), []);
    it.has("kept", &bytes);
    it.fs.release(handle);
    assert!(it.fs.finish(NEVER).await.is_empty());
    assert_eq!(it.stack.server.stats().count(Operation::PutObject), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_file_that_is_removed_is_kept_though_parts_of_it_were_let_go() {
    let it = Mounted::new(16 << 20).await;
    let bytes = content(1, 20 * MIB);
    let file = it.create("long").await;
    it.write(file, 0, &bytes).await;
    assert!(it.stack.metrics.write.let_go_bytes.get() > 0);
    let unlink = tokio::time::timeout(NEVER, it.unlink("long"));
    unlink.await.expect("an unlink does not hang").unwrap();
    assert_eq!(it.keys(), [""; 0]);
    it.close(file).await.unwrap();
    assert_eq!(it.keys(), [""; 0]);
    assert_eq!(it.stack.server.upload_count(BUCKET), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_files_are_created_the_directory_is_listed_again_before_anybody_waits() {
    let mounted = Mounted::new(64 << 20).await;
    for name in ["a", "b", "c", "d", "e"] {
        let handle = mounted.create(name).await;
        mounted.close(handle).await.unwrap();
    }
    let lists = || mounted.stack.server.stats().list();
    let (mut waited_for, mut seen, mut early) = (0, lists(), 0);
    let began = Instant::now();
    for at in 0.. {
        assert!(
            began.elapsed() < NEVER,
            "{early} early, {waited_for} waited for"
        );
        let name = format!("{at:06}");
        let (before, is_known) = (lists(), mounted.fs.lookup_known(Ino::ROOT, &name).is_some());
        early += before - seen;
        if !is_known {
            assert_eq!(mounted.lookup(Ino::ROOT, &name).await, None);
            waited_for += 1;
        }
        seen = lists();
        if early >= 2 {
            return;
        }
        let handle = mounted.create(&name).await;
        mounted.close(handle).await.unwrap();
    }
}
