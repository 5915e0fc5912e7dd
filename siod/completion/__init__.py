"""Boxes that an annotation file may lack: proposed, counted, handed to people, and taken back. Needs no torch."""
