//! How what is written gets old bytes: through the reader, as anybody.

use std::sync::Arc;

use bytes::Bytes;

use crate::buffer::Failure;
use crate::op::Op;
use crate::read::Reader;
use crate::write::Fetch;

/// Gets bytes of objects by `reader`, for a [`Writer`](crate::write::Writer).
#[must_use]
pub fn fetch(reader: Arc<Reader>) -> Fetch {
    Arc::new(move |source| {
        let reader = Arc::clone(&reader);
        Box::pin(async move {
            let op = Op::awaited("fetch");
            let file = reader.open(Arc::clone(&source.version));
            let read = match reader.try_read(&file, source.range.start, source.len()) {
                Ok(served) => Ok(served),
                Err(pending) => reader.read(&op, &file, pending).await,
            };
            let served = read.map_err(Failure::new)?;
            Ok(served.with(Bytes::copy_from_slice))
        })
    })
}
