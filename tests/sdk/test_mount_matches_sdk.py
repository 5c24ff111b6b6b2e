"""Ordinary programs see the same bytes through a mount as oss2 sees through the API.

Needs root and /dev/fuse; the mount has the default role's short-lived tokens, refused as soon as they are replaced, so
everything here also crosses rotations.
"""

import hashlib
import io
import mmap
import os
import random
import subprocess
import tarfile

import numpy
import oss2
import pytest

import conftest
import rig

MIB = 1 << 20
GIB = 1 << 30
# Nothing, one byte, one block, one read-ahead window: each with its neighbours.
SIZES = [0, 1, MIB - 1, MIB, MIB + 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1]

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/dev/fuse"), reason="mounting needs root and /dev/fuse"
)


def content(size, seed):
    return random.Random(seed).randbytes(size)


@pytest.fixture(scope="module")
def objects():
    """Key and bytes of every object but the big one."""
    made = {f"sizes/{size}.bin": content(size, size) for size in SIZES}
    # A file system has no name with a slash at its end; every other odd name is one path or another.
    made.update({f"names/{name}": name.encode() * 50 for name in conftest.ODD_NAMES})
    array = io.BytesIO()
    numpy.save(array, numpy.random.default_rng(7).normal(size=(2000, 300)))
    made["arrays/normal.npy"] = array.getvalue()
    return made


@pytest.fixture(scope="module")
def mounted(tmp_path_factory, objects):
    """The bucket, filled, and its mount."""
    directory = tmp_path_factory.mktemp("mounted")
    injected = directory / "injected" / "credentials"
    injected.parent.mkdir()
    config = rig.dev_config(
        job='role = "AliyunPAIDLCDefaultRole"\ntoken_life = "30s"\nrotate_every = "3s"\n'
        f'old_tokens = "refused_at_once"\ncredentials_file = "{injected}"\n'
    )
    with rig.DevServer(conftest.DEV_BIN, directory, config) as server:
        bucket = conftest.oss2_bucket(server)
        for key, body in objects.items():
            bucket.put_object(key, body)
        bucket.put_object("marked/", b"")
        environment = {
            "ALIBABA_CLOUD_CREDENTIALS_URI": server.credentials_uri,
            "ROLEFS_CREDENTIALS": f"uri:{server.credentials_uri}",
        }
        mount = rig.Mount.rolefs(
            conftest.ROLEFS_BIN, server, directory / "bucket", environment=environment
        )
        with mount:
            mount.bucket = bucket
            yield mount


def run(*command, **options):
    """Runs a program; its output as bytes."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, check=False, timeout=300, **options
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_the_sdk_reads_what_was_put(mounted, objects):
    for key, body in objects.items():
        assert mounted.bucket.get_object(key).read() == body, key


def test_find_lists_what_the_sdk_lists(mounted, objects):
    listed = {entry.key for entry in oss2.ObjectIteratorV2(mounted.bucket) if not entry.key.endswith("/")}
    assert listed == set(objects)
    found = run("find", mounted.path, "-type", "f", "-printf", "%P\\0").split(b"\0")
    assert {name.decode() for name in found if name} == listed
    sized = run("find", mounted.path / "sizes", "-type", "f", "-printf", "%f %s\n").decode().split()
    assert all(int(name.removesuffix(".bin")) == int(size) for name, size in zip(sized[::2], sized[1::2]))
    directories = run("find", mounted.path, "-mindepth", "1", "-maxdepth", "1", "-type", "d", "-printf", "%P\n")
    assert set(directories.decode().split()) == {"arrays", "marked", "names", "sizes"}


def test_python_open_reads_the_same_bytes(mounted, objects):
    for key, body in objects.items():
        path = mounted.path / key
        assert path.stat().st_size == len(body), key
        assert path.read_bytes() == body, key
        assert sha256(path.read_bytes()) == sha256(body), f"{key}, a second time"


def test_sha256sum_agrees(mounted, objects):
    # Names with a backslash are escaped by sha256sum; the digests are what counts here.
    keys = sorted(objects)
    lines = run("sha256sum", "--zero", "--", *(mounted.path / key for key in keys)).split(b"\0")
    digests = [line[:64].decode() for line in lines if line]
    assert digests == [sha256(objects[key]) for key in keys]


def test_cp_copies_the_same_tree(mounted, objects, tmp_path):
    run("cp", "--recursive", mounted.path, tmp_path / "copy")
    copied = {
        str(path.relative_to(tmp_path / "copy")): path.read_bytes()
        for path in (tmp_path / "copy").rglob("*")
        if path.is_file()
    }
    assert copied.keys() == objects.keys()
    assert copied == objects


def test_tar_packs_the_same_bytes(mounted, objects):
    packed = run("tar", "--create", "--file", "-", "--directory", mounted.path, ".")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        members = {member.name.removeprefix("./"): member for member in archive if member.isfile()}
        assert members.keys() == objects.keys()
        for key, member in members.items():
            assert archive.extractfile(member).read() == objects[key], key


def test_mmap_maps_the_same_bytes(mounted, objects):
    for key, body in objects.items():
        if not body:
            continue  # an empty file cannot be mapped
        with open(mounted.path / key, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            assert len(view) == len(body), key
            # From the end to the start: no read-ahead helps.
            for offset in range(len(body) // MIB * MIB, -1, -MIB):
                assert view[offset : offset + MIB] == body[offset : offset + MIB], (key, offset)


@pytest.mark.parametrize("mode", [None, "r"])
def test_numpy_loads_the_same_array(mounted, objects, mode):
    expected = numpy.load(io.BytesIO(objects["arrays/normal.npy"]))
    loaded = numpy.load(mounted.path / "arrays/normal.npy", mmap_mode=mode)
    assert numpy.array_equal(loaded, expected)


def test_reads_at_random_places_agree(mounted, objects):
    places = random.Random(11)
    body = objects[f"sizes/{8 * MIB + 1}.bin"]
    with open(mounted.path / f"sizes/{8 * MIB + 1}.bin", "rb", buffering=0) as file:
        for _ in range(300):
            offset, length = places.randrange(len(body) + 10), places.randrange(1, 300_000)
            assert os.pread(file.fileno(), length, offset) == body[offset : offset + length], (offset, length)


def test_what_is_written_is_what_the_sdk_reads(mounted):
    directory = mounted.path / "written"
    directory.mkdir()
    for size in (0, 1, 100_000, 9 * MIB + 1):
        body = content(size, 7)
        path = directory / str(size)
        path.write_bytes(body)
        assert mounted.bucket.get_object(f"written/{size}").read() == body, "closed is stored"
        os.truncate(path, size // 2)
        assert mounted.bucket.get_object(f"written/{size}").read() == body[: size // 2]
        path.rename(directory / "moved")
        assert not mounted.bucket.object_exists(f"written/{size}")
        assert mounted.bucket.get_object("written/moved").read() == body[: size // 2]
        (directory / "moved").unlink()
        assert not mounted.bucket.object_exists("written/moved")
    directory.rmdir()
    assert not mounted.bucket.object_exists("written/")


def test_one_gibibyte(mounted, tmp_path):
    block = content(16 * MIB, 99)
    path = tmp_path / "big"
    whole = hashlib.sha256()
    with open(path, "wb") as file:
        for number in range(GIB // len(block)):
            # Each 16 MiB differs in its first bytes, so that a block in the wrong place is seen.
            piece = number.to_bytes(8, "little") + block[8:]
            file.write(piece)
            whole.update(piece)
    oss2.resumable_upload(
        mounted.bucket, "big/one.bin", str(path), part_size=32 * MIB, num_threads=2,
        store=oss2.ResumableStore(root=str(tmp_path)),
    )
    path.unlink()
    mount_path = mounted.path / "big/one.bin"
    rig.wait_until(mount_path.exists, 10, "a new object becomes visible")
    assert run("sha256sum", mount_path).split()[0].decode() == whole.hexdigest()
    by_sdk = hashlib.sha256()
    for piece in mounted.bucket.get_object("big/one.bin"):
        by_sdk.update(piece)
    assert by_sdk.hexdigest() == whole.hexdigest()
    with open(mount_path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        for number in (0, 63, 17, 40):
            offset = number * len(block)
            assert view[offset : offset + 8] == number.to_bytes(8, "little")
