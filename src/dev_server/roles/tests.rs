#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::*;
use crate::dev_server::request::Incoming;

const DEADLINE: Duration = Duration::from_secs(10);

/// Roles with one job that rotates only when told to, and a directory for its file.
async fn roles(edit: impl FnOnce(&mut JobConfig)) -> (Roles, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let mut config = Config::parse("[role.trainer]\npolicies = [\"AliyunOSSFullAccess\"]").unwrap();
    let mut job = JobConfig::new("trainer");
    job.rotate_every = SignedDuration::from_hours(1);
    job.credentials_file = Some(directory.path().join("sub/credentials"));
    edit(&mut job);
    config.job = Some(job);
    (Roles::start(&config).await.unwrap(), directory)
}

/// A GET as an official client sends it: `Host` has no port. `Err` if no whole answer came.
fn get(uri: &str) -> io::Result<(u16, String)> {
    let (address, path) = uri
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok((status, body.to_owned()))
}

async fn fetch(job: &Job) -> io::Result<(u16, String)> {
    let uri = job.uri();
    tokio::task::spawn_blocking(move || get(&uri))
        .await
        .unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn read(job: &Job) -> Value {
    json(&fs::read_to_string(job.file().unwrap()).unwrap())
}

fn is(value: &Value, set: &TokenSet) -> bool {
    value["AccessKeyId"] == set.access_key_id
        && value["AccessKeySecret"] == set.access_key_secret
        && value["SecurityToken"] == set.security_token
        && value["Expiration"] == set.expiration.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The code a request of this set with a wrong signature is refused with: a live set gets as far as the signature.
fn refusal(authority: &Authority, set: &TokenSet) -> &'static str {
    let date = Timestamp::now()
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string();
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("authorization", format!("OSS {}:wrong", set.access_key_id)),
        ("date", date),
        ("x-oss-security-token", set.security_token.clone()),
    ] {
        headers.insert(name, HeaderValue::from_str(&value).unwrap());
    }
    let request = Incoming {
        method: Method::GET,
        raw_path: "/bucket/key".to_owned(),
        raw_query: None,
        query: Vec::new(),
        headers,
        host: "127.0.0.1".to_owned(),
        bucket: Some("bucket".to_owned()),
        key: Some("key".to_owned()),
        virtual_hosted: false,
    };
    let answer = authority.check(&request, "oss:GetObject", Some("key"), authority.now());
    answer.unwrap_err().code
}

#[tokio::test]
async fn service_and_file_show_the_current_set() {
    let (roles, _directory) = roles(|_| ()).await;
    let job = roles.job.as_ref().unwrap();
    for round in 0..2 {
        let (status, body) = fetch(job).await.unwrap();
        let (service, file) = (json(&body), read(job));
        assert_eq!(status, 200);
        assert_eq!(service["Code"], "Success");
        assert_eq!(file.get("Code"), None);
        assert!(is(&service, &job.current()) && is(&file, &job.current()));
        assert_eq!((job.rotations(), job.fetches()), (round, round + 1));
        let before = job.current();
        job.rotate_now().unwrap();
        assert_ne!(job.current(), before);
    }
    assert_eq!(job.answer("/elsewhere").0, 404);
}

#[tokio::test]
async fn an_old_set_works_until_it_expires_or_is_refused_at_once() {
    for (old_tokens, code) in [
        (OldTokens::UntilExpiry, "SignatureDoesNotMatch"),
        (OldTokens::RefusedAtOnce, "InvalidAccessKeyId"),
    ] {
        let (roles, _directory) = roles(|job| job.old_tokens = old_tokens).await;
        let job = roles.job.as_ref().unwrap();
        let old = job.current();
        job.rotate_now().unwrap();
        assert_eq!(refusal(&roles.authority, &old), code);
        assert_eq!(
            refusal(&roles.authority, &job.current()),
            "SignatureDoesNotMatch"
        );
        job.revoke_current();
        assert_eq!(
            refusal(&roles.authority, &job.current()),
            "InvalidAccessKeyId"
        );
        assert!(is(&read(job), &job.current()));
    }
}

#[tokio::test]
async fn a_schedule_rotates_until_it_is_paused() {
    let (roles, _directory) = roles(|job| job.rotate_every = SignedDuration::from_millis(10)).await;
    let job = roles.job.as_ref().unwrap();
    let end = Instant::now() + DEADLINE;
    while job.rotations() < 3 {
        assert!(Instant::now() < end, "{} rotations", job.rotations());
        tokio::task::yield_now().await;
    }
    job.faults().pause_rotation();
    let paused = job.rotations();
    for _ in 0..20 {
        fetch(job).await.unwrap();
    }
    assert!(job.rotations() <= paused + 1); // one may have been under way
    job.faults().resume_rotation();
    while job.rotations() < paused + 3 {
        assert!(Instant::now() < end, "{} rotations", job.rotations());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_service_lies_as_it_is_told_to() {
    let (roles, _directory) = roles(|_| ()).await;
    let job = roles.job.as_ref().unwrap();
    let told = async |fault| {
        job.faults().service(fault).await;
        fetch(job).await.unwrap()
    };
    assert_eq!(told(ServiceFault::Status(500)).await.0, 500);
    assert_eq!(told(ServiceFault::Status(403)).await.0, 403);
    let failed = json(&told(ServiceFault::NotSuccess).await.1);
    assert_eq!(failed["Code"], "Failed");
    assert!(serde_json::from_str::<Value>(&told(ServiceFault::NotJson).await.1).is_err());
    let without = json(&told(ServiceFault::Without("SecurityToken")).await.1);
    assert_eq!(without.get("SecurityToken"), None);
    assert_eq!(without["Code"], "Success");
    let expired = json(&told(ServiceFault::Expired).await.1);
    let end: Timestamp = expired["Expiration"].as_str().unwrap().parse().unwrap();
    assert!(end < Timestamp::now());
    let wrong = json(&told(ServiceFault::WrongSecret).await.1);
    assert_ne!(wrong["AccessKeySecret"], job.current().access_key_secret);
    assert_eq!(wrong["AccessKeyId"], job.current().access_key_id);
    let late = Instant::now();
    told(ServiceFault::Delay(Duration::from_millis(50))).await;
    assert!(late.elapsed() >= Duration::from_millis(50));
    assert!(is(&json(&told(ServiceFault::None).await.1), &job.current()));
}

#[tokio::test]
async fn a_service_that_is_down_comes_back_on_its_port() {
    let (roles, _directory) = roles(|_| ()).await;
    let job = roles.job.as_ref().unwrap();
    for _ in 0..3 {
        job.faults().service(ServiceFault::Refuse).await;
        let error = fetch(job).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        job.faults().service(ServiceFault::None).await;
        assert_eq!(fetch(job).await.unwrap().0, 200);
    }
}

#[tokio::test]
async fn a_stalled_service_answers_once_the_fault_is_over() {
    let (roles, _directory) = roles(|_| ()).await;
    let job = roles.job.as_ref().unwrap();
    job.faults().service(ServiceFault::Stall).await;
    let uri = job.uri();
    let waiting = tokio::task::spawn_blocking(move || get(&uri));
    let end = Instant::now() + DEADLINE;
    while job.fetches() == 0 {
        assert!(Instant::now() < end);
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    job.faults().service(ServiceFault::None).await;
    assert_eq!(waiting.await.unwrap().unwrap().0, 200);
}

#[tokio::test]
async fn a_file_is_wrong_in_every_mode_as_it_is_told_to() {
    for mode in [FileMode::Rename, FileMode::InPlace, FileMode::Symlink] {
        let (roles, _directory) = roles(|job| job.file_mode = mode).await;
        let job = roles.job.as_ref().unwrap();
        let (file, first) = (job.file().unwrap(), job.current());
        job.rotate_now().unwrap();
        job.faults().file(FileFault::Torn).unwrap();
        let torn = fs::read_to_string(file).unwrap();
        assert!(torn.starts_with('{') && serde_json::from_str::<Value>(&torn).is_err());
        job.faults().file(FileFault::Mixed).unwrap();
        assert_eq!(read(job)["AccessKeyId"], job.current().access_key_id);
        assert_eq!(read(job)["SecurityToken"], first.security_token);
        job.faults().file(FileFault::Missing).unwrap();
        assert!(!file.exists());
        job.rotate_now().unwrap();
        assert!(!file.exists());
        job.faults().file(FileFault::None).unwrap();
        let stale = job.current();
        job.faults().file(FileFault::Stale).unwrap();
        job.rotate_now().unwrap();
        assert!(is(&read(job), &stale));
        job.faults().file(FileFault::None).unwrap();
        assert!(is(&read(job), &job.current()));
    }
}

#[tokio::test]
async fn a_symlinked_file_is_swapped_as_a_directory() {
    let (roles, _directory) = roles(|job| job.file_mode = FileMode::Symlink).await;
    let job = roles.job.as_ref().unwrap();
    job.rotate_now().unwrap();
    let directory = job.file().unwrap().parent().unwrap();
    let link = |name| fs::read_link(directory.join(name)).unwrap();
    assert_eq!(link("credentials"), Path::new("..data/credentials"));
    assert_eq!(link("..data"), Path::new("..2"));
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["..2", "..data", "credentials"]);
}

#[tokio::test]
async fn a_reader_never_sees_a_torn_file_where_files_are_renamed() {
    for mode in [FileMode::Rename, FileMode::Symlink] {
        let (roles, _directory) = roles(|job| job.file_mode = mode).await;
        let job = roles.job.as_ref().unwrap();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (0..200).try_for_each(|_| job.rotate_now()));
            while !writer.is_finished() {
                // A swapped directory can vanish between its lookup and that of the file in it, as in a pod.
                match fs::read_to_string(job.file().unwrap()) {
                    Ok(text) => assert!(json(&text)["Expiration"].is_string()),
                    Err(error) => assert_eq!(
                        (error.kind(), mode),
                        (io::ErrorKind::NotFound, FileMode::Symlink)
                    ),
                }
            }
            writer.join().unwrap().unwrap();
        });
        assert!(is(&read(job), &job.current()));
    }
}

#[tokio::test]
async fn expirations_are_written_in_three_ways() {
    for (format, end) in [
        (ExpirationFormat::Seconds, "Z"),
        (ExpirationFormat::Fractional, ".000Z"),
        (ExpirationFormat::Offset, "+08:00"),
    ] {
        let (roles, _directory) = roles(|job| job.expiration_format = format).await;
        let job = roles.job.as_ref().unwrap();
        let value = read(job);
        let text = value["Expiration"].as_str().unwrap();
        assert!(text.ends_with(end), "{text}");
        assert_eq!(text.parse::<Timestamp>().unwrap(), job.current().expiration);
    }
}

#[tokio::test]
async fn a_job_without_a_role_gets_nothing_and_one_that_ends_serves_no_more() {
    let (none, directory) = roles(|job| job.role = None).await;
    assert!(none.job.is_none());
    assert!(!directory.path().join("sub").exists());
    let (mut roles, _directory) = roles(|_| ()).await;
    let uri = roles.job.take().unwrap().uri();
    let end = Instant::now() + DEADLINE;
    loop {
        let uri = uri.clone();
        match tokio::task::spawn_blocking(move || get(&uri))
            .await
            .unwrap()
        {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => break,
            _ => assert!(Instant::now() < end, "the service is still there"),
        }
    }
}

#[tokio::test]
async fn the_names_of_what_cannot_be_had_are_in_the_errors() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = Config::parse("[role.r]\n[job]\nrole = \"r\"").unwrap();
    let job = config.job.as_mut().unwrap();
    job.port = taken.local_addr().unwrap().port();
    let error = Roles::start(&config).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot listen on 127.0.0.1:"), "{error}");
    let job = config.job.as_mut().unwrap();
    job.credentials_file = Some("/proc/nowhere/credentials".into());
    let error = Roles::start(&config).await.unwrap_err().to_string();
    assert!(
        error.starts_with("cannot write /proc/nowhere/credentials: "),
        "{error}"
    );
}
