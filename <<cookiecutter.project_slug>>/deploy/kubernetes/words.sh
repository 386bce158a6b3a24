#!/bin/sh
# A stage or job, and its words. MLflow's Kubernetes backend quotes each word twice, for a shell that it does not start.
test -z "$KUBERNETES_SERVICE_HOST" || eval "set -- $*"
exec python -m << cookiecutter.package_name >> "$@"
