"""A registered model over HTTP. A copy of this folder lies beside a deployed model and runs in that model's own
environment: so it imports nothing else of the package, and a later change of it changes no server that runs."""

CHECK = "deployment"  # the id of the request by which a roll-out compares a server, which is not logged
