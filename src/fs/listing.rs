//! The pages of one directory, in order, fetched by many requests at once.
//!
//! Which pages to ask for is the [`Sweep`]'s to say; here they are asked for. A listing moves only while its reader does: at
//! each call it takes in what has come and sends what is worth sending. Its requests end with it.
//!
//! Whoever wants the pages of a directory makes a [`Listing`], calls [`Listing::widen`] if it will read on to the end, and
//! then [`Listing::next`] until [`More::Ends`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{self, JoinSet};

use super::FileSystem;
use crate::object::Prefix;
use crate::op::Op;
use crate::oss::{self, Bucket, ListPage, ListRequest};
use crate::tree::{More, Next, Page, Sweep, Ticket};

/// One listing may hold so much of what all may hold ahead of their readers: its pages come from everywhere in the directory, and
/// wait for a reader who may be slow, while others begin.
const PAGES_SHARE: (usize, usize) = (3, 4);

/// An answer, with the moment at which it was asked for.
type Answer = (Instant, Result<ListPage, oss::Error>);

/// A listing under way.
#[derive(Debug)]
pub(super) struct Listing {
    bucket: Arc<Bucket>,
    runtime: Handle,
    prefix: Prefix,
    sweep: Sweep,
    requests: JoinSet<Answer>,
    tickets: HashMap<task::Id, Ticket>,
    /// Requests that may be under way.
    width: usize,
    width_max: usize,
    /// Shared by all listings; one permit for each page ahead of its reader.
    pages: Arc<Semaphore>,
    /// No more of them are held here: one slow reader doesn't take them from all others.
    pages_max: usize,
    /// Those held here. The page that the reader waits for needs none: so nobody waits for anybody.
    held: Option<OwnedSemaphorePermit>,
}

impl Listing {
    /// Begins to list the directory that stands for `prefix`, behind the key `after`. Nothing is sent yet.
    pub(super) fn new(fs: &FileSystem, prefix: Prefix, after: Option<String>) -> Self {
        Self {
            bucket: Arc::clone(&fs.bucket),
            runtime: fs.runtime.clone(),
            sweep: Sweep::new(prefix.clone(), after),
            prefix,
            requests: JoinSet::new(),
            tickets: HashMap::new(),
            width: 1,
            width_max: fs.config.listing_requests_max.max(1),
            pages: Arc::clone(&fs.listing_pages),
            pages_max: (fs.config.listing_pages_max * PAGES_SHARE.0 / PAGES_SHARE.1).max(1),
            held: None,
        }
    }

    /// The reader goes on: from now on many pages are fetched at once, not only the next one.
    pub(super) fn widen(&mut self) {
        self.width = self.width_max;
    }

    /// Takes in what has come, and sends what is worth sending. Doesn't wait.
    pub(super) fn advance(&mut self) {
        while let Some(joined) = self.requests.try_join_next_with_id() {
            // One that failed is sent again when the reader needs it.
            let _ = self.take_in(joined);
        }
        self.send();
    }

    /// The next page, asked for at that moment. After the one that says [`More::Ends`], do not ask again.
    ///
    /// # Errors
    /// What OSS says to the request that the reader waits for; it is sent again at the next call. Nothing is lost when the
    /// call itself is given up.
    pub(super) async fn next(&mut self, op: &Op) -> Result<(Page, More, Instant), oss::Error> {
        loop {
            self.advance();
            if let Next::Page(page, more, asked) = self.sweep.take() {
                if more == More::Follows {
                    self.send();
                }
                self.release();
                return Ok((page, more, asked));
            }
            if let Some(joined) = self.requests.join_next_with_id().await {
                op.progressed();
                self.take_in(joined)?;
            }
        }
    }

    fn take_in(
        &mut self,
        joined: Result<(task::Id, Answer), task::JoinError>,
    ) -> Result<(), oss::Error> {
        let (id, answer) = match joined {
            Ok((id, answer)) => (id, Some(answer)),
            Err(error) => (error.id(), None),
        };
        let Some(ticket) = self.tickets.remove(&id) else {
            return Ok(());
        };
        match answer {
            Some((
                asked,
                Ok(ListPage {
                    objects,
                    prefixes,
                    next,
                }),
            )) => {
                self.sweep
                    .arrived(ticket, Page { objects, prefixes }, next, asked);
            }
            Some((_, Err(error))) => {
                self.sweep.failed(ticket);
                // A server in trouble is not asked for more than what is needed.
                (self.width, self.width_max) = (1, 1);
                if self.sweep.is_awaited(ticket) {
                    return Err(error);
                }
            }
            None => self.sweep.failed(ticket),
        }
        Ok(())
    }

    fn send(&mut self) {
        loop {
            let is_awaited = self.sweep.is_starved();
            let held = self.held.as_ref();
            let held = held.map_or(0, OwnedSemaphorePermit::num_permits);
            let permit = match is_awaited {
                true => None,
                false if held >= self.pages_max => return,
                false => match Arc::clone(&self.pages).try_acquire_owned() {
                    Ok(permit) => Some(permit),
                    Err(_) => return,
                },
            };
            let Some(want) = self.sweep.want(self.width) else {
                return;
            };
            match (&mut self.held, permit) {
                (Some(held), Some(permit)) => held.merge(permit),
                (held @ None, permit) => *held = permit,
                (Some(_), None) => {}
            }
            let request = ListRequest {
                start_after: want.start_after,
                continuation: want.continuation,
                ..ListRequest::directory(self.prefix.as_str())
            };
            let bucket = Arc::clone(&self.bucket);
            let ask = async move {
                let asked = Instant::now();
                let op = match is_awaited {
                    true => Op::awaited("list"),
                    false => Op::background("list"),
                };
                (asked, bucket.list(&op, &request).await)
            };
            let id = self.requests.spawn_on(ask, &self.runtime).id();
            self.tickets.insert(id, want.ticket);
        }
    }

    /// Gives back the permits of pages that were taken.
    fn release(&mut self) {
        if let Some(held) = &mut self.held {
            let spare = held.num_permits().saturating_sub(self.sweep.ahead());
            drop(held.split(spare));
        }
    }
}
