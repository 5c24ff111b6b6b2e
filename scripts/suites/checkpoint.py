"""One rank of a job that saves and loads a distributed checkpoint: RANK RANKS STORE DIRECTORY."""

import pathlib
import sys

import torch
import torch.distributed as distributed
import torch.distributed.checkpoint as checkpoint


def main():
    """Saves over two steps and asynchronously, and compares what is loaded."""
    rank, ranks, store, directory = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], pathlib.Path(sys.argv[4])
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    torch.manual_seed(rank)
    state = {f"weight.{rank}": torch.randn(800, 800), f"moment.{rank}": torch.randn(800, 800)}
    for step in range(2):
        checkpoint.save(state, checkpoint_id=directory / f"step-{step}")
    # Over what is there already.
    checkpoint.async_save(state, checkpoint_id=directory / "step-1").result()
    distributed.barrier()
    for step in range(2):
        again = {name: torch.zeros_like(value) for name, value in state.items()}
        checkpoint.load(again, checkpoint_id=directory / f"step-{step}")
        assert all(torch.equal(again[name], value) for name, value in state.items()), f"step {step} differs"
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
