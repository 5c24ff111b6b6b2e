//! No secret in any text.

use super::*;

#[tokio::test]
async fn no_public_type_shows_a_secret() {
    let all = [
        (
            "CREDENTIALS_URI",
            "http://u:topsecret@127.0.0.1:1/x?k=topsecret",
        ),
        ("ACCESS_KEY_ID", "LTAI-topsecret-0123456789"),
        ("ACCESS_KEY_SECRET", "topsecret"),
    ];
    let environment = environment(&all);
    let config = Config::new(Source::Auto, environment.clone());
    let set = Arc::new(Credentials::new(
        "STS.topsecret-0123456789",
        Secret::from("topsecret"),
        Some(Secret::from("topsecret")),
        None,
    ));
    let provider = Provider::new(config.clone(), Arc::default()).unwrap();
    let first = provider.first().await.unwrap();
    let refused = provider.replace(&first).await.unwrap_err();
    let source = Source::Uri(all[0].1.to_owned());
    for text in [
        format!("{environment:?} {config:?} {set:?} {source:?} {source}"),
        format!(
            "{provider:?} {first:?} {:?} {:?}",
            set.secret(),
            set.token()
        ),
        format!("{refused:?} {refused} {refused:#}"),
        format!("{:?}", "uri:topsecret".parse::<Source>()),
    ] {
        assert!(!text.contains("topsecret"), "{text}");
        assert!(!text.is_empty());
    }
}
