"""Runware: its protocol, and a file for each family of models."""
