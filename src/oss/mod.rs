//! The wire: OSS's HTTP interface, as far as a file system needs it.
//!
//! [`Bucket`] is the one type that talks to OSS; there is no trait to put something else in its place, since tests talk
//! to a real server. A request passes through
//!
//! - an operation, which says what is asked and checks what is answered: reading ([`Bucket::list`], [`Bucket::head`],
//!   [`Bucket::get`], [`Bucket::describe`]), writing ([`Bucket::put_object`], [`Bucket::append_object`]; in parts
//!   [`Bucket::initiate`], [`Bucket::upload_part`], [`Bucket::upload_part_copy`], [`Bucket::complete`], [`Bucket::abort`]),
//!   [`Bucket::copy_object`], [`Bucket::delete_objects`], links and tags;
//! - `send`, **the only retry loop of the program**. Each attempt takes the credentials of that moment and is signed
//!   anew (`sign`). It ends with a result, when nobody wants one any more, when a verdict is final, or when nothing
//!   has moved for [`Retry::no_progress`];
//! - `verdict`, the table of what a failure means, to the caller ([`Kind`]) and to the loop.
//!
//! A GET is a stream inside that loop ([`Get`]): if its body breaks, the rest is asked for, of the same version. What
//! it yields is exactly the bytes asked for, or an error, whatever the server does.
//!
//! A [`Body`] is sent from where its bytes lie, again from the start if it breaks, and may take as long as it moves. What OSS stored is
//! compared by CRC-64 with what was sent. **A write whose answer was lost** is sent again, and where the first one makes the
//! second one fail, the bucket is looked at before the refusal is believed (`recognise`).
//!
//! **A server that contradicts itself** (a wrong length, range or ETag, a 200 for a 206, XML that cannot be read) has
//! its answer thrown away, not served, and is asked again a few times; `metrics.oss.lies` counts it.
//!
//! Addressing puts the bucket into the host name ([`Addressing`]); URLs are encoded here, byte for byte as they are
//! signed. Keys with a segment `.` or `..` cannot be asked for: HTTP clients and proxies resolve such segments.

mod ask;
mod body;
mod bucket;
mod config;
mod copy;
mod delete;
mod endpoint;
mod error;
mod get;
mod haste;
mod hedge;
mod limits;
mod links;
mod list;
mod multipart;
mod note;
mod operation;
mod operations;
mod progress;
mod properties;
mod put;
mod recognise;
mod refusal;
mod send;
mod sign;
mod uploads;
mod verdict;
mod xml;

#[cfg(test)]
mod tests;

pub use body::Body;
pub use bucket::Bucket;
pub use config::{Config, Retry, SignatureVersion, UnknownSignature};
pub use copy::{CopyProperties, CopySource};
pub use delete::{DELETE_KEYS_MAX, DeletedBatch};
pub use endpoint::{Addressing, Endpoint, EndpointError};
pub use error::{Error, Kind};
pub use get::Get;
pub use links::Symlink;
pub use list::{ListPage, ListRequest};
pub use multipart::{PART_BYTES_MIN, PART_NUMBER_MAX, Part, Upload};
pub use operations::{BucketInfo, Versioning};
pub use properties::{Condition, Description, Encryption, Properties};
pub use put::{Appended, PUT_BYTES_MAX, Stored};
pub use uploads::{OpenUpload, PartsPage, UploadsMarker, UploadsPage};
