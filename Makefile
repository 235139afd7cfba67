# Everything a newcomer needs: `make run` (the demonstration, serving) and `make test`.
PYTHON ?= python3
PORT ?= 8042
BIN := .venv/bin
CUTS ?= 100
KILLS ?= 200

.PHONY: run setup setup-dev test check format lock bench bench-quick \
	campaign-kill campaign-power-cuts campaign-syscalls campaign-revocation campaign-timing campaign-log clean

run: setup ## the demonstration: sample studies, two outside facilities, a staff account; serves on $(PORT)
	$(BIN)/openpriors demo --port $(PORT)

setup: .venv/.ready ## makes .venv with the command .venv/bin/openpriors

setup-dev: .venv/.ready-dev

.venv/.ready: deploy/requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "OpenPriors needs Python 3.11 or newer; name it with: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/.ready-dev: .venv/.ready deploy/requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/requirements-dev.lock
	@touch $@

test: setup-dev ## every test; names in one line each what it skipped and how to get it
	$(BIN)/pytest -q -n 2 --dist worksteal

check: setup-dev ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## pin the dependencies again, with hashes (needs uv)
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile --universal --generate-hashes -q --upgrade \
		--group build -o deploy/requirements.lock pyproject.toml
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile --universal --generate-hashes -q --upgrade \
		--group build --group dev -o deploy/requirements-dev.lock pyproject.toml

bench: setup-dev ## side by side with Debian's Orthanc, in one run (under 10 minutes)
	$(BIN)/python -m tests.bench

bench-quick: setup-dev
	$(BIN)/python -m tests.bench --quick

campaign-kill: setup-dev ## SIGKILL at random moments of import and retrieve, then fsck
	$(BIN)/python -m tests.faults.kills --times $(KILLS)

campaign-power-cuts: setup-dev ## power cuts on a real file system (needs root for the loop device)
	$(BIN)/python -m tests.faults.power_cuts --cuts $(CUTS)

campaign-syscalls: setup-dev ## SIGKILL, EIO and ENOSPC at every system call of an import, and the strict order of flushes
	$(BIN)/python -m tests.faults.syscalls --every 1
	$(BIN)/python -m tests.faults.strict_order

campaign-revocation: setup-dev ## revocations during downloads, direct and through nginx
	$(BIN)/python -m tests.story.revocation

campaign-timing: setup-dev ## can absent and forbidden be told apart? 20,000 requests
	$(BIN)/python -m tests.story.timing

campaign-log: setup-dev ## 100,000 events, tampered with in every way
	$(BIN)/python -m tests.storage.log.campaign

clean:
	rm -rf .venv build *.egg-info
