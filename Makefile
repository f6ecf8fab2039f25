# Everything from a fresh checkout with `make` and Python alone; `make help` lists the targets.
#
# Both `serve` and `test` install into the same .venv and leave a stamp there, so nothing is
# installed twice until pyproject.toml changes. ARGS passes options on: make test ARGS="-k store".
# WORKERS processes share the files of tests; 0 runs them in one, for a debugger.

SHELL         := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS     += --no-print-directory

VENV   := .venv
PYTHON ?=
ARGS   ?=
WORKERS ?= 2
IMAGE  ?= tyntegra

RUN := $(VENV)/bin/python
# A venv whose interpreter is gone (Python upgraded, checkout moved) makes its stamps worthless.
ifeq ($(wildcard $(VENV)/.*-installed),)
STALE :=
else
STALE := $(shell $(RUN) -c '' >/dev/null 2>&1 || echo FORCE)
endif

.PHONY: help serve test lint format docker clean distclean FORCE

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(VENV)/.serve-installed  ## Install what the service needs and run it in the foreground
	@exec $(RUN) -m app serve $(ARGS)

test: $(VENV)/.test-installed  ## Install everything and run the tests
	@$(RUN) -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

lint: $(VENV)/.test-installed  ## Check format, lint and types
	@$(RUN) -m ruff format --check .
	@$(RUN) -m ruff check .
	@$(RUN) -m pyright

format: $(VENV)/.test-installed  ## Format the code and apply safe lint fixes
	@$(RUN) -m ruff format .
	@$(RUN) -m ruff check --fix .

docker:  ## Build the CPU image as tyntegra:cpu
	DOCKER_BUILDKIT=1 docker build -f docker/Dockerfile --target cpu -t $(IMAGE):cpu .

clean:  ## Remove caches and build outputs
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis .schemathesis *.egg-info
	find app training export tests -type d -name __pycache__ -prune -exec rm -rf {} +

distclean: clean  ## Remove .venv as well
	rm -rf $(VENV)

$(VENV)/.serve-installed: pyproject.toml $(STALE)
	@PYTHON='$(PYTHON)' sh .ci/install $(VENV) -e '.[cpu]'
	@touch $@

# --group needs pip 25.1; `-e .[cpu]` is part of it, so the service's stamp is due as well.
$(VENV)/.test-installed: pyproject.toml $(STALE)
	@PYTHON='$(PYTHON)' sh .ci/install $(VENV) 'pip>=25.1'
	@PYTHON='$(PYTHON)' sh .ci/install $(VENV) -e '.[cpu,train,export]' --group dev
	@touch $(VENV)/.serve-installed $@
