"""The guide and the story of the lineage, and what builds their numbers: `python -m docs.build`."""
