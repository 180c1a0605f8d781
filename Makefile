# Every target does its own set-up in $(VENV); it is skipped when pyproject.toml and the versions in
# constraints.txt have not changed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# In the environment, pip applies it to what the build needs as well. Bytecode is made of what is
# imported, when it first is: of all that is installed, it takes longer than installing. Where it is
# not kept (PYTHONDONTWRITEBYTECODE, as in many containers), each process compiles torch again.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := env PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --quiet --disable-pip-version-check --no-compile

.PHONY: install demo depth-demo test wheel-test lint format clean help

help:
	@echo "make install an environment in $(VENV) with the versions of constraints.txt"
	@echo "make demo        the whole line on real input, about four minutes: runs/demo/report.html"
	@echo "make depth-demo  the same for depth in rendered rooms: runs/depth/report.html"
	@echo "make test        the test suite"
	@echo "make wheel-test  the wheel in new environments, one for each Python at hand"
	@echo "make lint        ruff and mypy"
	@echo "make format      let ruff rewrite the sources"
	@echo "make clean       remove the environment and the demo's run"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "netadapt needs Python 3.11 or newer; call make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@# pip unpacks one wheel after another, so several of it unpack what is known to be needed. What
	@# they cannot get on some system, the lines below find or complain of.
	@grep '==' constraints.txt | awk '{print NR % 2, $$0}' | sort -s -n -k 1,1 | cut -d ' ' -f 2- | \
		xargs -n 60 -P 2 $(INSTALL) --no-deps 2>/dev/null || true
	@# torch by itself and first: resolved together with the rest, pip may take a newer build of it
	@# with gigabytes of GPU libraries.
	$(INSTALL) torch==2.13.0
	@# What every process imports is compiled meanwhile: else the first ones all do it at once.
	@$(BIN)/python -W ignore -c 'import torch._dynamo, torch.export' & \
		$(INSTALL) --editable '.[dev]'; done=$$?; wait; exit $$done
	@touch $@

install: $(READY)
	@echo "now: source $(BIN)/activate && netadapt --help"

demo: $(READY)
	$(BIN)/netadapt demo

depth-demo: $(READY)
	$(BIN)/netadapt search netadapt/examples/depth.toml

test: $(READY)
	$(BIN)/python -m pytest -n 3 --dist loadscope --no-loadscope-reorder

wheel-test:
	.ci/wheel-test

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) runs/demo
