# make demo: the page on http://127.0.0.1:7860.   make test: every test.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint browser clean

demo: .venv/demo
	$(BIN)/python app.py

test: .venv/test browser lint
	$(BIN)/python -m pytest

lint: .venv/test
	$(BIN)/ruff check .

browser: .venv/test
	@command -v chromium chromium-browser google-chrome >/dev/null \
	  || (apt-get update -qq && apt-get install -y -qq chromium) \
	  || $(BIN)/playwright install --with-deps chromium

.venv/demo: requirements.txt
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements.txt
	@touch $@

.venv/test: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements.txt
	$(PIP) --editable '.[test]'
	@touch $@

clean:
	rm -rf .venv
