# Needs git, make and Python 3.11 or later: everything else is installed into .venv by the first target that needs it.
.DEFAULT_GOAL := help
.PHONY: help demo test quick lint pins braces site release
PYTHON ?= python3
UV := .venv/bin/uv
RUN := PATH="$(CURDIR)/.venv/bin:$$PATH"

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' Makefile

demo: .venv/ready ## generate a project with default answers into demo/ and run its main job
	rm -rf demo && mkdir demo
	$(RUN) cookiecutter --no-input . --output-dir demo
	cd demo/penguin-classifier && env -u VIRTUAL_ENV $(RUN) uv run mlflow run . --env-manager local

test: .venv/ready ## all tests, in generated projects that are really run (some half an hour)
	$(RUN) pytest -n auto $(ARGS)

quick: .venv/ready ## the tests that need no environment of a generated project
	$(RUN) pytest -n auto -m "not slow" $(ARGS)

LINTED := hooks updates tests benchmarks docs "<<cookiecutter.project_slug>>/<<cookiecutter.package_name>>"
lint: .venv/ready ## ruff, on this repository and on the package where it stands
	$(RUN) ruff check --no-cache $(LINTED)
	$(RUN) ruff format --no-cache --check $(LINTED)

# A project makes them, from the template's own as they are: what pyproject.toml allows stays, unless it is to be renewed.
FOLDER := <<cookiecutter.project_slug>>
MADE := .cache/pins/penguin-classifier
pins: .venv/ready ## remake the pins of projects from their pyproject.toml (UPGRADE=--upgrade: the newest)
	rm -rf .cache/pins && mkdir -p .cache/pins
	COOKIECUTTER_MLPROJECT_LOCK=no $(RUN) cookiecutter --no-input . --output-dir .cache/pins
	$(RUN) $(MAKE) -C $(MADE) lock
	cp $(MADE)/requirements.txt "$(FOLDER)"
	{ sed '/- pip:/q' "$(FOLDER)/conda.yaml"; sed '1,/- pip:/d' $(MADE)/conda.yaml; } > .cache/pins/conda.yaml
	mv .cache/pins/conda.yaml "$(FOLDER)"
	cd "$(FOLDER)/deploy/server" && head=$$(sed 1q requirements.txt) \
		&& pin=$$(sed -n 's/^mlflow==\([0-9.]*\).*/\1/p' ../../requirements.txt) \
		&& sed "s/^\(mlflow.*==\).*/\1$$pin/" requirements.in > new && mv new requirements.in \
		&& $(RUN) uv pip compile --quiet --universal --no-annotate --no-header $(UPGRADE) requirements.in -o requirements.txt \
		&& { echo "$$head"; cat requirements.txt; } > new && mv new requirements.txt

site: .venv/ready ## the pages as a searchable site: python3 -m http.server --directory .cache/site/site
	$(RUN) python docs/site.py .cache/site
	NO_MKDOCS_2_WARNING=1 $(RUN) uv run --quiet --isolated --only-group docs mkdocs build --quiet --strict --config-file .cache/site/mkdocs.yml

braces: ## the template with other delimiters in .cache/braces/, for Windows and cruft
	rm -rf .cache/braces
	$(PYTHON) docs/braces.py .cache/braces

release: .venv/ready ## a number, a day and a tag for what is new in CHANGELOG.md: make release VERSION=0.2.0
	@$(RUN) python updates/release.py "$(VERSION)"

.venv/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"{sys.executable} is Python {sys.version.split()[0]}: name one from 3.11 on, as in make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
	env -u VIRTUAL_ENV $(UV) sync --quiet --python .venv/bin/python
	@touch $@
