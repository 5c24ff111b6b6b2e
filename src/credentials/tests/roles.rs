//! A role that is taken with what is found.

use super::*;

/// What STS answers with a set named `name`.
fn session(name: &str, life: Duration) -> Reply {
    Reply::Answer(
        200,
        format!(r#"{{"Credentials": {}}}"#, document(name, life)),
    )
}

fn taking(source: Source, sts: &Service, role: Option<&str>) -> Arc<Provider> {
    let mut known = environment(&[]);
    known.sts.endpoint = Some(sts.url.split("/creds").next().unwrap().to_owned());
    let config = Config {
        assume: role.map(Assume::new),
        hold: Duration::from_secs(10),
        start_wait: Duration::from_secs(2),
        ..Config::new(source, known)
    };
    Provider::new(config, Arc::default()).unwrap()
}

#[tokio::test]
async fn a_session_is_renewed_ahead_of_its_end_and_what_took_it_is_asked_anew() {
    let base = Service::start(|n| answer(&format!("base{n}"), HOUR)).await;
    let sts = Service::start(|n| session(&n.to_string(), Duration::from_secs(2))).await;
    let provider = taking(base.source(), &sts, Some("acs:ram::1:role/r"));
    let set = provider.first().await.unwrap();
    assert_eq!(
        (set.access_key_id(), set.role()),
        ("STS.1", Some("acs:ram::1:role/r"))
    );
    let _watch = watched(&provider);
    becomes(&provider, "3").await;
    assert_eq!((base.asked(), sts.asked()), (3, 3));
}

#[tokio::test]
async fn what_sts_refuses_is_named_and_its_answer_is_not_quoted() {
    let base = Service::start(|_| answer("base", HOUR)).await;
    for (status, body, part) in [
        (
            403,
            r#"{"Code": "NoPermission", "Message": "secret-a", "RequestId": "R-1"}"#,
            "NoPermission (status 403, request id R-1): the role's trust policy",
        ),
        (500, "secret-a", "status 500"),
        (
            200,
            r#"{"Credentials": "secret-a"}"#,
            "not a credentials document",
        ),
        (200, r#"{"secret-a": 1}"#, "not a credentials document"),
    ] {
        let sts = Service::start(move |_| Reply::Answer(status, body.to_owned())).await;
        let provider = taking(base.source(), &sts, Some("acs:ram::1:role/r"));
        let error = provider.first().await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(matches!(error, Error::Unusable { .. }), "{text}");
        assert!(text.contains(part) && text.contains("role/r"), "{text}");
        assert!(
            !text.contains("secret-a") && !text.contains("secret-base"),
            "{text}"
        );
    }
}
