# Everything a user types. The first target that needs it makes .venv from the lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0
READY := $(VENV)/.ready

.PHONY: model smoke ablation ui test test-long lint types lock clean bench-training bench-launch bench-pts bench-chains bench-arms

model: $(READY)
	$(BIN)/factory run --recipe recipes/laptop.yaml $(if $(SEED),--seed $(SEED))

smoke: $(READY)
	$(BIN)/factory run --recipe recipes/smoke.yaml

ablation: $(READY)
	$(BIN)/factory run --recipe recipes/laptop.yaml --group ablation $(if $(SEED),--seed $(SEED))

ui: $(READY)
	$(BIN)/python -m assets.ui

test: $(READY) lint types
	$(BIN)/pytest -m "not kill and not ranks4"

# What takes long: processes killed at many moments, layouts of four ranks.
test-long: $(READY)
	$(BIN)/pytest -m "kill or ranks4"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY)
	$(BIN)/basedpyright

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 13) else f"error: Python {v[0]}.{v[1]} is not supported: use 3.11 or 3.12 (make PYTHON=python3.11 ...)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# Tokens a second of a training step beside transformers and a plain loop, interleaved (two minutes).
bench-training: $(READY)
	$(BIN)/python benchmarks/training.py

# Seconds from submission to the first training step, on a Slurm of this machine (as root, with slurm-wlm and munge) beside local.
bench-launch: $(READY)
	PYTHONPATH=tests/slurm:tests/cluster:tests/training $(BIN)/python benchmarks/launch.py

# Needs an experiment with an SFT checkpoint: `make model` makes one.
bench-pts: $(READY)
	$(BIN)/python benchmarks/pts.py $(if $(SEED),--seed $(SEED))

bench-chains: $(READY)
	$(BIN)/python benchmarks/pivotal_chains.py

# Every arm of the ablation over three seeds (about an hour and a half from nothing).
bench-arms: $(READY)
	$(BIN)/python benchmarks/arms.py

# Resolve the lock anew. torch is left out: its build (CPU, CUDA) is the index's choice, and so are its hashes.
lock: $(READY)
	$(BIN)/python docker/lock.py
	$(BIN)/python docker/lock_production.py

clean:
	rm -rf $(VENV) .seedmill
