"""Trains a softmax classifier on a directory of images, as any training script does: with open() and os.scandir().

There is no SDK, no key and no endpoint in here; the directory may be local or a mount. Every epoch reads every image
file anew, in another order. Training goes on for at least so many epochs and so many seconds; its last line is JSON.

usage: train_digits.py DIRECTORY [--epochs 20] [--seconds 25]
"""

import argparse
import csv
import json
import os
import time

import numpy

CLASSES = 10
BATCH = 32
TEST_EVERY = 5  # every fifth image is kept for the test


def read_pgm(path):
    """Gray values of a binary PGM file, 0.0 to 1.0, and how many bytes the file has."""
    with open(path, "rb") as file:
        content = file.read()
    magic, width, height, depth = content.split(maxsplit=4)[:4]
    if magic != b"P5":
        raise ValueError(f"{path}: not a binary PGM file")
    pixels = numpy.frombuffer(content, dtype=numpy.uint8, offset=len(content) - int(width) * int(height))
    return pixels / float(depth), len(content)


class Reader:
    """Reads images and counts what it reads."""

    def __init__(self, directory):
        self.images = os.path.join(directory, "images")
        with open(os.path.join(directory, "labels.csv"), newline="") as file:
            self.labels = {row["name"]: int(row["label"]) for row in csv.DictReader(file)}
        self.files, self.bytes, self.seconds = 0, 0, 0.0

    def load(self, names):
        """Images and labels of some files."""
        started = time.perf_counter()
        pixels = []
        for name in names:
            image, length = read_pgm(os.path.join(self.images, name))
            pixels.append(image)
            self.files, self.bytes = self.files + 1, self.bytes + length
        self.seconds += time.perf_counter() - started
        return numpy.array(pixels), numpy.array([self.labels[name] for name in names])


class Softmax:
    """Logistic regression over ten classes."""

    def __init__(self, features):
        self.weights = numpy.zeros((features + 1, CLASSES))

    @staticmethod
    def with_bias(pixels):
        return numpy.hstack([pixels, numpy.ones((len(pixels), 1))])

    def scores(self, pixels):
        return self.with_bias(pixels) @ self.weights

    def step(self, pixels, labels, rate):
        """One step down the gradient; returns the loss before it."""
        scores = self.scores(pixels)
        scores -= scores.max(axis=1, keepdims=True)
        chances = numpy.exp(scores)
        chances /= chances.sum(axis=1, keepdims=True)
        rows = numpy.arange(len(labels))
        loss = -numpy.log(chances[rows, labels] + 1e-12).mean()
        chances[rows, labels] -= 1.0
        self.weights -= rate * self.with_bias(pixels).T @ chances / len(labels)
        return loss


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("--epochs", type=int, default=20, help="at least so many epochs")
    parser.add_argument("--seconds", type=float, default=25, help="and for at least so long")
    options = parser.parse_args()

    reader = Reader(options.directory)
    order = numpy.random.default_rng(1)
    started, epoch, model = time.monotonic(), 0, None
    said = started
    while epoch < options.epochs or time.monotonic() - started < options.seconds:
        # The directory is listed again as well: a job may be given more data while it runs.
        names = sorted(entry.name for entry in os.scandir(reader.images) if entry.is_file())
        train = [name for number, name in enumerate(names) if number % TEST_EVERY]
        test = names[::TEST_EVERY]
        order.shuffle(train)
        losses = []
        for at in range(0, len(train), BATCH):
            pixels, labels = reader.load(train[at : at + BATCH])
            model = model or Softmax(pixels.shape[1])
            losses.append(model.step(pixels, labels, rate=0.5 / (1 + 0.05 * epoch)))
        pixels, labels = reader.load(test)
        accuracy = float((model.scores(pixels).argmax(axis=1) == labels).mean())
        epoch += 1
        if epoch == 1 or time.monotonic() - said > 2:
            said = time.monotonic()
            print(f"epoch {epoch:3}: loss {numpy.mean(losses):.3f}, accuracy {accuracy:.3f}", flush=True)
    seconds = time.monotonic() - started
    report = {"accuracy": round(accuracy, 4), "epochs": epoch, "seconds": round(seconds, 1)}
    report |= {"files": reader.files, "bytes": reader.bytes, "files_per_second": round(reader.files / reader.seconds)}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
