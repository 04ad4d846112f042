"""The tables of docs/export.md: every net as an exported file, its speed, and what int8 costs trained runs."""

import statistics
from collections.abc import Sequence

from docs.build.markdown import table
from docs.build.processors import Case, by_processor, evidence_line, folded
from docs.build.results import exists, read
from plusx.nets import names

FORMS = {"onnx": "ONNX", "openvino": "OpenVINO", "torch": "PyTorch"}


def export_table() -> str:
    """Size and largest difference of each net's files, in the order of the catalog."""
    if not exists("export"):
        return "Not measured."
    return folded(by_processor(read("export")["cases"]), _nets)


def int8_table() -> str:
    """Size and accuracy of each form of the runs that were measured."""
    if not exists("export-int8"):
        return "Not measured."
    cases: list[Case] = read("export-int8")["cases"]
    rows = [
        (
            f"{case['net']} on {case['data']}",
            what,
            f"{found['size_bytes'] / 2**20:.1f}",
            f"{100 * found['accuracy']:.2f} %",
            f"{found['drop_points']:.2f}",
            f"{case['images']:,} of {case['split']}",
        )
        for case in cases
        for what, found in case["forms"].items()
    ]
    head = ("run", "form", "MB", "accuracy", "points lost", "images")
    return f"{table(head, rows, words=2)}\n\n<sub>{evidence_line(cases)}</sub>"


def by_hand_table() -> str:
    """How many times as fast our files are as those exported by hand, by runtime and by what they take."""
    if not exists("by-hand"):
        return "Not measured."
    cases: list[Case] = read("by-hand")["cases"]
    rows = [
        (
            f"{case['net']}, {case['batch']}",
            FORMS[to],
            f"{statistics.median(found['by hand']['ms']):.2f}",
            *("{:.2f} ({:.2f} to {:.2f})".format(*found[pixels]["as_fast"]) for pixels in ("uint8", "float")),
        )
        for case in cases
        for to, found in case["runtimes"].items()
    ]
    head = ("net, batch", "form", "by hand, ms", "ours of uint8, times as fast", "ours of floats, times as fast")
    return f"{table(head, rows, words=2)}\n\n<sub>{evidence_line(cases)}</sub>"


def _nets(cases: Sequence[Case]) -> str:
    order = {name: place for place, name in enumerate(names())}
    rows = []
    for case in sorted(cases, key=lambda case: order.get(case["net"], len(order))):
        found = case["forms"]
        cells = (f(found[form]) for form in FORMS for f in (_size, _difference))
        rows.append((case["net"], f"{case['side']}", f"{case['largest_logit']:.2g}", *cells))
    heads = (head for name in FORMS.values() for head in (f"{name}, MB", "differs by"))
    return table(("net", "pixels", "largest logit", *heads), rows)


def _size(found: Case) -> str:
    return f"{found['size_bytes'] / 2**20:.1f}"


def _difference(found: Case) -> str:
    return f"{found['largest_difference']:.1e}"
