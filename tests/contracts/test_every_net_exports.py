"""Every net of the catalog becomes a file of every form, which computes what the net does: all are `make test-slow`."""

import pytest

from benchmarks.export import measure
from plusx.deploy.export.forms import FORMS
from plusx.deploy.export.verify import TOLERANCE
from plusx.nets import Entry
from plusx.placement.inference.openvino import is_installed
from tests.contracts.test_every_net import ENTRIES, ONE_A_FAMILY, SMALLEST

QUICK = ("resnet20",)


def _marks(facts: Entry) -> list[pytest.MarkDecorator]:
    if facts.name in QUICK:
        return []
    return [pytest.mark.more] if facts.name in ONE_A_FAMILY else [pytest.mark.slow]


@pytest.mark.parametrize("facts", [pytest.param(e, id=e.name, marks=_marks(e)) for e in ENTRIES])
def test_a_net_is_exported_to_every_form(facts: Entry) -> None:
    forms = {to: form for to, form in FORMS.items() if is_installed(*form.needs)}
    side = SMALLEST.get(facts.name, min(facts.input_shape[1], 32))
    case = measure(facts.name, forms, side)
    assert set(case["forms"]) == set(forms)
    rounding = 10 if facts.name.startswith("plain") else 1  # without shortcuts, deep nets make much of it
    for to, found in case["forms"].items():
        assert found["largest_difference"] <= rounding * TOLERANCE * min(1.0, case["largest_logit"]), to
