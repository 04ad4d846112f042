"""Law: a check finds a fault in a table exactly if training refuses it."""

import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from plusx.data.check import check_data
from plusx.data.sources import load_source
from tests.data.spoiled import encoded, photo

CONTENTS = [encoded(photo(seed, (12, 10)), "PNG") for seed in range(8)]
usually = st.integers(0, 11)

rows = st.lists(
    st.tuples(
        st.sampled_from(
            [*(f"{number}.png" for number in range(8)), *(f"{number}.png" for number in range(8)), "no.png"]
        ),
        st.sampled_from([*["ant", "bee"] * 8, "wasp", "Ant", ""]),
        st.sampled_from(["train", "train", "train", "val", "test", "Training"]),
        st.sampled_from(["", "", "", "left", "right", "Left"]),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda row: row[0],
)


@example(  # the copy leaves the validation images, and its group is whole again
    rows=[("0.png", "bee", "train", ""), ("1.png", "ant", "val", ""), ("6.png", "ant", "train", "left")]
    + [("7.png", "ant", "val", "left")],
    odd=11,
    has_splits=True,
    has_groups=True,
)
@given(rows=rows, odd=usually, has_splits=st.booleans(), has_groups=st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_table_has_a_fault_exactly_if_training_refuses_it(
    rows: list[tuple[str, str, str, str]], odd: int, has_splits: bool, has_groups: bool
) -> None:
    if odd == 0:
        rows = [*rows, ("./" + rows[0][0], *rows[-1][1:])]
    if odd == 1:
        rows = [*rows, (rows[0][0] + "x", "ant", "tset", "")]
    if odd == 2:
        rows = [
            (path, label, "" if number else split, group) for number, (path, label, split, group) in enumerate(rows)
        ]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        for number, content in enumerate(CONTENTS):
            (root / f"{number}.png").write_bytes(content)
        (root / "7.png").write_bytes(CONTENTS[6])  # a copy
        columns = [0, 1, *[2] * has_splits, *[3] * has_groups]
        lines = [",".join(row[column] for column in columns) for row in rows]
        table = root / "table.csv"
        table.write_text("\n".join([",".join(("path", "label", "split", "group")[c] for c in columns), *lines, ""]))
        check = check_data(table)
        faults = [finding.title for finding in check.findings if finding.level == "fault"]
        assert check.files == len(rows) == check.images + len(check.left_out)
        try:
            source = load_source(str(table))
        except ValueError as fault:
            assert faults, fault
            return
        assert not faults
        assert check.assigned == {split: len(images) for split, images in source.splits.items()}
        trained = {file.name for file in source.splits["train"].files or ()}
        left_out = {each.path for each in check.left_out}
        assert trained == {path for path, p in check.places.items() if p.split == "train" and path not in left_out}
