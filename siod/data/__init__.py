"""COCO data sets, annotation sets and loaders."""
