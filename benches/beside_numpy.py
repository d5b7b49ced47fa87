"""Vector search beside numpy on BLAS, by turns: same vectors, same queries, k = 10.

    beside_numpy.py [--rows 1000000] [--rounds 5]

Needs numpy and pyarrow. Makes the vectors (unit length, 384 dimensions, a mixture of 1,000 clusters) and keeps them in
the cache folder. Prints medians of the times and of the ratios of each round, then how time grows with rows and with
queries. `cargo bench --bench vector_search` is what is run as ours.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

import numpy
import pyarrow
import pyarrow.parquet

DIMENSIONS, K = 384, 10
ROOT = pathlib.Path(__file__).resolve().parent.parent


def make(folder, rows):
    """The files of vectors and of queries, and the arrays."""
    random = numpy.random.default_rng(5)
    centres = random.standard_normal((1000, DIMENSIONS), dtype=numpy.float32)

    def draw(count):
        noise = random.standard_normal((count, DIMENSIONS), dtype=numpy.float32)
        vectors = centres[random.integers(0, 1000, count)] + 0.9 * noise
        return vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)

    folder.mkdir(parents=True, exist_ok=True)
    queries = draw(100)
    files = [folder / "queries.parquet", folder / f"vectors_{rows}.parquet"]
    arrays = [queries, numpy.concatenate([draw(min(16384, rows - at)) for at in range(0, rows, 16384)])]
    for file, array in zip(files, arrays):
        if not file.exists():
            lists = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(array.reshape(-1)), DIMENSIONS)
            table = pyarrow.table({"id": pyarrow.array(range(len(array)), pyarrow.int64()), "embedding": lists})
            pyarrow.parquet.write_table(table, file, compression="none", use_dictionary=False, row_group_size=16384)
    return files, arrays


def build():
    """The program that is run as ours."""
    command = ["cargo", "bench", "--locked", "--no-run", "--bench", "vector_search", "--message-format", "json"]
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    programs = [json.loads(line).get("executable") for line in lines if line.startswith("{")]
    return next(program for program in reversed(programs) if program)


def ours(program, files, **options):
    arguments = [f"{name}={value}" for name, value in options.items()]
    command = [program, files[1], files[0], *arguments]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def of_numpy(arrays, count, rounds):
    """The median seconds of a search for `count` queries."""
    queries, vectors = arrays
    times = []
    for at in range(rounds + 1):
        some = numpy.roll(queries, -at * count, 0)[:count]
        started = time.perf_counter()
        distances = -(some @ vectors.T)
        nearest = numpy.argpartition(distances, K, axis=1)[:, :K]
        numpy.take_along_axis(nearest, numpy.argsort(numpy.take_along_axis(distances, nearest, 1), 1), 1)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    folder = pathlib.Path.home() / ".cache/semsql-bench/search"
    files, arrays = make(folder, options.rows)
    program = build()
    for count, sql in [(1, "limit"), (100, "row_number"), (100, "lateral")]:
        rounds = []
        for _ in range(options.rounds):
            found = ours(program, files, rows=options.rows, queries=count, sql=sql)
            rounds.append((found["wall_s"], of_numpy(arrays, count, 3), found["gb_s"] / found["read_gb_s"], found["peak_mib"]))
        mine, theirs, of_read, peak = (statistics.median(values) for values in zip(*rounds))
        ratio = statistics.median(theirs / mine for mine, theirs, *_ in rounds)
        print(f"{count} queries, {sql}: {mine:.3f} s, numpy {theirs:.3f} s, ratio {ratio:.2f}, "
              f"{of_read:.2f} of the speed of reading, {peak} MiB")
    for name, values in [("rows", [options.rows // 8, options.rows // 4, options.rows // 2, options.rows]),
                         ("queries", [1, 4, 16, 64, 100])]:
        for value in values:
            found = ours(program, files, **{"sql": "row_number", "rows": options.rows, "queries": 16, name: value})
            print(f"{name} = {value}: {found['wall_s'] * 1000:.0f} ms")


if __name__ == "__main__":
    sys.exit(main())
