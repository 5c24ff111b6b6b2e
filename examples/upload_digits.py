"""Uploads scikit-learn's handwritten digits (1,797 images of 8 x 8, from the UCI repository) as image files, with oss2.

One PGM file per image (portable graymap, binary form: netpbm's simplest, which every viewer opens) and one labels.csv.
This is the uploading side, which runs elsewhere with its own key; the training job never sees that key.

usage: upload_digits.py ENDPOINT BUCKET PREFIX
       with OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET in the environment
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import oss2
from sklearn.datasets import load_digits


def pgm(image):
    """An image of gray values 0 to 16 as a PGM file."""
    height, width = image.shape
    return f"P5\n{width} {height}\n16\n".encode() + image.astype("uint8").tobytes()


def main():
    endpoint, name, prefix = sys.argv[1:]
    auth = oss2.AuthV4(os.environ["OSS_ACCESS_KEY_ID"], os.environ["OSS_ACCESS_KEY_SECRET"])
    bucket = oss2.Bucket(auth, endpoint, name, region=os.environ.get("OSS_REGION", "cn-hangzhou"))
    digits = load_digits()
    files = {f"{prefix}/images/{number:04}.pgm": pgm(image) for number, image in enumerate(digits.images)}
    lines = ["name,label"] + [f"{number:04}.pgm,{label}" for number, label in enumerate(digits.target)]
    files[f"{prefix}/labels.csv"] = "\n".join(lines).encode() + b"\n"
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda file: bucket.put_object(*file), files.items()):
            pass  # an upload that failed raises here
    print(f"uploaded {len(files)} files, {sum(map(len, files.values()))} bytes to oss://{name}/{prefix}")


if __name__ == "__main__":
    main()
