//! A listing, page after page, as a client that knows nothing of the keys has to walk it.

use anyhow::Context as _;
use rolefs::transport::Client;

use super::{ANSWER_BYTES_MAX, get};
use crate::report::{Report, Stopwatch};

/// Keys that one page may have: OSS gives no more (OSS help "ListObjects", `max-keys`).
const PAGE_KEYS: usize = 1000;

/// ListObjects and not its second version: a presigned URL of signature V1 covers the query of the first in any form.
/// Operations are keys, bytes are those of the pages.
pub(super) async fn walk(client: &Client, url: &str, prefix: &str) -> anyhow::Result<Report> {
    let joint = if url.contains('?') { '&' } else { '?' };
    let base = format!("{url}{joint}prefix={prefix}&delimiter=/&max-keys={PAGE_KEYS}");
    let (mut marker, mut keys, mut bytes) = (String::new(), 0, 0);
    let watch = Stopwatch::start()?;
    loop {
        let page = get(client, &format!("{base}&marker={marker}"), None).await?;
        let page = page.bytes(ANSWER_BYTES_MAX).await?;
        let text = std::str::from_utf8(&page).context("a page is not UTF-8")?;
        keys += keys_of(text);
        bytes += page.len() as u64;
        match next_marker(text) {
            Some(next) => next.clone_into(&mut marker),
            None => return watch.stop(bytes, keys),
        }
    }
}

/// How many keys a page has.
fn keys_of(page: &str) -> u64 {
    page.matches("<Key>").count() as u64
}

/// Where the next page begins, `None` at the end. The marker goes into the URL as it is: the benchmark's keys need no
/// encoding.
fn next_marker(page: &str) -> Option<&str> {
    let (_, rest) = page.split_once("<NextMarker>")?;
    let (marker, _) = rest.split_once("</NextMarker>")?;
    (!marker.is_empty()).then_some(marker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_its_keys_and_the_next() {
        let key = |name: &str| format!("<Contents><Key>{name}</Key></Contents>");
        let page = format!(
            "<ListBucketResult><NextMarker>many/2</NextMarker>{}{}</ListBucketResult>",
            key("many/1"),
            key("many/2")
        );
        assert_eq!((keys_of(&page), next_marker(&page)), (2, Some("many/2")));
        assert_eq!(next_marker(&key("many/3")), None);
        assert_eq!(next_marker("<NextMarker></NextMarker>"), None);
    }
}
