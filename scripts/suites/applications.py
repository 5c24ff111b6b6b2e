"""The programs that training code and its tools are made of, each writing to the mount and reading back.

A row is a function of this file or of `training.py` that gets an empty directory on the mount and one beside it, and
raises if anything is not as on a local disk. It runs in a process of its own, so that one that hangs or crashes is one row.
"""

import fcntl
import filecmp
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import traceback
import zipfile

import training
from outcome import Outcome, run

SECONDS = 300
# What is tried in short: rows that need programs of Debian and the small libraries of requirements.txt, some seconds each.
SHORT = [
    "safetensors save_file, load_file, safe_open",
    "np.save, np.savez, np.load, np.memmap",
    "h5py: create, resize, append, change, read",
    "TensorBoard SummaryWriter (tensorboardX), read while written",
    "git clone, commit, gc, fsck",
    "pip install --target",
    "sqlite3, rollback journal",
    "sqlite3, WAL",
    "vim (ex mode), with backup and swap file",
    "rsync -a, and again",
    "rsync -a --inplace",
    "tar --append",
    "mv of trees",
    "a log file: append, tail, rotate",
    "output of a child process (Popen(stdout=file))",
    "atomic replace (tempfile, fsync, os.replace)",
    "flock and lockf between processes",
]
# Marks the line with the error in what a row prints.
ERROR = "error: "
ROWS = {}


def row(title):
    """Registers a function as the row of that title."""

    def register(function):
        ROWS[title] = function
        return function

    return register


for title, function in training.ROWS.items():
    row(title)(function)


def suite(place):
    """A case for each row; `only` holds words of their titles."""
    outcome = Outcome()
    for number, title in enumerate(ROWS):
        is_wanted = any(word in title for word in place.only) if place.only else place.full or title in SHORT
        if not is_wanted:
            continue
        directory, beside = place.directory / f"row-{number}", place.scratch / f"row-{number}"
        directory.mkdir()
        beside.mkdir()
        log = place.logs / f"{number:02}.log"
        done = run([sys.executable, __file__, title, directory, beside], SECONDS, log, cwd=beside, env=environment(beside))
        marked = [line.removeprefix(ERROR) for line in done.output.splitlines() if line.startswith(ERROR)]
        if marked and marked[-1].startswith("unavailable"):
            outcome.skipped.append((title, marked[-1]))
        else:
            outcome.add(title, done.error() and (marked[-1] if marked else done.error()))
    return outcome


def environment(beside):
    """Nothing of the user's settings, and caches beside the mount."""
    settings = {"HOME": str(beside), "GIT_CONFIG_NOSYSTEM": "1", "HF_HOME": str(beside / "hf"), "HF_HUB_OFFLINE": "1"}
    names = {"GIT_AUTHOR_NAME": "A", "GIT_COMMITTER_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.com"}
    names["GIT_COMMITTER_EMAIL"] = "a@example.com"
    return {**os.environ, **settings, **names}


def sh(*command, cwd=None):
    """Runs a program that must succeed, and returns what it said."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise RuntimeError(f"{command[0]} {command[1] if len(command) > 1 else ''}: status {done.returncode}: {said}")
    return done.stdout


def make_tree(directory, directories=4, files=12):
    """A tree of small files, an empty one, one of several MiB, an executable one and a link."""
    for number in range(directories):
        below = directory / f"d{number}" / "below"
        below.mkdir(parents=True)
        for file in range(files):
            (below / f"f{file:03}").write_bytes(os.urandom(1000 * file))
    (directory / "large").write_bytes(os.urandom(10 << 20))
    tool = directory / "tool"
    tool.write_text("#!/bin/sh\nexit 0\n")
    tool.chmod(0o755)
    (directory / "link").symlink_to("large")
    return directory


def same_trees(left, right):
    """Fails unless two trees hold the same names and bytes."""
    names = [sorted(str(path.relative_to(top)) for path in top.rglob("*")) for top in (left, right)]
    assert names[0] == names[1], f"names differ: {sorted(set(names[0]) ^ set(names[1]))[:5]}"
    for name in names[0]:
        if (left / name).is_symlink():
            assert os.readlink(left / name) == os.readlink(right / name), f"link {name} differs"
        elif (left / name).is_file():
            assert filecmp.cmp(left / name, right / name, shallow=False), f"content of {name} differs"


@row("git clone, commit, gc, fsck")
def git(directory, beside):
    origin = make_tree(beside / "origin")
    sh("git", "init", "--quiet", origin)
    sh("git", "add", ".", cwd=origin)
    sh("git", "commit", "--quiet", "--message=one", cwd=origin)
    clone = directory / "clone"
    sh("git", "clone", "--quiet", f"file://{origin}", clone)
    (clone / "new").write_text("new\n")
    (clone / "tool").write_text("changed\n")
    sh("git", "add", ".", cwd=clone)
    sh("git", "commit", "--quiet", "--message=two", cwd=clone)
    sh("git", "branch", "side", "HEAD~1", cwd=clone)
    sh("git", "checkout", "--quiet", "side", cwd=clone)
    sh("git", "checkout", "--quiet", "-", cwd=clone)
    sh("git", "gc", "--quiet", "--prune=now", cwd=clone)
    sh("git", "fsck", "--full", "--strict", cwd=clone)
    status = sh("git", "status", "--porcelain", cwd=clone)
    assert not status, f"git status shows {status.splitlines()[:3]}"


@row("git clone --local within the mount")
def git_local(directory, _beside):
    origin = make_tree(directory / "origin", 1, 4)
    sh("git", "init", "--quiet", origin)
    sh("git", "add", ".", cwd=origin)
    sh("git", "commit", "--quiet", "--message=one", cwd=origin)
    # Makes hard links where it can, and copies where it cannot.
    sh("git", "clone", "--quiet", origin, directory / "clone")
    sh("git", "fsck", "--full", cwd=directory / "clone")


@row("pip install --target")
def pip(directory, beside):
    wheel = beside / "tried-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for number in range(40):
            archive.writestr(f"tried/m{number}.py", f"VALUE = {number}\n")
        archive.writestr("tried/__init__.py", "")
        archive.writestr("tried-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tried\nVersion: 1.0\n")
        archive.writestr("tried-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tried-1.0.dist-info/RECORD", "")
    target = directory / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", f"--target={target}"]
    sh(*command, wheel)
    sh(*command, "--upgrade", wheel)
    said = sh(sys.executable, "-c", "import tried.m39; print(tried.m39.VALUE)", cwd=target)
    assert said.strip() == "39"


def database(directory, mode):
    """Transactions, one rolled back, a reader beside the writer, and VACUUM."""
    path = directory / "data.sqlite"
    connection = sqlite3.connect(path)
    answer = connection.execute(f"PRAGMA journal_mode={mode}").fetchone()[0]
    assert answer == mode, f"journal_mode is {answer}"
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value BLOB)")
    for batch in range(20):
        with connection:
            connection.executemany("INSERT INTO t (value) VALUES (?)", [(os.urandom(700),) for _ in range(50)])
        if batch == 10:
            connection.execute("DELETE FROM t")
            connection.rollback()
    reader = sqlite3.connect(path)
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (1000,)
    reader.close()
    connection.execute("DELETE FROM t WHERE id % 2")
    connection.commit()
    connection.execute("VACUUM")
    connection.close()
    said = sh("sqlite3", path, "PRAGMA integrity_check; SELECT count(*) FROM t")
    assert said.split() == ["ok", "500"], said


@row("sqlite3, rollback journal")
def sqlite_rollback(directory, _beside):
    database(directory, "delete")


@row("sqlite3, WAL")
def sqlite_wal(directory, _beside):
    database(directory, "wal")


@row("vim (ex mode), with backup and swap file")
def vim(directory, _beside):
    path = directory / "text"
    path.write_text("one\ntwo\n")
    settings = ["-c", "set backup writebackup swapfile backupskip=", "-c", "%s/two/three/", "-c", "wq"]
    sh("vim", "-u", "NONE", "-es", *settings, path)
    assert path.read_text() == "one\nthree\n"
    assert (directory / "text~").read_text() == "one\ntwo\n"
    left = sorted(os.listdir(directory))
    assert left == ["text", "text~"], f"left: {left}"


@row("rsync -a, and again")
def rsync(directory, beside):
    source = make_tree(beside / "source")
    sh("rsync", "-a", f"{source}/", directory / "copy")
    same_trees(source, directory / "copy")
    (source / "large").write_bytes(os.urandom(5 << 20))
    sh("rsync", "-a", "--delete", f"{source}/", directory / "copy")
    same_trees(source, directory / "copy")
    again = sh("rsync", "-a", "--itemize-changes", f"{source}/", directory / "copy")
    assert not again, f"a third run sends {again.splitlines()[:3]}"


@row("rsync -a --inplace")
def rsync_inplace(directory, beside):
    source = make_tree(beside / "source", 1)
    sh("rsync", "-a", f"{source}/", directory / "copy")
    with open(source / "large", "r+b") as file:
        file.seek(3 << 20)
        file.write(b"changed")
    sh("rsync", "-a", "--inplace", "--no-whole-file", "--ignore-times", f"{source}/", directory / "copy")
    same_trees(source, directory / "copy")


@row("tar, create and extract")
def tar(directory, beside):
    source = make_tree(beside / "source")
    sh("tar", "--create", "--file", directory / "a.tar", "--directory", source, ".")
    (directory / "out").mkdir()
    sh("tar", "--extract", "--file", directory / "a.tar", "--directory", directory / "out")
    same_trees(source, directory / "out")
    assert os.stat(directory / "out/tool").st_mtime == int(os.stat(source / "tool").st_mtime)


@row("tar --append")
def tar_append(directory, beside):
    source = make_tree(beside / "source", 1)
    sh("tar", "--create", "--file", directory / "a.tar", "--directory", source, "large")
    sh("tar", "--append", "--file", directory / "a.tar", "--directory", source, "tool")
    assert sh("tar", "--list", "--file", directory / "a.tar").split() == ["large", "tool"]


@row("cp -p, cp -a within the mount")
def cp(directory, beside):
    source = make_tree(beside / "source")
    os.utime(source / "large", (1_000_000_000, 1_000_000_000))
    sh("cp", "-p", source / "large", directory / "one")
    assert os.stat(directory / "one").st_mtime == 1_000_000_000, "the time is not kept"
    sh("cp", "-a", source, directory / "two")
    sh("cp", "-a", directory / "two", directory / "three")
    same_trees(source, directory / "three")
    assert os.access(directory / "three/tool", os.X_OK), "the mode is not kept"


@row("rm -rf")
def rm(directory, _beside):
    make_tree(directory / "tree")
    sh("rm", "-rf", directory / "tree")
    assert not os.listdir(directory)


@row("mv of trees")
def mv(directory, beside):
    source = make_tree(beside / "source")
    sh("cp", "-a", source, directory / "a")
    sh("mv", directory / "a", directory / "b")
    (directory / "c").mkdir()
    sh("mv", directory / "b", directory / "c")
    same_trees(source, directory / "c/b")
    sh("mv", directory / "c/b", beside / "out")
    same_trees(source, beside / "out")
    sh("mv", beside / "out", directory / "in")
    same_trees(source, directory / "in")


@row("unzip")
def unzip(directory, beside):
    source = make_tree(beside / "source")
    (source / "link").unlink()
    packed = shutil.make_archive(str(beside / "a"), "zip", source)
    sh("unzip", "-q", packed, "-d", directory / "out")
    same_trees(source, directory / "out")


@row("zip written and appended to (zipfile)")
def zipped(directory, _beside):
    path = directory / "a.zip"
    for mode, name in (("w", "one"), ("a", "two")):
        with zipfile.ZipFile(path, mode) as archive:
            archive.writestr(name, name * 1000)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["one", "two"]


@row("a log file: append, tail, rotate")
def log_file(directory, _beside):
    path = directory / "run.log"
    with open(path, "a", buffering=1) as file:
        for number in range(2000):
            file.write(f"line {number}\n")
        assert sh("tail", "--lines=1", path) == "line 1999\n"
        os.rename(path, directory / "run.log.1")
        file.write("after the rename\n")
    assert (directory / "run.log.1").read_text().endswith("line 1999\nafter the rename\n")


@row("output of a child process (Popen(stdout=file))")
def child(directory, _beside):
    with open(directory / "out", "w") as file:
        file.write("before\n")
        file.flush()
        subprocess.run(["sh", "-c", "echo child"], stdout=file, check=True)
        file.seek(0, os.SEEK_END)
        file.write("after\n")
    assert (directory / "out").read_text() == "before\nchild\nafter\n"


@row("atomic replace (tempfile, fsync, os.replace)")
def replace(directory, _beside):
    target = directory / "state.json"
    for number in range(20):
        with tempfile.NamedTemporaryFile("w", dir=directory, delete=False) as file:
            file.write(f"{number}")
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, target)
        assert target.read_text() == f"{number}"
    assert os.listdir(directory) == ["state.json"]


@row("flock and lockf between processes")
def locks(directory, _beside):
    path = directory / "lock"
    path.touch()
    code = "import fcntl,sys; f=open(sys.argv[1],'r+'); fcntl.{0}(f, fcntl.LOCK_EX | fcntl.LOCK_NB)"
    for kind in ("flock", "lockf"):
        with open(path, "r+") as file:
            getattr(fcntl, kind)(file, fcntl.LOCK_EX)
            done = subprocess.run([sys.executable, "-c", code.format(kind), path], capture_output=True, check=False)
            assert b"BlockingIOError" in done.stderr, f"{kind} does not exclude"
        sh(sys.executable, "-c", code.format(kind), path)


def main():
    """Runs one row: its title, a directory on the mount, and one beside it."""
    title, directory, beside = sys.argv[1:]
    try:
        ROWS[title](pathlib.Path(directory), pathlib.Path(beside))
    except ModuleNotFoundError as error:
        print(f"{ERROR}unavailable: {error}")
        return 1
    except BaseException as error:
        traceback.print_exc()
        sys.stderr.flush()
        line = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"{ERROR}{line[:600]}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
