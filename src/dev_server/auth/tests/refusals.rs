use super::*;

fn refused(authority: &Authority, request: &Incoming, now: Timestamp) -> OssError {
    authority
        .check(request, "oss:GetObject", request.key.as_deref(), now)
        .unwrap_err()
}

/// A signed request with a temporary key; its date is [`clock`].
fn sts_v4() -> Incoming {
    signed(
        &vector("v4_header", "get-simple-ascii"),
        "authorization_oss2",
    )
}

fn sts_v1() -> Incoming {
    signed(&vector("v1_header", "get-simple-ascii"), "authorization")
}

fn secs(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

#[test]
fn a_token_ends_at_its_expiration() {
    let end = clock() + secs(60);
    let authority = authority("cn-hangzhou", end);
    for request in [sts_v1(), sts_v4()] {
        assert!(authority.authenticate(&request, end - secs(1)).is_ok());
        for now in [end, end + secs(1)] {
            let error = refused(&authority, &request, now);
            assert_eq!(
                (error.status, error.code, error.ec),
                (403, "SecurityTokenExpired", "0002-00000007")
            );
            let token = vector_set(end).security_token;
            assert!(error.extra.contains(&("SecurityToken", token)));
        }
    }
}

#[test]
fn a_revoked_or_unknown_key_does_not_exist() {
    let authority = hangzhou();
    authority.revoke(&vector_set(clock()).access_key_id);
    for request in [sts_v1(), sts_v4()] {
        let error = refused(&authority, &request, clock());
        assert_eq!(
            (error.status, error.code, error.ec),
            (403, "InvalidAccessKeyId", "0002-00000002")
        );
    }
}

#[test]
fn the_token_must_be_that_of_the_key() {
    let authority = hangzhou();
    let other = authority.issue("all", secs(3600)).unwrap();
    for request in [sts_v1(), sts_v4()] {
        let code = |token: Option<&str>| {
            let mut request = request.clone();
            request.headers.remove("x-oss-security-token");
            if let Some(token) = token {
                set_header(&mut request, "x-oss-security-token", token);
            }
            refused(&authority, &request, clock()).code
        };
        assert_eq!(
            code(Some(&other.security_token)),
            "AccessKeyIdAndSecurityTokenNotMatch"
        );
        assert_eq!(code(Some("CAISnobody")), "InvalidSecurityToken");
        assert_eq!(code(None), "InvalidAccessKeyId");
    }
}

#[test]
fn a_clock_may_be_a_quarter_of_an_hour_off() {
    let authority = authority("cn-hangzhou", clock() + secs(7200));
    for request in [sts_v1(), sts_v4()] {
        for off in [-900, -899, 0, 899, 900] {
            assert!(
                authority
                    .authenticate(&request, clock() + secs(off))
                    .is_ok()
            );
        }
        for off in [-901, 901] {
            let error = refused(&authority, &request, clock() + secs(off));
            assert_eq!((error.status, error.code), (403, "RequestTimeTooSkewed"));
        }
    }
}

#[test]
fn a_signed_url_lives_as_long_as_it_says() {
    let authority = authority("cn-hangzhou", clock() + secs(700_000));
    for group in ["v1_url", "v4_url"] {
        let vector = vector(group, "presign-get");
        let request = incoming("GET", text(&vector, "signed_url"), &Value::Null);
        assert!(
            authority
                .authenticate(&request, clock() + secs(3600))
                .is_ok()
        );
        let error = refused(&authority, &request, clock() + secs(3601));
        assert_eq!((error.status, error.code), (403, "AccessDenied"));
        assert_eq!(error.message, "Request has expired.");
    }
}

#[test]
fn the_life_of_a_v4_url_is_bounded() {
    let vector = vector("v4_url", "presign-get");
    for (seconds, ec) in [
        ("0", "0002-00000232"),
        ("604801", "0002-00000232"),
        ("soon", "0002-00000232"),
        ("604800", "0002-00000040"), // within bounds, but not what was signed
    ] {
        let url = text(&vector, "signed_url")
            .replace("x-oss-expires=3600", &format!("x-oss-expires={seconds}"));
        let request = incoming("GET", &url, &Value::Null);
        assert_eq!(refused(&hangzhou(), &request, clock()).ec, ec, "{seconds}");
    }
}

#[test]
fn another_region_is_named() {
    let authority = authority("cn-shanghai", clock() + secs(60));
    let error = refused(&authority, &sts_v4(), clock());
    assert_eq!(
        (error.status, error.code, error.ec),
        (400, "InvalidArgument", "0002-00000226")
    );
}

#[test]
fn a_wrong_signature_is_answered_with_what_should_have_been_signed() {
    let mut request = sts_v4();
    request.raw_path = "/dir%2Fb.txt".to_owned();
    let error = refused(&hangzhou(), &request, clock());
    assert_eq!((error.status, error.code), (403, "SignatureDoesNotMatch"));
    let extra = |wanted| {
        let found = error.extra.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| value.as_str()).unwrap()
    };
    assert_eq!(extra("OSSAccessKeyId"), "STS.NUtestAccessKeyId7");
    assert!(extra("StringToSign").starts_with("OSS4-HMAC-SHA256\n20240521T103929Z\n"));
    assert!(extra("StringToSignBytes").starts_with("4F 53 53 34 2D"));
    assert!(extra("CanonicalRequest").contains("/pai-demo-bucket/dir/b.txt"));
    assert!(extra("SignatureProvided").starts_with("22eab13c"));
}

#[test]
fn nobody_comes_in_without_a_signature() {
    let mut request = sts_v4();
    request.headers.remove("authorization");
    let error = refused(&hangzhou(), &request, clock());
    assert_eq!((error.status, error.code), (403, "AccessDenied"));
}

#[test]
fn what_cannot_be_read_is_malformed() {
    let good = "Credential=STS.NUtestAccessKeyId7/20240521/cn-hangzhou/oss/aliyun_v4_request";
    for (authorization, code) in [
        ("OSS".to_owned(), "InvalidArgument"),
        ("OSS nocolon".to_owned(), "InvalidArgument"),
        ("OSS :signature".to_owned(), "InvalidArgument"),
        ("AWS4-HMAC-SHA256 x".to_owned(), "InvalidArgument"),
        (format!("OSS4-HMAC-SHA256 {good}"), "InvalidArgument"),
        (
            format!("OSS4-HMAC-SHA256 {good},AdditionalHeaders=,Signature=1"),
            "InvalidArgument",
        ),
        (
            format!("OSS4-HMAC-SHA256 {good},Signature=1").replace("/20240521", "/20240522"),
            "InvalidArgument",
        ),
        (
            format!("OSS4-HMAC-SHA256 {good},Signature=1").replace("/oss", "/pai"),
            "InvalidArgument",
        ),
        (
            format!("OSS4-HMAC-SHA256   Signature=1 , {good}"), // any order, any blanks
            "SignatureDoesNotMatch",
        ),
    ] {
        let mut request = sts_v4();
        set_header(&mut request, "authorization", &authorization);
        let error = refused(&hangzhou(), &request, clock());
        assert_eq!(error.code, code, "{authorization}");
    }
    for mut request in [sts_v1(), sts_v4()] {
        request.headers.remove("date");
        request.headers.remove("x-oss-date");
        let error = refused(&hangzhou(), &request, clock());
        assert_eq!((error.status, error.code), (403, "AccessDenied"));
    }
}

#[test]
fn a_token_in_an_unsigned_header_is_tolerated_in_v1() {
    let mut request = sts_v1();
    let token = request.headers.remove("x-oss-security-token").unwrap();
    request.headers.insert("security-token", token);
    let string = "GET\n\n\nTue, 21 May 2024 10:39:29 GMT\n/pai-demo-bucket/dir/a.txt";
    let signature = signature_v1::signature("3testAccessKeySecret+/=d", string);
    let authorization = format!("OSS STS.NUtestAccessKeyId7:{signature}");
    set_header(&mut request, "authorization", &authorization);
    assert!(hangzhou().authenticate(&request, clock()).is_ok());
}

#[test]
fn a_policy_can_change_while_requests_run() {
    let authority = hangzhou();
    let request = sts_v4();
    let key = request.key.as_deref();
    let check = |action| authority.check(&request, action, key, clock());
    assert!(check("oss:GetObject").is_ok());
    let read_only =
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"oss:List*","Resource":"*"}]}"#;
    authority.set_policy("all", read_only).unwrap();
    let error = check("oss:GetObject").unwrap_err();
    assert_eq!((error.status, error.code), (403, "AccessDenied"));
    assert!(error.message.contains("oss:GetObject"), "{}", error.message);
    assert!(check("oss:ListObjects").is_ok());
}

#[test]
fn the_servers_clock_can_be_wrong() {
    let authority = hangzhou();
    authority.set_clock_offset(secs(-7200));
    let late = Timestamp::now().duration_since(authority.now());
    assert!((secs(7199)..secs(7201)).contains(&late), "{late}");
    let set = authority.issue("all", secs(60)).unwrap();
    assert!(set.expiration < Timestamp::now());
    assert!(authority.issue("nobody", secs(60)).is_none());
}
