"""The objects of the benchmark, and the same bytes as local files."""

import itertools
import json
import os
import pathlib

import rig
from tasks import FILE_BYTES, HOT_BYTES, MIB, SHARDS, Files, Random

TENSORS = 100


def objects(scale, header, tasks):
    """Pairs of key and (length, pieces) of what the tasks read: incompressible, and no block like another."""
    wanted = {key for task in tasks for key in getattr(task, "keys", ())}
    wanted |= {task.key for task in tasks if isinstance(task, Random)}
    block = bytearray(os.urandom(8 * MIB))

    def pieces(length, seed):
        for number in range(length // len(block)):
            block[:16] = seed.to_bytes(8, "little") + number.to_bytes(8, "little")
            yield bytes(block)
        yield bytes(block[: length % len(block)])

    large = {"big.bin": scale.big, "hot.bin": HOT_BYTES}
    large |= {f"shard-{number}.bin": scale.shard for number in range(SHARDS)}
    for seed, (key, size) in enumerate(large.items()):
        if key in wanted:
            yield key, (size, pieces(size, seed))
    if "model.safetensors" in wanted:
        rest = scale.model - len(header)
        yield "model.safetensors", (scale.model, itertools.chain([header], pieces(rest, len(large))))
    for number in range(scale.files if any(isinstance(task, Files) for task in tasks) else 0):
        body = number.to_bytes(8, "little") + bytes(block[number + 8 : number + FILE_BYTES])
        yield f"small/{number:06}.bin", (FILE_BYTES, [body])


def safetensors_header(size):
    """The start of a safetensors file of `size` bytes: layers of a large matrix and a small vector, as models have."""
    # The header's own length decides where the data starts; it is padded with spaces, as the format allows.
    header_bytes = 16 << 10
    data = size - header_bytes
    pair = data // (TENSORS // 2)
    tensors, offset = {}, 0
    for layer in range(TENSORS // 2):
        small = pair // 64 // 4096 * 4096
        for name, length in (("weight", pair // 4096 * 4096 - small), ("bias", small)):
            end = offset + length
            tensors[f"layers.{layer}.{name}"] = {"dtype": "U8", "shape": [length], "data_offsets": [offset, end]}
            offset = end
    text = json.dumps(tensors, separators=(",", ":")).encode()
    assert len(text) <= header_bytes - 8, "the header has grown beyond its place"
    return (header_bytes - 8).to_bytes(8, "little") + text.ljust(header_bytes - 8)


def link_local_files(objects_directory, local):
    """Makes `local` a directory with the server's own files under the objects' names: the same bytes, no network."""
    bucket = pathlib.Path(objects_directory) / rig.BUCKET
    for record in (bucket / "objects").glob("*.json"):
        entry = json.loads(record.read_text())
        path = local / entry["key"]
        if path.is_symlink() or len(entry["content"]) != 1:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(bucket / "content" / entry["content"][0][0])
