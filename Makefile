# The commands of the README. Nothing here needs root.
CARGO ?= cargo
PYTHON ?= python3

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

bench: setup
	$(CARGO) bench --locked
