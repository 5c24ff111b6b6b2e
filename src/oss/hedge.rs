//! A GET that is late, sent twice: what [`Haste`](super::haste::Haste) has learned, put to use.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::timeout;

use super::bucket::Request;
use super::operation::Operation;
use super::send::Exchange;
use crate::credentials::Credentials;
use crate::transport::{self, Response};

impl Exchange<'_> {
    /// Sends a request; a GET whose head is late a second time, and the first of the two to be answered is taken.
    ///
    /// This is one attempt, sent twice: what it ends with is judged once, by the loop above. See [`super::haste`].
    pub(super) async fn send_hedged(
        &mut self,
        request: &Request,
        credentials: &Arc<Credentials>,
        signed: transport::Request,
    ) -> Result<Response, transport::Error> {
        let bucket = self.bucket;
        let first = bucket.transport.send(signed);
        if self.operation != Operation::Get {
            return first.await;
        }
        let started = Instant::now();
        let late = {
            let mut haste = bucket.haste();
            haste.sent();
            haste.late_head()
        };
        let mut first = std::pin::pin!(first);
        let answer = match late {
            Some(late) => timeout(late, &mut first).await.ok(),
            None => Some(first.as_mut().await),
        };
        if let Some(answer) = answer {
            if answer.is_ok() {
                bucket.haste().head(started.elapsed());
            }
            return answer;
        }
        let leave = bucket.haste().may_hedge(Instant::now()) && bucket.limits.try_request();
        let again = leave.then(|| bucket.sign(request, self.key.as_ref(), credentials));
        let Some(Ok(again)) = again else {
            let answer = first.await;
            bucket.haste().head(started.elapsed());
            return answer;
        };
        self.count_attempt();
        bucket.metrics.oss.hedged.inc();
        let started_again = Instant::now();
        let mut second = std::pin::pin!(bucket.transport.send(again));
        // A copy that is refused or breaks decides nothing: the other is still on its way.
        let answer = tokio::select! {
            answer = &mut first => match answer {
                Ok(response) if response.status().is_success() => Ok(response),
                Ok(_) | Err(_) => second.await,
            },
            answer = &mut second => match answer {
                Ok(response) if response.status().is_success() => {
                    bucket.metrics.oss.hedge_wins.inc();
                    bucket.haste().head(started_again.elapsed());
                    return Ok(response);
                }
                Ok(_) | Err(_) => first.await,
            },
        };
        bucket.haste().head(started.elapsed());
        answer
    }

    /// Asks for leave to give a body up before its time. Then the caller does.
    pub(super) fn may_hurry(&mut self) -> bool {
        let leave = self.bucket.haste().may_hedge(Instant::now());
        if leave {
            self.bucket.metrics.oss.hedged.inc();
            self.hurried = true;
        }
        leave
    }
}
