.PHONY: training kubernetes
TRAINING ?= $(shell sed -n 's/^  image: *//p' deploy/kubernetes/MLproject)

# Of what git holds, and nothing else: so the commit says what is in it. .dockerignore is the champion's.
training: ## this commit as the image that Jobs run, and build/training.cdx.json, what it is made of; then docker push
	@mkdir -p build; uv export --quiet --frozen --no-dev --format cyclonedx1.5 --output-file build/training.cdx.json
	git archive HEAD . ":(exclude).dockerignore" | docker build --tag "$(TRAINING)" --build-arg COMMIT=$$(git rev-parse HEAD) \
		--file deploy/kubernetes/Dockerfile -

kubernetes: ## the line as a Job: make kubernetes ARGS="-P model=boosting"
	@uv run --extra kubernetes python deploy/kubernetes/run.py $(ARGS)
