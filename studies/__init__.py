"""Declared studies: one module, one question, one STUDY."""

if __name__ != "siod.studies":
    message = f"import siod.studies, not {__name__}: the folder is installed under the siod package"
    raise ImportError(message)
