//! The service: what counts as an answer, the order of `auto`, refresh ahead of the end.

use super::*;

#[tokio::test]
async fn a_lying_or_broken_service_is_named_and_its_answer_is_not_quoted() {
    let good = document("a", HOUR);
    for (status, body, part) in [
        (200, good.clone(), "no Code"),
        (
            500,
            good.replacen('{', r#"{"Code":"Success","#, 1),
            "status 500",
        ),
        (
            200,
            good.replacen('{', r#"{"Code":"Failed","#, 1),
            "not Success",
        ),
        (
            200,
            "[\"secret-a\"]".to_owned(),
            "not a credentials document",
        ),
        (200, format!("{good} secret-a"), "not JSON at line 1"),
        (200, " ".repeat(70_000), "too long"),
        (302, String::new(), "status 302"),
    ] {
        let service = Service::start(move |_| Reply::Answer(status, body.clone())).await;
        let config = Config {
            start_wait: Duration::from_millis(300),
            ..Config::new(service.source(), Environment::default())
        };
        let provider = Provider::new(config, Arc::default()).unwrap();
        let error = provider.first().await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(matches!(error, Error::Unusable { .. }), "{text}");
        assert!(text.contains(part), "{text}");
        assert!(
            !text.contains("secret-a") && !text.contains("hidden"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_set_is_renewed_ahead_of_its_end_and_nobody_waits() {
    let service = Service::start(|n| answer(&n.to_string(), Duration::from_secs(2))).await;
    let (provider, metrics) = provider(service.source(), Environment::default(), nowhere());
    provider.first().await.unwrap();
    let _watch = watched(&provider);
    becomes(&provider, "4").await;
    assert_eq!(metrics.credentials.held.get(), 0);
    assert_eq!(service.asked(), 4);
    assert_eq!(metrics.credentials.failures.get(), 0);
}

#[tokio::test]
async fn without_a_background_loop_a_caller_starts_the_renewal_and_goes_on_with_the_old() {
    let service = Service::start(|n| answer(&n.to_string(), Duration::from_secs(2))).await;
    let (provider, metrics) = provider(service.source(), Environment::default(), nowhere());
    provider.first().await.unwrap();
    becomes(&provider, "2").await;
    assert_eq!(metrics.credentials.held.get(), 0);
    assert_eq!(service.asked(), 2);
}

#[tokio::test]
async fn a_service_that_keeps_its_set_to_the_end_is_not_stormed() {
    let end = Timestamp::now() + Duration::from_secs(2);
    let service = Service::start(move |n| {
        let name = if end > Timestamp::now() {
            "old".to_owned()
        } else {
            format!("n{n}")
        };
        let until = if name == "old" {
            end
        } else {
            Timestamp::now() + HOUR
        };
        let body = document(&name, HOUR).replacen('{', r#"{"Code":"Success","#, 1);
        let (head, _) = body.rsplit_once(r#","Expiration""#).unwrap();
        Reply::Answer(200, format!(r#"{head},"Expiration":"{until}"}}"#))
    })
    .await;
    let (provider, metrics) = provider(service.source(), Environment::default(), nowhere());
    let first = provider.first().await.unwrap();
    let _watch = watched(&provider);
    dies(&first).await;
    let next = provider.current().await.unwrap();
    assert!(next.access_key_id().starts_with("STS.n"));
    assert!(service.asked() < 15, "asked {} times", service.asked());
    assert_eq!(metrics.credentials.failures.get(), 0, "nothing was wrong");
}

#[tokio::test]
async fn a_source_that_is_being_asked_when_the_wait_at_start_ends_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("printed");
    std::fs::write(&file, document("slow", HOUR)).unwrap();
    let command = format!("sh -c 'sleep 1; cat {}'", file.display());
    let config = Config {
        start_wait: Duration::from_millis(200),
        ..Config::new(Source::Process(command), Environment::default())
    };
    let slow = Provider::new(config, Arc::default()).unwrap();
    assert_eq!(slow.first().await.unwrap().access_key_id(), "STS.slow");
}

#[tokio::test]
async fn the_set_that_ends_later_wins_and_each_stands_in_for_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    let service = Service::start(|_| answer("service", HOUR)).await;
    let injected = environment(&[("CREDENTIALS_URI", &service.url)]);
    for (life, expected) in [
        (2 * HOUR, "STS.file"),
        (HOUR / 2, "STS.service"),
        (Duration::ZERO, "STS.service"),
    ] {
        std::fs::write(&file, document("file", life)).unwrap();
        let (provider, _) = provider(Source::Auto, injected.clone(), &file);
        assert_eq!(provider.first().await.unwrap().access_key_id(), expected);
    }
    std::fs::write(&file, "{").unwrap();
    let (torn, _) = provider(Source::Auto, injected, &file);
    assert_eq!(torn.first().await.unwrap().access_key_id(), "STS.service");
    for url in ["http://127.0.0.1:1/x", "nonsense"] {
        std::fs::write(&file, document("file", HOUR)).unwrap();
        let dead = environment(&[("CREDENTIALS_URI", url)]);
        let (provider, _) = provider(Source::Auto, dead, &file);
        assert_eq!(provider.first().await.unwrap().access_key_id(), "STS.file");
    }
}

#[tokio::test]
async fn a_stalled_service_does_not_keep_a_good_file_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    std::fs::write(&file, document("file", HOUR)).unwrap();
    let service = Service::start(|_| Reply::Stall).await;
    let injected = environment(&[("CREDENTIALS_URI", &service.url)]);
    let (provider, _) = provider(Source::Auto, injected, &file);
    let begun = Instant::now();
    assert_eq!(provider.first().await.unwrap().access_key_id(), "STS.file");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn the_environment_counts_when_permanent_or_when_nothing_is_injected() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    let temporary = [
        ("ACCESS_KEY_ID", "STS.env"),
        ("ACCESS_KEY_SECRET", "s"),
        ("SECURITY_TOKEN", "t"),
    ];
    let permanent = [
        ("ACCESS_KEY_ID", "LTAI.env"),
        ("ACCESS_KEY_SECRET", "s"),
        ("SECURITY_TOKEN", ""),
    ];

    let (lonely, _) = provider(Source::Auto, environment(&temporary), &file);
    assert_eq!(lonely.first().await.unwrap().access_key_id(), "STS.env");
    let _watch = watched(&lonely);
    std::fs::write(&file, document("file", HOUR)).unwrap();
    becomes(&lonely, "file").await;

    let (second, _) = provider(Source::Auto, environment(&temporary), &file);
    assert_eq!(second.first().await.unwrap().access_key_id(), "STS.file");
    let (chosen, _) = provider(Source::Auto, environment(&permanent), &file);
    let set = chosen.first().await.unwrap();
    assert_eq!(set.access_key_id(), "LTAI.env");
    assert!(set.token().is_none() && set.expiration().is_none());

    let begun = Instant::now();
    let error = chosen.replace(&set).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    let (empty, _) = provider(Source::Env, environment(&[]), &file);
    let error = empty.first().await.unwrap_err();
    assert!(matches!(error, Error::NotInjected { .. }), "{error}");
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "what cannot change is not waited for"
    );
}
