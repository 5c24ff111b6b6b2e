//! The injected file: late, torn, replaced in each of the three ways.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

#[tokio::test]
async fn a_file_that_comes_late_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    let (provider, _) = provider(
        Source::File(file.clone()),
        Environment::default(),
        nowhere(),
    );
    let first = tokio::spawn(async move { provider.first().await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    fs::write(&file, document("late", HOUR)).unwrap();
    assert_eq!(first.await.unwrap().unwrap().access_key_id(), "STS.late");
}

#[tokio::test]
async fn nothing_injected_is_an_error_that_names_each_place_and_the_remedy() {
    let config = Config {
        file: nowhere().to_owned(),
        start_wait: Duration::from_millis(200),
        ..Config::new(Source::Auto, Environment::default())
    };
    let provider = Provider::new(config, Arc::default()).unwrap();
    let error = provider.first().await.unwrap_err();
    assert!(matches!(error, Error::NotInjected { .. }), "{error:?}");
    let text = error.to_string();
    for part in [
        "/nonexistent/credentials",
        "CREDENTIALS_URI",
        "ACCESS_KEY_ID",
        "RAM role",
        "--credentials",
    ] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}

#[tokio::test]
async fn rename_rewriting_and_symlink_swap_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("v1")).unwrap();
    fs::write(path("v1/credentials"), document("1", HOUR)).unwrap();
    symlink("v1", path("data")).unwrap();
    let file = path("data/credentials");
    let (provider, metrics) = provider(
        Source::File(file.clone()),
        Environment::default(),
        nowhere(),
    );
    provider.first().await.unwrap();
    let _watch = watched(&provider);

    fs::write(path("new"), document("renamed", HOUR)).unwrap();
    fs::rename(path("new"), &file).unwrap();
    becomes(&provider, "renamed").await;

    fs::write(&file, document("rewritten", HOUR)).unwrap();
    becomes(&provider, "rewritten").await;

    fs::create_dir_all(path("v2")).unwrap();
    fs::write(path("v2/credentials"), document("swapped", HOUR)).unwrap();
    symlink("v2", path("data.new")).unwrap();
    fs::rename(path("data.new"), path("data")).unwrap();
    becomes(&provider, "swapped").await;
    assert_eq!(metrics.credentials.adopted.get(), 4);
    assert_eq!(metrics.credentials.held.get(), 0);
}

#[tokio::test]
async fn a_torn_or_stale_file_keeps_the_old_set() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    let whole = document("1", HOUR);
    fs::write(&file, &whole).unwrap();
    let (provider, metrics) = provider(
        Source::File(file.clone()),
        Environment::default(),
        nowhere(),
    );
    provider.first().await.unwrap();
    let _watch = watched(&provider);
    let next = document("2", HOUR);
    for bad in [
        "",
        &next[..next.len() / 2],
        &document("older", HOUR / 2),
        &document("dead", Duration::ZERO),
    ] {
        fs::write(&file, bad).unwrap();
        // Several polls go by: nothing may happen, so there is nothing to wait for.
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert_eq!(provider.current().await.unwrap().access_key_id(), "STS.1");
    }
    fs::write(&file, &next).unwrap();
    becomes(&provider, "2").await;
    assert_eq!(metrics.credentials.adopted.get(), 2);
}
