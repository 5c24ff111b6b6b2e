//! The development server: OSS, the credentials service of a job, role policies and faults in one process.
#![expect(dead_code, reason = "the HTTP half names the rest")]

mod auth;
mod error;
mod request;
pub mod roles;
