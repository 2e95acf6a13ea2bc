# Every target sets up what it needs in .venv by itself: "make help" lists them.

VENV        := .venv
CONSTRAINTS := constraints.txt
ARGS        :=
BIN         := $(VENV)/bin/python
ENGINE      := src/ostinato/engines/cpu

# A stamp's name carries the checksum of what was asked for: a change redoes the set-up, whatever the file times say,
# and an interrupted set-up leaves no stamp.
SUM   := $(shell cat pyproject.toml $(CONSTRAINTS) 2>/dev/null | cksum | cut -d' ' -f1)
READY := $(VENV)/ready-$(SUM)

USABLE := -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
PYTHON  = $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
            $$p $(USABLE) && { echo $$p; break; }; done)

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo lab-quick test lint ruff types docs bench results venv native native-test clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

demo: $(READY)-run ## train, evaluate and use a small language model (about a minute)
	@$(MAKE) --no-print-directory native || echo "make: no CPU engine (see above); the reference engine runs"
	@$(BIN) -m ostinato demo $(ARGS)

lab-quick: $(READY)-test native ## the laboratory's small table of cells against lags, in build/lab (a minute)
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN) -m ostinato lab table --quick --out build/lab --overwrite $(ARGS)

# One thread: the tests' tensors are small, and two that share a core with another program wait for each other. So as
# many processes as there are cores share the tests.
test: $(READY)-test native ## run the tests; ARGS="-k house" chooses some
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN) -m pytest --numprocesses auto --dist loadfile $(ARGS)

lint: ruff types ## ruff, then pyright

ruff: $(READY)-lint ## style
	@$(BIN) -m ruff check $(ARGS)

types: $(READY)-lint ## types, over the tests too
	@$(BIN) -m pyright --pythonpath $(BIN) $(ARGS)

docs: $(READY)-docs ## build the documentation in build/docs; a warning is an error
	@$(BIN) -m sphinx --fail-on-warning --keep-going --quiet docs build/docs $(ARGS)
	@echo "build/docs/index.html"

bench: $(READY)-run native ## all benchmarks, into build/bench; ARGS="--only train --quick" shortens it
	@$(BIN) -m benchmarks $(ARGS)

results: $(READY)-test native ## train the tasks on ../shared/data and test them once: hours; ARGS="trec sst2" runs only these
	@$(BIN) -m benchmarks.results $(ARGS)

venv: $(READY)-test $(READY)-lint $(READY)-docs ## set up .venv for everything; CONSTRAINTS=FILE pins other versions

# The library is built in build/native and then put where Python looks for it, in one move: a program that runs keeps
# the one it has, and one that starts finds a whole one. flock, where there is one, keeps two builds apart.
ONE := $(if $(shell command -v flock),flock build/native/lock)
native: ## compile the CPU engine, in place: only what changed
	@mkdir -p build/native
	@$(ONE) sh -ec 'cd build/native; \
	  test -f configured || { cmake -S ../../native -B . >log; touch configured; }; \
	  cmake --build . --parallel >log; \
	  for new in libostinato_cpu.*; do \
	    place=../../$(ENGINE)/$$new; cmp -s $$new $$place || { cp $$new $$place.new; mv -f $$place.new $$place; }; \
	  done'

# Plain, with AddressSanitizer and UndefinedBehaviorSanitizer, and (what runs in several threads) with ThreadSanitizer.
native-test: ## the CPU engine's own tests, under the sanitizers too
	@$(call tested,plain,,.)
	@$(call tested,address,address$(comma)undefined,.)
	@$(call tested,thread,thread,threads|multiply)
comma  := ,
tested = mkdir -p build/native-$(1) && cd build/native-$(1) && \
  cmake -S ../../native -B . -DOSTINATO_TESTS=ON -DOSTINATO_STRICT=ON -DOSTINATO_SANITIZE=$(2) >log && \
  cmake --build . --parallel >log && \
  { ctest --output-on-failure --parallel 2 --tests-regex '$(3)' >log || { cat log; exit 1; }; } && \
  echo "native tests, $(1): $$(grep 'tests passed' log)"

clean: ## remove .venv and what was built
	rm -rf $(VENV) build $(ENGINE)/libostinato_cpu.*

$(READY)-%:
	@$(BIN) -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  test -n "$(PYTHON)" || { echo "make: needs Python 3.11 or later with its venv module; PYTHON=PATH names one" >&2; exit 1; }; \
	  $(PYTHON) -m venv --clear $(VENV); }
	@find $(VENV) -maxdepth 1 -name 'ready-*' ! -name 'ready-$(SUM)-*' -exec rm {} +
	@echo "Setting up $(VENV) to $* ..."
	@$(BIN) -m pip install -qq --disable-pip-version-check --no-input \
	  --constraint $(CONSTRAINTS) --editable '.$(if $(filter run,$*),,[$*])'
	@touch $@
