"""Command line: one file, one command."""

if __name__ != "siod.cli":
    message = f"import siod.cli, not {__name__}: the folder is installed under the siod package"
    raise ImportError(message)
