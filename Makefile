# What CI runs is what you run: `make test`. Everything happens in .venv; nothing is installed outside it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
DEMO := .demo
SAMPLES := $(DEMO)/photos
PHOTOS ?= $(SAMPLES)
MODEL ?= starter
BENCH := $(BIN)/python benchmarks
OF := --photos $(PHOTOS) --model $(MODEL)

.PHONY: help demo test quick lint types unit nightly examples format docs bench faults clean audit fuzz hooks coverage build check vendor

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps clip-retrieval  # its client alone
	touch $@

$(SAMPLES): | $(STAMP)
	$(BIN)/python tools/sample_photos.py $@

demo: $(STAMP) $(SAMPLES)  ## index sample photos with the bundled model and search them
	BIN=$(BIN) PHOTOS=$(PHOTOS) HOME_OF_INDEX=$(DEMO)/index sh tools/demo.sh

test: lint types unit  ## lint, types and tests

quick: lint types $(SAMPLES)  ## lint, types and the tests that are not slow, in less than 90 seconds
	SAMPLE_PHOTOS=$(SAMPLES) $(BIN)/python -m pytest -m "not slow and not nightly"

lint: $(STAMP)  ## ruff, rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy --strict
	$(BIN)/mypy

unit: $(STAMP) $(SAMPLES)  ## the tests
	SAMPLE_PHOTOS=$(SAMPLES) $(BIN)/python -m pytest

nightly: $(STAMP) $(SAMPLES)  ## the tests that take long for what they prove
	SAMPLE_PHOTOS=$(SAMPLES) $(BIN)/python -m pytest -m nightly

examples: $(STAMP)  ## the documents' examples and figures, over PHOTOS=DIR, a directory of Caltech-101
	CALTECH="$(PHOTOS)" $(BIN)/python -m pytest -m examples

format: $(STAMP)  ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)  ## refresh the help texts in docs/reference.md
	$(BIN)/python tools/write_reference.py

bench: $(STAMP) $(SAMPLES)  ## every benchmark, with ratios to its reference; half an hour, on a machine left alone
	$(BENCH)/end_to_end.py $(OF) >/dev/null
	$(BENCH)/end_to_end.py $(OF) --mosaics --count 300 >/dev/null
	$(BENCH)/grid.py $(OF) >/dev/null
	$(BENCH)/parity.py $(OF) >/dev/null
	$(BENCH)/decode_heic.py --photos $(PHOTOS) >/dev/null
	$(BENCH)/start.py $(OF) >/dev/null
	$(BENCH)/memory.py $(OF) >/dev/null
	$(BENCH)/rescan.py >/dev/null
	$(BENCH)/commits.py >/dev/null
	$(BENCH)/names.py >/dev/null
	$(BENCH)/cluster.py $(OF) >/dev/null
	$(BENCH)/search.py >/dev/null
	$(BENCH)/many_indexes.py >/dev/null
	$(BENCH)/duplicates.py $(OF) >/dev/null
	$(BENCH)/without_torch.py --photos $(PHOTOS) >/dev/null
	$(BENCH)/text_models.py --photos $(PHOTOS) >/dev/null
	$(BENCH)/page.py >/dev/null
	$(BENCH)/serve_load.py >/dev/null

audit: $(STAMP)  ## look the pinned packages up in the databases of known weaknesses
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

fuzz: $(STAMP)  ## fuzz the decoder for ten minutes
	$(BIN)/python -m pip install --quiet atheris
	$(BIN)/python tools/fuzz_decode.py $(DEMO)/corpus -max_total_time=600 -timeout=25 -rss_limit_mb=2048

faults: $(STAMP) $(SAMPLES)  ## attack the index in every way, at full length
	SAMPLE_PHOTOS=$(SAMPLES) $(BIN)/python -m tests.faults

coverage: $(STAMP) $(SAMPLES)  ## the tests, with the lines counted that they and their children run; at least 95 % of them
	$(BIN)/coverage erase
	SAMPLE_PHOTOS=$(SAMPLES) $(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=95

hooks: $(STAMP)  ## what .pre-commit-config.yaml asks of every commit, over all files
	$(BIN)/python -m pip install --quiet pre-commit
	$(BIN)/pre-commit run --all-files --show-diff-on-failure

vendor: $(STAMP)  ## fetch the JavaScript libraries of the page anew with npm, and check their digests
	$(BIN)/python tools/vendor.py

build: $(STAMP)  ## wheel and sdist into dist/
	$(BIN)/python -m pip install --quiet build
	rm -rf dist
	$(BIN)/python -m build --outdir dist

check: $(SAMPLES)  ## install the wheel of dist/ into a clean environment and run it there
	PYTHON=$(PYTHON) PHOTOS=$(abspath $(SAMPLES)) sh tools/check_wheel.sh dist/*.whl

clean:  ## remove everything that is not in the repository
	rm -rf $(VENV) $(DEMO) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage* build dist
