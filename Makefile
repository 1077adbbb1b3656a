# make demo   the main job, from nothing: installs, makes music, materialises all assets, shows the tables
# make test   the tests
# make ui     the Dagster UI on http://127.0.0.1:3000
# make check  formatting, lint, types, definitions

PYTHON ?= python3
VENV   ?= .venv
DATA   ?= data
# What the UI opens: the demo library, unless you name yours.
LIBRARY    ?= $(DATA)/demo/audio
CLAP_MODEL ?= $(DATA)/demo-clap
PORT       ?= 3000

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test ui check clean

demo: $(INSTALLED)
	$(BIN)/audio-assets demo --data $(DATA)

test: $(INSTALLED)
	$(BIN)/python -m pytest

ui: $(INSTALLED)
	$(BIN)/audio-assets ui --data $(DATA) --library $(LIBRARY) --clap-model $(CLAP_MODEL) --port $(PORT)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/dg check defs -w workspace.yaml

$(INSTALLED): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

clean:
	rm -rf $(VENV)
