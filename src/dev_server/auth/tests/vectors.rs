use super::*;

/// All vectors of both header groups, by each official client's way to write `Authorization`, and of both URL groups.
fn all() -> Vec<(Value, Incoming)> {
    let data = vectors();
    let mut requests = Vec::new();
    for (group, authorizations) in [
        ("v1_header", &["authorization"][..]),
        ("v4_header", &["authorization_oss2", "authorization_oss_v2"]),
    ] {
        for vector in data[group].as_array().unwrap() {
            for authorization in authorizations {
                if vector[*authorization].is_string() {
                    requests.push((vector.clone(), signed(vector, authorization)));
                }
            }
        }
    }
    for group in ["v1_url", "v4_url"] {
        for vector in data[group].as_array().unwrap() {
            let args = &vector["args"];
            let url = text(vector, "signed_url");
            requests.push((
                vector.clone(),
                incoming(text(args, "method"), url, &args["headers"]),
            ));
        }
    }
    assert!(requests.len() >= 34 + 37 + 8 + 8, "{}", requests.len());
    requests
}

fn claim_of(request: &Incoming) -> Claim {
    claim(request, clock()).unwrap().unwrap()
}

#[test]
fn every_request_of_the_official_clients_is_accepted() {
    let authority = hangzhou();
    for (vector, request) in all() {
        let answer = authority.check(&request, "oss:GetObject", None, clock());
        assert!(answer.is_ok(), "{}: {answer:#?}", text(&vector, "name"));
    }
}

#[test]
fn a_blank_in_a_query_can_come_as_a_plus() {
    let name = "get-version-and-response-override";
    for (group, authorization) in [
        ("v1_header", "authorization"),
        ("v4_header", "authorization_oss2"),
    ] {
        let mut request = signed(&vector(group, name), authorization);
        let query = request.raw_query.take().unwrap();
        assert!(query.contains("%20"), "{query}");
        request.raw_query = Some(query.replace("%20", "+"));
        assert!(hangzhou().authenticate(&request, clock()).is_ok());
    }
}

#[test]
fn the_strings_to_sign_are_those_of_the_official_clients() {
    for (vector, request) in all() {
        let (canonical, string) = match claim_of(&request).scheme {
            Scheme::V1(claim) => (None, claim.string_to_sign(&request)),
            Scheme::V4(claim) => {
                let canonical = claim.canonical_request(&request);
                let string = claim.string_to_sign(&canonical);
                (Some(canonical), string)
            }
        };
        if let Some(wanted) = vector["string_to_sign"].as_str() {
            assert_eq!(string, wanted, "{}", text(&vector, "name"));
        }
        assert_eq!(
            canonical.as_deref(),
            vector["canonical_request"].as_str(),
            "{}",
            text(&vector, "name")
        );
    }
}

#[test]
fn signing_keys_are_those_of_the_official_clients() {
    for vector in vectors()["v4_header"].as_array().unwrap() {
        let Some(wanted) = vector["signing_key_hex"].as_str() else {
            continue;
        };
        let data = vectors();
        let secret = text(
            &data["credentials"][text(vector, "credentials")],
            "AccessKeySecret",
        );
        let Scheme::V4(claim) = claim_of(&signed(vector, "authorization_oss_v2")).scheme else {
            panic!("not version 4");
        };
        assert_eq!(hex::encode(claim.signing_key(secret)), wanted);
    }
}

#[test]
fn a_kept_signing_key_is_of_its_day_and_region() {
    let key = tokens::Key::new("secret".to_owned(), Role::new("r", Policy::default()), None);
    let mut seen = std::collections::HashSet::new();
    for (day, region) in [
        ("20240521", "cn-hangzhou"),
        ("20240522", "cn-hangzhou"),
        ("20240522", "cn-beijing"),
    ] {
        let claim = ClaimV4::new(&signature_v4::Fields {
            credential: &format!("id/{day}/{region}/oss/aliyun_v4_request"),
            additional: None,
            signature: "",
            date_time: &format!("{day}T103929Z"),
            form: Form::Header,
        })
        .unwrap();
        for _ in 0..2 {
            assert_eq!(key.signing_key(&claim), claim.signing_key("secret"));
        }
        assert!(seen.insert(key.signing_key(&claim)));
    }
}

#[test]
fn every_changed_byte_of_a_signature_or_of_what_is_signed_is_refused() {
    let authority = hangzhou();
    for (vector, request) in all() {
        for (what, changed) in changes(&request) {
            let answer = authority.check(&changed, "oss:GetObject", None, clock());
            let Err(error) = answer else {
                panic!("{}: {what} is not signed", text(&vector, "name"));
            };
            assert!([400, 403].contains(&error.status), "{what}: {error:?}");
        }
    }
}

/// `text` with one character replaced, for each of its characters.
fn flips(text: &str) -> impl Iterator<Item = String> {
    text.char_indices().map(move |(at, old)| {
        let new = if old == '1' { '2' } else { '1' };
        format!("{}{new}{}", &text[..at], &text[at + old.len_utf8()..])
    })
}

fn changes(request: &Incoming) -> Vec<(String, Incoming)> {
    let claim = claim_of(request);
    let form = if request.headers.contains_key("authorization") {
        Form::Header
    } else {
        Form::Url
    };
    let mut changes = Vec::new();
    let mut change = |what: String, edit: &dyn Fn(&mut Incoming)| {
        let mut changed = request.clone();
        edit(&mut changed);
        changes.push((what, changed));
    };
    change("method".into(), &|request| request.method = Method::PATCH);
    change("a new header".into(), &|request| {
        set_header(request, "x-oss-meta-new", "1");
    });
    change("a new parameter".into(), &|request| {
        let query = request.raw_query.take().unwrap_or_default();
        request.raw_query = Some(format!("{query}&acl"));
    });
    for key in request.key.iter().flat_map(|key| flips(key)) {
        change(format!("key {key}"), &|request| {
            request.raw_path = format!("/{}", wire::encode(&key, wire::Slash::Keep));
        });
    }
    for bucket in request.bucket.iter().flat_map(|bucket| flips(bucket)) {
        change(format!("bucket {bucket}"), &|request| {
            request.bucket = Some(bucket.clone());
        });
    }
    for (name, value) in wire::headers(&request.headers, |name| header_counts(&claim, form, name)) {
        for value in flips(&value) {
            change(format!("{name}: {value}"), &|request| {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
                request.headers.insert(name, value);
            });
        }
    }
    let query = wire::query(request);
    for (at, (name, value)) in query.iter().enumerate() {
        let counts = match &claim.scheme {
            Scheme::V4(_) => true,
            Scheme::V1(_) => !unsigned_in_v1(name),
        };
        for value in flips(value).filter(|_| counts) {
            change(format!("?{name}={value}"), &|request| {
                let mut query = query.clone();
                query[at].1.clone_from(&value);
                let encode = |text: &str| wire::encode(text, wire::Slash::Encode);
                let pairs = query
                    .iter()
                    .map(|(name, value)| format!("{}={}", encode(name), encode(value)));
                request.raw_query = Some(pairs.collect::<Vec<_>>().join("&"));
            });
        }
    }
    changes
}

/// Which headers of the vectors are signed, written down independently of the code under test.
fn header_counts(claim: &Claim, form: Form, name: &str) -> bool {
    let always = name.starts_with("x-oss-")
        || ["content-type", "content-md5", "authorization"].contains(&name);
    match (&claim.scheme, form) {
        (Scheme::V1(_), Form::Header) => always || name == "date",
        (Scheme::V4(v4), _) => always || v4.additional.iter().any(|more| more == name),
        (Scheme::V1(_), Form::Url) => always,
    }
}

/// The parameters of listings, which version 1 leaves out.
fn unsigned_in_v1(name: &str) -> bool {
    [
        "prefix",
        "delimiter",
        "marker",
        "max-keys",
        "list-type",
        "start-after",
        "fetch-owner",
        "encoding-type",
        "part-number-marker",
        "max-parts",
        "max-uploads",
        "key-marker",
        "upload-id-marker",
    ]
    .contains(&name)
}
