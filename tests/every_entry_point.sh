#!/usr/bin/env bash
# Every entry point of a project, in an order in which each finds what it needs: called in the project's folder.
set -euo pipefail
run() { echo "== $*" && mlflow run . --env-manager local "$@"; }
champion="models:/tried-$(sed -n 's/^  - data: \([a-z_]*\).*/\1/p' conf/config.yaml)@champion"
run -e profile -P path=data/raw/penguins.csv -P target=species -P name=tried -P trial_seconds=0
run -e ingest -P data=tried
run -e validate -P data=tried
run -e split -P data=tried -P split=stratified
run -e explain
run -e train -P model=forest
run -e evaluate -P model=forest
run -e register -P model=forest
run -P model=forest -P model.n_estimators=50 -P promotion=manual
run -e promote -P version=2 -P approver=ann -P reason="as good"
run -e compare -P like="$champion"
run -e rollback -P approver=ann -P reason="that was a mistake"
run -e predict -P input=data/raw/penguins.csv -P output=outputs/scores.parquet
run -e monitor -P input=data/raw/penguins.csv
run -e tune -P model=forest -P tune.trials=2 -P tune.folds=2
run -e reproduce -P run_id="$champion"
run -e prune -P keep=1 -P dry_run=false
if test -d conf/deploy; then run -e deploy -P action=status; fi
