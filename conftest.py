"""What holds for every test and for every example of a docstring."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def no_memory_of_the_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What was measured on this machine before is not read, and what tests measure is not kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLUSX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def examples_write_into_a_folder_of_their_own(request: pytest.FixtureRequest) -> None:
    """An example names its files as a user would; they are gone when it ends."""
    if isinstance(request.node, pytest.DoctestItem):
        request.getfixturevalue("monkeypatch").chdir(request.getfixturevalue("tmp_path"))
