"""The papers' tables and figures as code."""
