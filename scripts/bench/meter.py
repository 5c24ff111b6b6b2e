"""Runs one program and tells what it, the daemon and the server spent meanwhile."""

import json
import os
import pathlib
import subprocess
import threading
import time

import rig

TIMEOUT_SECONDS = 900


def run(command, server, daemon=None, environment=None, reports=True, timeout=TIMEOUT_SECONDS):
    """One run of a program: its own report, or for a program that writes none its wall-clock time and rusage.

    With `reports` the last line of standard output is a report as `rolefs-bench` prints it; without, the output is
    returned as `output` and nothing is known of bytes and operations.
    """
    busy, before = busy_seconds(), cpu_of(server, daemon)
    started = time.monotonic()
    environment = {**rig.clean_environment(), **(environment or {})}
    output, usage = execute([str(part) for part in command], environment, reports, timeout)
    seconds = time.monotonic() - started
    if reports:
        sample = json.loads(output.splitlines()[-1])
    else:
        sample = {"output": output, "seconds": seconds}
        sample |= {"user_seconds": usage.ru_utime, "system_seconds": usage.ru_stime}
    after = cpu_of(server, daemon)
    for who in ("server", "daemon"):
        for part in ("user", "system"):
            sample[f"{who}_{part}_seconds"] = after[who][part] - before[who][part]
    ours = sum(value for name, value in sample.items() if name.endswith(("user_seconds", "system_seconds")))
    sample["foreign_cpu_seconds"] = max(0.0, busy_seconds() - busy - ours)
    if daemon:
        sample["daemon_rss_bytes"] = rig.peak_rss_bytes(daemon)
    return sample


def execute(command, environment, keep, timeout):
    """Output and resource usage of a child that was waited for, or killed if this process is told to end. Output that
    nobody keeps goes to /dev/null, as `ls` into a pipe would measure the pipe."""
    stdout = subprocess.PIPE if keep else subprocess.DEVNULL
    if not keep and command[0] == "curl":
        stdout = subprocess.PIPE
    process = subprocess.Popen(command, stdout=stdout, env=environment, text=True, stdin=subprocess.DEVNULL)
    overdue = threading.Timer(timeout, process.kill)
    overdue.start()
    try:
        output = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        overdue.cancel()
        if process.returncode is None:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()
    # curl's code for a transfer that took longer than it may.
    if process.returncode not in (0, 28 if command[0] == "curl" else 0):
        raise rig.Failure(f"{' '.join(command[:3])} ended with {process.returncode}")
    return output, usage


def cpu_of(server, daemon):
    """User and system seconds so far of both; nothing of who is not there."""
    nothing = {"user": 0.0, "system": 0.0}
    return {"server": rig.cpu_times(server) if server else nothing, "daemon": rig.cpu_times(daemon) if daemon else nothing}


def busy_seconds():
    """CPU-seconds that all processors of the machine were busy so far (proc(5), /proc/stat)."""
    fields = [int(field) for field in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def memory_bytes(line="MemTotal"):
    """A line of proc(5), /proc/meminfo."""
    for entry in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if entry.startswith(f"{line}:"):
            return int(entry.split()[1]) << 10
    raise rig.Failure(f"/proc/meminfo has no {line}")


def touch_memory(size):
    """Writes to so much memory and gives it back.

    A virtual machine gets its memory from the host when it first writes to it, and that costs 2 s/GiB, once. Who
    happens to be the first to fill the page cache must not pay that.
    """
    size = min(size, memory_bytes("MemAvailable") // 2)
    # In a process of its own, which gives it back for certain.
    script = """
import mmap, sys
memory, block = mmap.mmap(-1, int(sys.argv[1])), b"1" * (1 << 20)
memory.madvise(mmap.MADV_HUGEPAGE)
while memory.tell() < len(memory):
    memory.write(block)
"""
    subprocess.run(["python3", "-c", script, str(size >> 20 << 20)], check=True)
