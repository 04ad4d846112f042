"""The numbers in README.md, README.ko.md and docs/, written from results/ between pairs of markers.

`python -m docs.build` writes them (`__main__.py`); `pages.py` says which table stands in which file. A test holds the
files to what this writes.
"""
