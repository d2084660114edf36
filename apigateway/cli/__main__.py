"""`python -m apigateway.cli` is the command `apigateway`, also where no script was installed."""

from apigateway.cli.main import main

main()
