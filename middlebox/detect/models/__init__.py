"""Trained models as plain numbers. Written by `make models`; the cards in docs/models/ say from what and how good."""
