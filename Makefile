# The commands of the README. Nothing here needs root.
CARGO ?= cargo
PYTHON ?= python3
BENCH_VENV ?= $(HOME)/.cache/semsql-bench/venv

.PHONY: demo test setup build bench

# Fetches what is missing, builds, and runs the guide's semantic search.
demo: setup
	$(CARGO) run --quiet --locked --bin semsql -- -f sql/semantic_search.sql

# Every test: setup, library, command, SQL files, README, documentation.
test: setup
	$(PYTHON) -m unittest discover --quiet --start-directory setup
	$(CARGO) test --quiet --locked

# ONNX Runtime and the default models, into the cache folder. Does nothing where they are there.
setup:
	$(PYTHON) setup/setup.py

# The optimised command: target/release/semsql
build:
	$(CARGO) build --locked --release --bin semsql

# Every benchmark, then embed_text beside plain ONNX Runtime with the same files (see benches/README.md).
bench: setup
	$(CARGO) bench --locked
	$(PYTHON) -m venv "$(BENCH_VENV)"
	"$(BENCH_VENV)/bin/pip" install --quiet onnxruntime==1.32.0 tokenizers numpy
	for model in all-MiniLM-L6-v2 all-MiniLM-L6-v2@int8; do \
		"$(BENCH_VENV)/bin/python" benches/beside_onnxruntime.py --model $$model || exit 1; \
	done
