//! `rolefs cleanup` in a bucket with uploads of ours and of others.

use std::process::{Command, Output};

use rolefs::object::ObjectKey;
use rolefs::oss::{Body, Condition, Upload};

use super::*;
use crate::harness::{as_anybody, rolefs_at};
use crate::launch::output;
use crate::stack::soon;

impl Bench {
    /// Runs `rolefs cleanup` below a directory of the bucket.
    async fn cleanup(&self, target: &str, arguments: &[&str]) -> Output {
        let mut command: Command = rolefs_at(&self.stack.server);
        as_anybody(&mut command).arg("cleanup").arg(target);
        command.args(arguments);
        let ended = tokio::task::spawn_blocking(move || output(command));
        ended.await.unwrap()
    }

    /// An upload of some other program, with a part.
    async fn foreign(&self, name: &str) -> Upload {
        let (op, bucket) = (Op::background("test"), &self.stack.bucket);
        let key = ObjectKey::new(name).unwrap();
        let properties = Properties::default();
        let begun = bucket.initiate(&op, &key, &properties, Condition::None);
        let upload = begun.await.unwrap();
        for number in [1, 10_000] {
            let body = Body::from(Bytes::from(pattern(u64::from(number), 200_000)));
            bucket
                .upload_part(&op, &upload, number, &body)
                .await
                .unwrap();
        }
        upload
    }

    /// A file with parts up, of a mount that is gone as by a crash.
    async fn crashed(&self, name: &str) {
        let file = self.create(name);
        let sent = self.stack.metrics.write.parts_sent.get();
        for (at, piece) in pattern(1, 20 * MIB).chunks(1 << 20).enumerate() {
            self.write(&file, at as u64 * MIB, piece).await;
        }
        // The mark is up with the first part.
        soon("a part is up", || {
            self.stack.metrics.write.parts_sent.get() > sent
        })
        .await;
        // Nobody gives the upload up.
        std::mem::forget(file);
    }
}

fn lines(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cleanup_gives_up_old_uploads_of_ours_below_its_directory_and_nothing_else() {
    let bench = Bench::new().await;
    bench.crashed("train/model.pt").await;
    bench.crashed("other/model.pt").await;
    bench.foreign("train/theirs").await;
    let server = &bench.stack.server;
    assert_eq!(server.upload_count(BUCKET), 3);
    let train = format!("oss://{BUCKET}/train");

    let young = lines(&bench.cleanup(&train, &[]).await);
    assert_eq!(young.len(), 2, "{young:?}");
    assert!(young[0].starts_with("train/model.pt\t"), "{young:?}");
    assert!(young[0].ends_with("\ttoo young"), "{young:?}");
    assert!(young[0].contains(" parts\t"), "{young:?}");
    assert!(
        young[1].contains("0 uploads of rolefs given up"),
        "{young:?}"
    );
    assert!(young[1].contains("1 too young, 1 of others"), "{young:?}");

    let dry = bench.cleanup(&train, &["--older-than=0s", "--dry-run"]);
    let dry = lines(&dry.await);
    assert!(dry[0].ends_with("\twould be given up"), "{dry:?}");
    assert_eq!(server.upload_count(BUCKET), 3);

    let done = lines(&bench.cleanup(&train, &["--older-than=0s"]).await);
    assert!(done[0].ends_with("\tgiven up"), "{done:?}");
    assert!(done[1].contains("1 uploads of rolefs given up"), "{done:?}");
    assert_eq!(server.upload_count(BUCKET), 2);

    let all = format!("oss://{BUCKET}");
    let done = lines(&bench.cleanup(&all, &["--older-than=0s"]).await);
    assert!(done[0].starts_with("other/model.pt\t"), "{done:?}");
    assert_eq!(server.upload_count(BUCKET), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cleanup_that_may_not_list_says_what_to_allow() {
    let bench = Bench::new().await;
    let denied = rolefs::dev_server::Fault::forbidden("AccessDenied");
    let list = Some(rolefs::dev_server::Operation::ListMultipartUploads);
    bench.stack.server.faults().script(1, list, "", denied);
    let output = bench.cleanup(&format!("oss://{BUCKET}"), &[]).await;
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("oss:ListMultipartUploads"), "{said}");
}
