//! Dead and refused sets: holding, single flight, no storm, clear ends.

use super::*;

/// A provider whose first set dies soon; later questions are answered by `later`.
async fn dying(
    hold: Duration,
    later: impl Fn(usize) -> Reply + Send + Sync + 'static,
) -> (Service, Arc<Provider>, Arc<Metrics>, Arc<Credentials>) {
    let service = Service::start(move |n| if n == 1 { answer("1", SOON) } else { later(n) }).await;
    let metrics = Arc::new(Metrics::default());
    let config = Config {
        hold,
        ..Config::new(service.source(), Environment::default())
    };
    let provider = Provider::new(config, Arc::clone(&metrics)).unwrap();
    let first = provider.first().await.unwrap();
    (service, provider, metrics, first)
}

fn down() -> Reply {
    Reply::Answer(500, String::new())
}

#[tokio::test]
async fn fifty_callers_on_a_dead_set_cause_one_attempt_at_a_time() {
    let later = |n| if n < 5 { down() } else { answer("new", HOUR) };
    let (service, provider, metrics, first) = dying(Duration::from_secs(20), later).await;
    dies(&first).await;
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let provider = Arc::clone(&provider);
        callers.spawn(async move { provider.current().await.unwrap() });
    }
    for set in callers.join_all().await {
        assert_eq!(set.access_key_id(), "STS.new");
    }
    assert_eq!(service.asked(), 5);
    assert_eq!(service.at_once_max.load(Ordering::SeqCst), 1);
    assert_eq!(metrics.credentials.held.get(), 50);
    assert_eq!(metrics.credentials.failures.get(), 3);
}

#[tokio::test]
async fn the_hold_ends_with_a_clear_error_and_the_source_is_not_stormed() {
    let hold = Duration::from_secs(1);
    let (service, provider, _, first) = dying(hold, |_| down()).await;
    dies(&first).await;
    let begun = Instant::now();
    let error = provider.current().await.unwrap_err();
    assert!(begun.elapsed() >= hold && begun.elapsed() < 3 * hold);
    assert!(matches!(error, Error::Gone { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("status 500") && text.contains("gone since"),
        "{text}"
    );
    assert!(service.asked() < 10, "asked {} times", service.asked());
}

#[tokio::test]
async fn a_caller_dropped_while_held_returns_at_once_and_takes_nothing_with_it() {
    let later = |n| {
        if n == 2 {
            Reply::Stall
        } else {
            answer("new", HOUR)
        }
    };
    let (service, provider, _, first) = dying(Duration::from_secs(30), later).await;
    dies(&first).await;
    let begun = Instant::now();
    let patient = tokio::spawn({
        let provider = Arc::clone(&provider);
        async move { provider.current().await }
    });
    let impatient = tokio::time::timeout(Duration::from_millis(100), provider.current()).await;
    assert!(impatient.is_err() && begun.elapsed() < Duration::from_secs(1));
    assert_eq!(patient.await.unwrap().unwrap().access_key_id(), "STS.new");
    assert_eq!(
        service.asked(),
        3,
        "the stalled attempt was given up after its bound"
    );
}

#[tokio::test]
async fn a_refused_set_is_replaced_once_for_all_who_ask() {
    let service = Service::start(|n| answer(&n.to_string(), HOUR)).await;
    let (provider, metrics) = provider(service.source(), Environment::default(), nowhere());
    let first = provider.first().await.unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let (provider, first) = (Arc::clone(&provider), Arc::clone(&first));
        callers.spawn(async move { provider.replace(&first).await.unwrap() });
    }
    for set in callers.join_all().await {
        assert_eq!(set.access_key_id(), "STS.2");
    }
    let late = provider.replace(&first).await.unwrap();
    assert_eq!(
        late.access_key_id(),
        "STS.2",
        "a late refusal of the old set asks nothing"
    );
    assert_eq!(service.asked(), 2);
    assert_eq!(metrics.credentials.forced.get(), 1);
}

#[tokio::test]
async fn a_source_that_keeps_giving_the_refused_set_ends_in_refused_without_a_storm() {
    let service = Service::start(|_| answer("same", HOUR)).await;
    let config = Config {
        hold: Duration::from_secs(1),
        ..Config::new(service.source(), Environment::default())
    };
    let provider = Provider::new(config, Arc::default()).unwrap();
    let first = provider.first().await.unwrap();
    let error = provider.replace(&first).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert!(
        error.to_string().contains("still has the same set"),
        "{error}"
    );
    assert!(service.asked() < 10, "asked {} times", service.asked());
    let begun = Instant::now();
    let other = provider.current().await.unwrap();
    assert_eq!(
        other.access_key_id(),
        "STS.same",
        "one refused request does not stop the others"
    );
    assert!(begun.elapsed() < SOON);
}

#[tokio::test]
async fn sets_that_are_refused_one_after_the_other_come_slower_and_slower() {
    let service = Service::start(|n| answer(&n.to_string(), HOUR)).await;
    let (provider, _) = provider(service.source(), Environment::default(), nowhere());
    let mut set = provider.first().await.unwrap();
    let begun = Instant::now();
    for _ in 0..6 {
        set = provider.replace(&set).await.unwrap();
    }
    // Pauses before the second to the sixth: at least half of 0.2, 0.4, 0.8, 1.6, 2 s.
    assert!(
        begun.elapsed() > Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_refused_set_is_not_taken_again_from_a_stale_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    std::fs::write(&file, document("stale", 2 * HOUR)).unwrap();
    let service = Service::start(|_| answer("service", HOUR)).await;
    let injected = environment(&[("CREDENTIALS_URI", &service.url)]);
    let (provider, metrics) = provider(Source::Auto, injected, &file);
    let first = provider.first().await.unwrap();
    assert_eq!(first.access_key_id(), "STS.stale");
    let _watch = watched(&provider);
    provider.replace(&first).await.unwrap();
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(
        provider.current().await.unwrap().access_key_id(),
        "STS.service"
    );
    assert_eq!(metrics.credentials.adopted.get(), 2);
}

#[tokio::test]
async fn fifty_fast_rotations_with_old_sets_refused_fail_nobody() {
    // The "server" accepts only the newest set; the file is rewritten under eight readers.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    std::fs::write(&file, document("0", Duration::from_secs(3))).unwrap();
    let (provider, _) = provider(
        Source::File(file.clone()),
        Environment::default(),
        nowhere(),
    );
    provider.first().await.unwrap();
    let _watch = watched(&provider);
    let newest = Arc::new(AtomicUsize::new(0));
    let mut readers = JoinSet::new();
    for _ in 0..8 {
        let (provider, newest) = (Arc::clone(&provider), Arc::clone(&newest));
        readers.spawn(async move {
            while newest.load(Ordering::SeqCst) < 50 {
                let mut set = provider.current().await.unwrap();
                while set.access_key_id()
                    < format!("STS.{:03}", newest.load(Ordering::SeqCst)).as_str()
                {
                    set = provider.replace(&set).await.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }
    for round in 1..=50 {
        let next = folder.path().join("next");
        std::fs::write(
            &next,
            document(&format!("{round:03}"), Duration::from_secs(3)),
        )
        .unwrap();
        std::fs::rename(&next, &file).unwrap();
        newest.store(round, Ordering::SeqCst);
        becomes(&provider, &format!("{round:03}")).await;
    }
    readers.join_all().await;
}
