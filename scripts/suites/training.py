"""Rows of the application matrix that are libraries of training code; each is imported only where it is tried."""

import os
import struct
import subprocess
import sys
import time

ROWS = {}


def row(title):
    """Registers a function as the row of that title."""

    def register(function):
        ROWS[title] = function
        return function

    return register


@row("torch.save, torch.load, torch.load(mmap=True)")
def torch_save(directory, _beside):
    import torch

    state = {"weight": torch.randn(1000, 1000), "step": 7}
    for name, options in (("zip.pt", {}), ("legacy.pt", {"_use_new_zipfile_serialization": False})):
        torch.save(state, directory / name, **options)
        again = torch.load(directory / name, weights_only=True)
        assert torch.equal(again["weight"], state["weight"])
    mapped = torch.load(directory / "zip.pt", mmap=True, weights_only=True)
    assert torch.equal(mapped["weight"], state["weight"])
    # Over itself, as a "latest" checkpoint is.
    torch.save({"weight": state["weight"] + 1}, directory / "zip.pt")
    assert torch.equal(torch.load(directory / "zip.pt", weights_only=True)["weight"], state["weight"] + 1)


@row("torch.distributed.checkpoint, 2 ranks, save, async_save, load")
def torch_checkpoint(directory, beside):
    import torch  # noqa: F401

    code = os.path.join(os.path.dirname(__file__), "checkpoint.py")
    ranks = []
    for rank in range(2):
        command = [sys.executable, code, str(rank), "2", str(beside / "store"), str(directory)]
        ranks.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    said = [process.communicate()[0] for process in ranks]
    for process, text in zip(ranks, said, strict=True):
        if process.returncode != 0:
            raise RuntimeError(" / ".join(text.strip().splitlines()[-3:]))


@row("safetensors save_file, load_file, safe_open")
def safetensors(directory, _beside):
    import numpy
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    tensors = {f"layer.{number}": numpy.random.default_rng(number).random((256, 512)) for number in range(12)}
    path = directory / "model.safetensors"
    for _ in range(2):
        save_file(tensors, path)
        again = load_file(path)
        assert all(numpy.array_equal(again[name], value) for name, value in tensors.items())
    with safe_open(path, framework="numpy") as file:
        assert numpy.array_equal(file.get_slice("layer.3")[10:20], tensors["layer.3"][10:20])


@row("np.save, np.savez, np.load, np.memmap")
def numpy_files(directory, _beside):
    import numpy

    values = numpy.random.default_rng(1).random((1000, 500))
    numpy.save(directory / "a.npy", values)
    assert numpy.array_equal(numpy.load(directory / "a.npy", mmap_mode="r"), values)
    numpy.savez(directory / "a.npz", values=values, other=values[:10])
    numpy.savez_compressed(directory / "b.npz", values=values)
    for name in ("a.npz", "b.npz"):
        with numpy.load(directory / name) as file:
            assert numpy.array_equal(file["values"], values)
    mapped = numpy.memmap(directory / "mapped", dtype="float64", mode="w+", shape=values.shape)
    mapped[:] = values
    mapped.flush()
    mapped[5] = 0
    del mapped
    again = numpy.memmap(directory / "mapped", dtype="float64", mode="r", shape=values.shape)
    assert not again[5].any()
    assert numpy.array_equal(again[6:], values[6:])


@row("h5py: create, resize, append, change, read")
def hdf5(directory, _beside):
    import h5py
    import numpy

    path = directory / "data.h5"
    values = numpy.random.default_rng(1).random((2000, 100))
    with h5py.File(path, "w") as file:
        file.create_dataset("plain", data=values)
        file.create_dataset("grown", data=values, maxshape=(None, 100), chunks=(100, 100), compression="gzip")
    with h5py.File(path, "a") as file:
        file["grown"].resize(4000, axis=0)
        file["grown"][2000:] = values
        file["plain"][17] = 0
        file.attrs["epoch"] = 3
        file.flush()
    with h5py.File(path, "r") as file:
        assert numpy.array_equal(file["grown"][2000:], values)
        assert not file["plain"][17].any()
        assert file.attrs["epoch"] == 3


@row("pyarrow: Parquet, partitioned dataset, Arrow file by memory_map")
def parquet(directory, _beside):
    import pyarrow
    import pyarrow.dataset
    import pyarrow.parquet

    table = pyarrow.table({"id": list(range(50_000)), "part": [number % 3 for number in range(50_000)]})
    pyarrow.parquet.write_table(table, directory / "a.parquet", row_group_size=5000)
    assert pyarrow.parquet.read_table(directory / "a.parquet").equals(table)
    pyarrow.parquet.write_to_dataset(table, directory / "parts", partition_cols=["part"])
    assert pyarrow.dataset.dataset(directory / "parts", partitioning="hive").count_rows() == 50_000
    with pyarrow.OSFile(str(directory / "a.arrow"), "wb") as sink, pyarrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pyarrow.memory_map(str(directory / "a.arrow")) as source:
        assert pyarrow.ipc.open_file(source).read_all().equals(table)


@row("Hugging Face datasets: save_to_disk, load_from_disk, map with its cache on the mount")
def datasets(directory, _beside):
    import datasets

    data = datasets.Dataset.from_dict({"text": [f"text {number}" for number in range(5000)]})
    data.save_to_disk(str(directory / "saved"), num_shards=4)
    loaded = datasets.load_from_disk(str(directory / "saved"))
    assert loaded[4999]["text"] == "text 4999"
    cache = str(directory / "cache.arrow")
    for processes in (1, 2):
        mapped = loaded.map(lambda row: {"length": len(row["text"])}, cache_file_name=cache, num_proc=processes)
        assert mapped[4999]["length"] == 9
    lines = directory / "lines.jsonl"
    data.to_json(str(lines))
    again = datasets.load_dataset("json", data_files=str(lines), split="train", cache_dir=str(directory / "cache"))
    assert len(again) == 5000


@row("TensorBoard SummaryWriter (tensorboardX), read while written")
def tensorboard(directory, _beside):
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(directory / "run"), flush_secs=1) as writer:
        for step in range(500):
            writer.add_scalar("loss", 1 / (step + 1), step)
            if step % 100 == 0:
                writer.flush()
                (events,) = (directory / "run").glob("events*")
                # Its queue is emptied by a thread, for which flush() does not wait.
                deadline = time.monotonic() + 30
                while count_records(events) < step:
                    assert time.monotonic() < deadline, "flushed events are not seen"
                    time.sleep(0.1)
        writer.add_text("note", "text", 500)
    (events,) = (directory / "run").glob("events*")
    assert count_records(events) >= 501


def count_records(path):
    """Records of a TFRecord file: a length, its checksum, the bytes, their checksum."""
    content, offset, records = path.read_bytes(), 0, 0
    while offset + 12 <= len(content):
        (length,) = struct.unpack_from("<Q", content, offset)
        offset += 12 + length + 4
        assert offset <= len(content), "the last record is cut"
        records += 1
    return records


@row("webdataset ShardWriter, and WebDataset of its shards")
def webdataset(directory, _beside):
    import webdataset

    with webdataset.ShardWriter(str(directory / "shard-%04d.tar"), maxcount=100, verbose=0) as sink:
        for number in range(350):
            sink.write({"__key__": f"{number:06}", "bin": os.urandom(3000), "cls": number})
    shards = sorted(str(path) for path in directory.glob("*.tar"))
    assert len(shards) == 4
    assert sum(1 for _ in webdataset.WebDataset(shards, shardshuffle=False)) == 350
