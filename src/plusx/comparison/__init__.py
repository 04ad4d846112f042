"""Trained runs beside each other."""
