//! The kernel's door: the only room that names fuser.
//!
//! Each callback does one of two things. What memory can answer is answered at once, on the thread that took the request
//! from the kernel. What needs the network goes to a task that owns the reply ([`answer`]); no thread of the door ever
//! blocks. [`pending`] lists those tasks and frees callers that were killed. [`errno`] is the one errno table. [`forgetting`]
//! asks the kernel to forget names when it holds too many. [`kernel`] is for whoever looks after a session from outside. [`processes`] tells whose threads write and close.
//!
//! [`mount()`] makes the mount, by itself or by [`fusermount`], and yields a `/dev/fuse` descriptor; [`Session`] takes a descriptor,
//! wherever it comes from: one that another process has mounted is [`handed`] over.
//!
//! What fuser 0.18 lacks, and what is done about it here: a reply to READ takes one slice (an answer that lies in two
//! blocks is written to the kernel by [`straddled`]), and `INTERRUPT` is answered ENOSYS (see [`pending`]).

mod answer;
mod backing;
mod door;
mod errno;
mod forgetting;
mod fusermount;
pub mod handed;
mod io_mode;
mod kernel;
mod mount;
mod pending;
mod place;
mod processes;
mod session;
mod straddled;

pub use kernel::{InFlight, Kernel};
pub use mount::{MountOptions, Mounted, is_dead, mount, mount_directly, unmount};
pub use place::{InMount, in_mount, mounted_at};
pub use session::{Session, SessionOptions};
