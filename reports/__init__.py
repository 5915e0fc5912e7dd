"""Finished runs to tables, figures and pages."""

if __name__ != "siod.reports":
    message = f"import siod.reports, not {__name__}: the folder is installed under the siod package"
    raise ImportError(message)
