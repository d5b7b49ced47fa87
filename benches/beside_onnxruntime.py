#!/usr/bin/env python3
"""embed_text beside plain ONNX Runtime: the same texts, model files, library version and threads.

    python3 -m venv VENV && VENV/bin/pip install onnxruntime==1.32.0 tokenizers numpy
    VENV/bin/python benches/beside_onnxruntime.py [--rows N] [--model NAME] [--threads N] [--rounds N] [--texts FILE]

Plain ONNX Runtime is what one would write by hand: the tokenizers package, texts sorted by length, batches of at most
--tokens padded tokens, mean pooling in numpy. Both sides run in processes of their own, by turns, and are measured
from inside, behind a warm-up. What is printed are the medians, and the medians of the ratios of each round: of rows a
second, and of rows a second of processor time, which is the steadier one where other processes are busy.

--texts is a file of lines like {"text": "..."}; without it, texts are made up of the model's vocabulary, seven of ten
with 3 to 28 words, the others with 60 to 180.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def home():
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SEMSQL_HOME") or Path(base) / "semsql")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--model", default="all-MiniLM-L6-v2", help="with @VARIANT: a variant")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--tokens", type=int, default=384, help="padded tokens of a batch of plain ONNX Runtime")
    parser.add_argument("--spin", type=int, default=1, help="0: its threads do not spin while they wait")
    parser.add_argument("--distinct", type=float, default=1.0, help="the share of the rows that are distinct")
    parser.add_argument("--ours", help="benches/rows.rs, built; without it, it is built first")
    parser.add_argument("--plain", action="store_true", help="one run of plain ONNX Runtime, nothing else")
    return parser.parse_args()


def made_up_texts(folder, rows):
    words = [w for w in (folder / "vocab.txt").read_text(encoding="utf-8").split("\n") if w.isalpha() and len(w) > 2]
    rng = random.Random(7)
    lengths = [rng.randint(3, 28) if rng.random() < 0.7 else rng.randint(60, 180) for _ in range(rows)]
    return [" ".join(rng.choices(words, k=length)) for length in lengths]


def folder_of(model):
    name, _, variant = model.partition("@")
    folders = [f for f in (home() / "models").rglob(name) if (f / "config.json").is_file()]
    if not folders:
        sys.exit(f"no model {name} in {home() / 'models'}: `make setup` installs it")
    return folders[0], folders[0] / "onnx" / (f"model_{variant}.onnx" if variant else "model.onnx")


def plain(args):
    """What a run of plain ONNX Runtime takes, as a line of JSON."""
    os.environ["RAYON_NUM_THREADS"] = str(args.threads)
    import numpy
    import onnxruntime
    from tokenizers import Tokenizer

    folder, graph = folder_of(args.model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    if not args.spin:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"])

    def embed(texts):
        ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
        order = sorted(range(len(ids)), key=lambda text: len(ids[text]))
        vectors = numpy.empty((len(ids), session.get_outputs()[0].shape[-1]), numpy.float32)
        start = 0
        while start < len(order):
            end = start + 1
            while end < len(order) and (end + 1 - start) * len(ids[order[end]]) <= args.tokens:
                end += 1
            batch = order[start:end]
            tokens = numpy.zeros((len(batch), len(ids[batch[-1]])), numpy.int64)
            mask = numpy.zeros_like(tokens)
            for row, text in enumerate(batch):
                tokens[row, : len(ids[text])] = ids[text]
                mask[row, : len(ids[text])] = 1
            inputs = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": numpy.zeros_like(tokens)}
            output = session.run(None, inputs)[0]
            weights = mask[:, :, None].astype(numpy.float32)
            pooled = (output * weights).sum(1) / weights.sum(1)
            vectors[batch] = pooled / numpy.linalg.norm(pooled, axis=1, keepdims=True)
            start = end
        return vectors

    texts = [json.loads(line)["text"] for line in args.texts.read_text(encoding="utf-8").splitlines()][: args.rows]
    embed(texts[:64])
    wall, cpu = time.perf_counter(), time.process_time()
    embed(texts)
    print(json.dumps({"rows": len(texts), "wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}))


def ours():
    """Builds benches/rows.rs and returns its path."""
    command = ["cargo", "bench", "--locked", "--bench", "rows", "--no-run", "--message-format", "json"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = (json.loads(line) for line in built.splitlines())
    return [m["executable"] for m in messages if m.get("executable")][-1]


def main():
    args = arguments()
    if args.plain:
        return plain(args)
    with tempfile.TemporaryDirectory() as scratch:
        if args.texts:
            texts = [json.loads(line)["text"] for line in args.texts.read_text(encoding="utf-8").splitlines()]
        else:
            texts = made_up_texts(folder_of(args.model)[0], args.rows)
        texts = texts[: max(1, round(args.rows * args.distinct))]
        rng = random.Random(9)
        texts += [rng.choice(texts) for _ in range(args.rows - len(texts))]
        rng.shuffle(texts)
        args.texts = Path(scratch) / "texts.ndjson"
        args.texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        options = [f"--{name}={getattr(args, name)}" for name in ("rows", "model", "threads", "texts", "tokens", "spin")]
        sides = {
            "plain": [sys.executable, __file__, "--plain", *options],
            "ours": [args.ours or ours(), args.texts, str(args.rows), args.model, str(args.threads)],
        }
        rounds = []
        for _ in range(args.rounds):
            lines = {side: subprocess.check_output(command, text=True) for side, command in sides.items()}
            rounds.append({side: json.loads(line) for side, line in lines.items()})
            print(json.dumps(rounds[-1]), flush=True)
    for measure, name in (("wall_s", "second"), ("cpu_s", "second of processor time")):
        rates = {side: [run[side]["rows"] / run[side][measure] for run in rounds] for side in sides}
        ratios = [ours / plain for ours, plain in zip(rates["ours"], rates["plain"])]
        print(
            f"rows a {name}: plain ONNX Runtime {statistics.median(rates['plain']):.0f}, "
            f"ours {statistics.median(rates['ours']):.0f}, ours to plain {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
