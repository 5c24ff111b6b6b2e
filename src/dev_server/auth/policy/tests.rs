#![expect(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;

const BUCKET: &str = "acs:oss:oss-cn-hangzhou:1234567890123456:data";

fn ask<'a>(action: &'a str, resource: &'a str) -> Question<'a> {
    Question {
        action,
        resource,
        prefix: "",
        delimiter: "",
    }
}

fn may(policy: &Policy, action: &str, resource: &str) -> bool {
    policy.allows(&ask(action, resource))
}

/// What the pattern means, word for word.
fn naive(pattern: &[char], text: &[char]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), None) => naive(rest, text),
        (Some(('*', rest)), Some((_, shorter))) => naive(rest, text) || naive(pattern, shorter),
        (Some((want, rest)), Some((have, shorter))) => {
            (*want == '?' || want == have) && naive(rest, shorter)
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

proptest! {
    #[test]
    fn wildcards_mean_what_the_naive_twin_says(pattern in "[ab/数*?]{0,8}", text in "[ab/数]{0,10}") {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(matches(&pattern, &text), naive(&chars(&pattern), &chars(&text)));
    }
}

#[test]
fn what_nothing_allows_is_denied() {
    assert!(!may(&Policy::default(), "oss:GetObject", BUCKET));
    let read_only = Policy::system("AliyunOSSReadOnlyAccess").unwrap();
    assert!(may(&read_only, "oss:GetObject", &format!("{BUCKET}/a")));
    assert!(may(&read_only, "oss:ListObjects", BUCKET));
    assert!(!may(&read_only, "oss:PutObject", &format!("{BUCKET}/a")));
    assert!(Policy::system("AliyunECSFullAccess").is_none());
}

#[test]
fn a_deny_wins_wherever_it_stands() {
    let deny = r#"{"Version":"1","Statement":{"Effect":"Deny","Action":"oss:Delete*","Resource":"acs:oss:*:*:data/raw/*"}}"#;
    let deny = Policy::parse(deny).unwrap();
    for policy in [
        deny.clone().join(Policy::everything()),
        Policy::everything().join(deny),
    ] {
        assert!(!may(
            &policy,
            "oss:DeleteObject",
            &format!("{BUCKET}/raw/x")
        ));
        assert!(may(&policy, "oss:DeleteObject", &format!("{BUCKET}/out/x")));
        assert!(may(&policy, "oss:GetObject", &format!("{BUCKET}/raw/x")));
    }
}

#[test]
fn the_default_role_reaches_its_bucket_only() {
    let policy = Policy::one_bucket("data");
    assert!(may(&policy, "oss:ListObjects", BUCKET));
    assert!(may(&policy, "oss:PutObject", &format!("{BUCKET}/a/b")));
    assert!(!may(&policy, "oss:ListObjects", &format!("{BUCKET}2")));
    assert!(!may(&policy, "oss:GetObject", &format!("{BUCKET}2/a")));
    assert!(!may(
        &policy,
        "oss:ListBuckets",
        "acs:oss:oss-cn-hangzhou:1234567890123456:*"
    ));
}

#[test]
fn a_listing_can_be_limited_to_a_prefix() {
    let policy = Policy::parse(
        r#"{"Version": "1", "Statement": [{"Effect": "Allow", "Action": ["oss:ListObjects"],
            "Resource": ["acs:oss:*:*:data"],
            "Condition": {"StringLike": {"oss:Prefix": ["", "sets/*"]}, "StringEquals": {"oss:Delimiter": "/"}}}]}"#,
    )
    .unwrap();
    let list = |prefix, delimiter| {
        policy.allows(&Question {
            prefix,
            delimiter,
            ..ask("oss:ListObjects", BUCKET)
        })
    };
    assert!(list("sets/", "/"));
    assert!(list("", "/"));
    assert!(!list("", ""));
    assert!(!list("other/", "/"));
}

#[test]
fn negative_conditions_hold_when_no_value_is_alike() {
    let policy = Policy::parse(
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*",
            "Condition":{"StringNotLike":{"oss:Prefix":["secret*","hidden*"]},"StringNotEquals":{"oss:Delimiter":"|"}}}]}"#,
    )
    .unwrap();
    let list = |prefix, delimiter| {
        policy.allows(&Question {
            prefix,
            delimiter,
            ..ask("oss:ListObjects", BUCKET)
        })
    };
    assert!(list("open/", ""));
    assert!(!list("hidden/", ""));
    assert!(!list("open/", "|"));
}

#[test]
fn what_is_not_understood_is_refused() {
    for (json, word) in [
        (r#"{"Version":"2","Statement":[]}"#, "version '2'"),
        (
            r#"{"Version":"1","Statement":[{"Effect":"Allow","NotAction":"*","Resource":"*"}]}"#,
            "",
        ),
        (
            r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{}}}]}"#,
            "",
        ),
        ("{", "line 1"),
    ] {
        let error = Policy::parse(json).unwrap_err();
        assert!(
            error.contains(word) && !error.contains('\n'),
            "{json}: {error}"
        );
    }
}
