"""`python -m glmdata.cli`."""

from glmdata.cli.main import main

main()
