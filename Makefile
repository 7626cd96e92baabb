# make run    sets up what is needed and trains on the bundled names; ARGS="--steps 1000" adds options
# make test   sets up what is needed and runs the tests
# make lint   style and types
# make docs   the pages of docs/, as HTML in .venv/docs
# make setup  sets up everything and runs nothing

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt --build-constraint constraints.txt

.PHONY: run test lint docs setup
.DELETE_ON_ERROR:

run: $(VENV)/.run
	$(BIN)/fanin train $(ARGS)

# A process takes whole files, and makes once what the tests of a file share.
test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(VENV)/.test $(VENV)/.lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/.test $(VENV)/.docs
	$(BIN)/zensical build --strict

setup: $(VENV)/.test $(VENV)/.lint $(VENV)/.docs

# Each stamp says that its part is installed, for the pins and requirements as they stand.
# The first pip is whatever came with Python: it only fetches the pip that the rest is done with.
$(VENV)/.run: pyproject.toml constraints.txt
	@python=; for name in python3.11 python3.12 python3.13 python3.14 python3; do \
	    if $$name -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	    then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo 'fanin needs Python 3.11 or newer with venv; on Debian: apt install python3-venv' >&2; \
	    exit 1; \
	fi; \
	echo "setting up $(VENV) with $$($$python --version), once" >&2; \
	$$python -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --constraint constraints.txt pip
	@$(PIP) --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@$(PIP) --group test
	@touch $@

$(VENV)/.lint: $(VENV)/.run
	@$(PIP) --group lint
	@touch $@

$(VENV)/.docs: $(VENV)/.run
	@$(PIP) --group docs
	@touch $@
