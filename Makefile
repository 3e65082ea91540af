# make demo: the page on http://127.0.0.1:7860.   make test: every test.   make quick: in two minutes, most of them.
# make oldest, make newest: the quick tests with the lowest and the newest versions that the ranges admit, in
# .environments. make upgrade: constraints.txt becomes the newest versions if every test passes with them.
# make lock: a version of what requirements.txt or an extra newly asks for, beside those that are in constraints.txt.
PYTHON ?= python3
# where other torches than pip would choose are to be tried: TORCH='torch==2.11.0'
TORCH ?=
BIN := .venv/bin
ENVIRONMENTS := .environments
INSTALL := -m pip install --quiet --disable-pip-version-check
QUICK := -m "not slow and not browser and not ray" -n logical --maxprocesses 4 --dist loadfile

.PHONY: demo test quick lint browser lock oldest newest upgrade clean

demo: .venv/demo
	$(BIN)/python app.py

test: .venv/test browser lint
	$(BIN)/python -m pytest

quick: .venv/test
	$(BIN)/python -m pytest $(QUICK)

lint: .venv/test
	$(BIN)/lint-imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check

browser: .venv/test
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null \
	  || command -v google-chrome >/dev/null \
	  || (apt-get update -qq && apt-get install -y -qq chromium) \
	  || $(BIN)/playwright install --with-deps chromium

.venv/demo: requirements.txt constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python $(INSTALL) -c constraints.txt -r requirements.txt
	@touch $@

.venv/test: requirements.txt constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python $(INSTALL) -c constraints.txt --editable '.[test]'
	@touch $@

lock: $(ENVIRONMENTS)/lock/installed
	$(ENVIRONMENTS)/lock/bin/python tools/lock.py current > $(ENVIRONMENTS)/current.txt
	cp $(ENVIRONMENTS)/current.txt constraints.txt

oldest newest: %: $(ENVIRONMENTS)/%/installed
	$(ENVIRONMENTS)/$*/bin/python -m pytest $(QUICK)

# the lock stays as it was unless all goes well
upgrade: $(ENVIRONMENTS)/newest/installed browser
	@cp constraints.txt $(ENVIRONMENTS)/before.txt
	@trap 'cp $(ENVIRONMENTS)/before.txt constraints.txt' EXIT INT TERM; \
	  cp $(ENVIRONMENTS)/newest.txt constraints.txt \
	  && $(ENVIRONMENTS)/newest/bin/python -m palm_demo.space check \
	  && $(ENVIRONMENTS)/newest/bin/python -m pytest \
	  && trap - EXIT
	@git --no-pager diff --stat constraints.txt

$(ENVIRONMENTS)/%/installed: $(ENVIRONMENTS)/lock/installed FORCE
	$(ENVIRONMENTS)/lock/bin/python tools/lock.py $* > $(ENVIRONMENTS)/$*.txt
	$(PYTHON) -m venv --clear $(ENVIRONMENTS)/$*
	$(ENVIRONMENTS)/$*/bin/python $(INSTALL) -c $(ENVIRONMENTS)/$*.txt --editable '.[test]' $(TORCH)
	@touch $@

$(ENVIRONMENTS)/lock/installed: constraints.txt
	$(PYTHON) -m venv $(ENVIRONMENTS)/lock
	$(ENVIRONMENTS)/lock/bin/python $(INSTALL) $$(grep -o '^uv==[^ ]*' constraints.txt)
	@touch $@

FORCE:

clean:
	rm -rf .venv $(ENVIRONMENTS)
