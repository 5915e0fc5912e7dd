"""siod: object detection when one instance per category and image is annotated."""

__version__ = "0.1.0"
