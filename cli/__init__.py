"""The command line: parse, call, render."""

if __name__ == "cli":
    raise ImportError("import glmdata.cli: the folder cli/ is reached through the package glmdata")
