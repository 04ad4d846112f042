import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from plusx.deploy.server.pace import Pace

SECONDS = st.dictionaries(st.sampled_from([2, 4, 8, 16]), st.floats(0.001, 10)).flatmap(
    lambda others: st.floats(0.001, 10).map(lambda one: {1: one, **others})
)


@settings(deadline=None)
@given(SECONDS, st.integers(0, 40))
def test_batches_hold_every_image(measured: dict[int, float], count: int) -> None:
    sizes = Pace.of(measured).batches(count)
    assert sum(sizes) >= count
    assert set(sizes) <= set(measured)
    assert not sizes or sum(sizes[:-1]) < count, "a batch is computed for nothing"


@settings(deadline=None)
@given(SECONDS)
def test_no_other_way_is_faster(measured: dict[int, float]) -> None:
    pace = Pace.of(measured)
    for count in range(1, min(pace.largest, 6) + 1):
        ways = (
            sizes
            for length in range(1, count + 1)
            for sizes in itertools.combinations_with_replacement(measured, length)
            if sum(sizes) >= count
        )
        assert pace.seconds[count] <= min(sum(measured[size] for size in way) for way in ways) * (1 + 1e-9)


@settings(deadline=None)
@given(SECONDS)
def test_more_images_take_no_less_time(measured: dict[int, float]) -> None:
    seconds = Pace.of(measured).seconds
    assert all(before <= after for before, after in itertools.pairwise(seconds))
