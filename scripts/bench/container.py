"""A bound on the memory of what is measured, page cache included, as a job's container has one.

Without it every page that a cold read brings into the page cache is memory that nobody used before. A virtual machine may
have to ask its host for each of those, at 1 to 2 CPU-seconds per GiB: that measures the host. In a container pages are used
again and again, as they are in a job once its memory is full.
"""

import contextlib
import os
import pathlib

# Of those that read through the kernel: a quarter of what R1 reads. Much less, and the kernel is busy with taking pages back.
LIMIT_BYTES = 1 << 30
WORKLOADS = {"R1", "R2", "R3", "R4", "R10"}
ROOTS = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]


@contextlib.contextmanager
def container():
    """The words that put a command into a memory cgroup of its own (v1, else v2); none where it cannot be made."""
    for root, knob in ROOTS:
        path = pathlib.Path(root) / f"rolefs-bench-{os.getpid()}"
        if not (path.parent / "cgroup.procs").exists():
            continue
        try:
            path.mkdir()
            (path / knob).write_text(str(LIMIT_BYTES))
        except OSError:
            break
        try:
            yield ["sh", "-c", f'echo $$ > {path}/cgroup.procs; exec "$@"', "sh"]
        finally:
            with contextlib.suppress(OSError):
                path.rmdir()
        return
    yield []
