DEPLOY ?= local
.PHONY: deploy

deploy: ## the champion answers over HTTP: make deploy DEPLOY=staging ARGS="-P deploy.challenger_share=0.1"
	uv run mlflow run . --env-manager local -e deploy -P deploy=$(DEPLOY) $(ARGS)
