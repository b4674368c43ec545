"""The operator's commands, by subject; `python -m flows --help` lists them."""
