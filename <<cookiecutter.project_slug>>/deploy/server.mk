.PHONY: server
server: deploy/server/.venv/ready ## a tracking server for a team; make server DO=users (backup, "restore <time>", upgrade, units)
	@deploy/server/.venv/bin/python deploy/server/server.py $(or $(DO),start)

deploy/server/.venv/ready: deploy/server/requirements.txt
	uv venv --quiet --clear deploy/server/.venv
	uv pip install --quiet --python deploy/server/.venv/bin/python --requirement $<
	touch $@
