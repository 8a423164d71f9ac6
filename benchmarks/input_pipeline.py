"""Images per second of the training pipeline for ImageNet, variant against variant.

    python benchmarks/input_pipeline.py --images 256 --rounds 5
    python benchmarks/input_pipeline.py --images 256 --rounds 5 --color_jitter

The files are parts of the two photographs that come with scikit-learn, about 500 x 375 pixels, as ImageNet's. Variants
take turns in one process, all with random resized crops to 224 x 224, mirroring, normalisation and batches of 64, and
with `--color_jitter` contrast and saturation changed by random factors from 0.8 to 1.2:

    ours       `tfprune.recipes.data.loading`, reproducible, broken images passed over
    crop       TensorFlow's recommended way: sample_distorted_bounding_box, decode_and_crop_jpeg, resize
    plain      decode_jpeg, cut out, resize
    pil        PIL in one Python thread

CPU seconds say what an image costs, whatever else the machine does; images per second what a training gets.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from program import new_parser

from tfprune.recipes.data import BatchRequest, open_data

MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
FACTORS = (0.8, 1.2)


@dataclass(frozen=True)
class Source:
    """What all variants read, and what they make of it.

    Attributes:
        paths: Files of the training images.
        size: Height and width of the images in a batch.
        batch_size: Images of a batch.
        jitter: Whether contrast and saturation are changed.
    """

    paths: list[str]
    size: int = 224
    batch_size: int = 64
    jitter: bool = False


def write_images(root: Path, count: int) -> list[str]:
    """Makes the tree of files; returns the paths of the training images."""
    from sklearn.datasets import load_sample_image

    photographs = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    generator = np.random.default_rng(0)
    for number in range(count + 2):
        photograph = photographs[number % 2]
        height, width = generator.integers(330, 420), generator.integers(450, 550)
        top, left = generator.integers(0, 427 - height + 1), generator.integers(0, 640 - width + 1)
        part = photograph[top : top + height, left : left + width]
        folder = root / ("train" if number < count else "val") / f"class{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:05d}.JPEG").write_bytes(tf.io.encode_jpeg(part, quality=95).numpy())
    return sorted(map(str, (root / "train").glob("*/*")))


def ours(source: Source) -> Iterator[object]:
    """Yields the batches of this package."""
    data = open_data(Path(source.paths[0]).parents[2], image_size=source.size)
    request = BatchRequest(source.batch_size, epochs=10_000, seed=0, color_jitter=source.jitter)
    return iter(data.training_batches(request))


def recommended(source: Source, decode: Callable[[tf.Tensor], tf.Tensor]) -> Iterator[object]:
    """Yields the batches of a pipeline as TensorFlow's tutorials write it."""

    def load(path: tf.Tensor) -> tf.Tensor:
        image = tf.image.resize(decode(tf.io.read_file(path)), [source.size, source.size])
        image = tf.image.random_flip_left_right(image) / 255
        if source.jitter:
            image = tf.image.random_saturation(tf.image.random_contrast(image, *FACTORS), *FACTORS)
        return (image - MEAN) / STD

    dataset = tf.data.Dataset.from_tensor_slices(source.paths).shuffle(len(source.paths)).repeat()
    dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(source.batch_size, drop_remainder=True)
    return iter(dataset.prefetch(tf.data.AUTOTUNE))


def random_part(shape: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Begin and size of a random part, as `tf.slice` wants them."""
    begin, size, _ = tf.image.sample_distorted_bounding_box(
        shape,
        tf.zeros([1, 0, 4]),
        min_object_covered=0.1,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    return begin, size


def decode_part(contents: tf.Tensor) -> tf.Tensor:
    """Decodes a random part only."""
    begin, size = random_part(tf.io.extract_jpeg_shape(contents))
    return tf.image.decode_and_crop_jpeg(contents, tf.concat([begin[:2], size[:2]], 0), channels=3)


def decode_whole(contents: tf.Tensor) -> tf.Tensor:
    """Decodes an image and cuts out a random part."""
    image = tf.io.decode_jpeg(contents, channels=3)
    return tf.ensure_shape(tf.slice(image, *random_part(tf.shape(image))), [None, None, 3])


def pil(source: Source) -> Iterator[object]:
    """Yields the batches of a loop in plain Python."""
    from PIL import Image, ImageEnhance

    generator = np.random.default_rng(0)

    def load(path: str) -> np.ndarray:
        with Image.open(path) as file:
            image = file.convert("RGB")
        area = image.width * image.height * generator.uniform(0.08, 1)
        ratio = np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3)))
        width, height = min(image.width, round((area * ratio) ** 0.5)), min(image.height, round((area / ratio) ** 0.5))
        left, top = generator.integers(0, image.width - width + 1), generator.integers(0, image.height - height + 1)
        box = (left, top, left + width, top + height)
        image = image.resize((source.size, source.size), Image.Resampling.BILINEAR, box)
        for change in (ImageEnhance.Contrast, ImageEnhance.Color) if source.jitter else ():
            image = change(image).enhance(generator.uniform(*FACTORS))
        part = np.asarray(image, np.float32)
        return ((part[:, ::-1] if generator.random() < 0.5 else part) / 255 - MEAN) / STD

    while True:
        yield np.stack([load(path) for path in generator.choice(source.paths, source.batch_size)])


VARIANTS: dict[str, Callable[[Source], Iterator[object]]] = {
    "ours": ours,
    "crop": lambda source: recommended(source, decode_part),
    "plain": lambda source: recommended(source, decode_whole),
    "pil": pil,
}


def measure(source: Source, rounds: int, batches: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU seconds of so many batches, by variant and round."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    for _ in range(rounds):
        for name, variant in VARIANTS.items():
            iterator = variant(source)
            next(iterator), next(iterator)
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(batches):
                next(iterator)
            seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
            del iterator
    return seconds


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=30)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--size", type=int, default=224, help="height and width of the images in a batch")
    parser.add_argument("--color_jitter", action="store_true")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "input_pipeline.jsonl")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints a table, appends to the results."""
    options = make_parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as root:
        paths = write_images(Path(root), options.images)
        size = sum(Path(path).stat().st_size for path in paths) / len(paths)
        source = Source(paths, options.size, options.batch_size, options.color_jitter)
        seconds = measure(source, options.rounds, options.batches)
    images = options.batches * options.batch_size
    best = {name: tuple(min(column) for column in zip(*each, strict=True)) for name, each in seconds.items()}
    print(f"{'':<8}{'images/s':>10}{'CPU ms/image':>14}{'CPU to ours':>13}")
    for name, (wall, cpu) in best.items():
        print(f"{name:<8}{images / wall:>10.0f}{1000 * cpu / images:>14.3f}{cpu / best['ours'][1]:>13.2f}")
    row = {"cores": os.cpu_count(), "bytes_per_file": round(size), "color_jitter": options.color_jitter}
    row |= {"images": images, "seconds": seconds}
    with options.results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
