"""`python -m docs.build`: write the numbers of README.md, README.ko.md and docs/ from results/.

python -m docs.build                            rewrite what stands between the markers
python -m docs.build collect DEMO...            first take results from folders that `plusx demo` left, one for a seed
python -m docs.build collect-run RUN            first take results from a run of `plusx train cifar10`
python -m docs.build collect-reproduced FOLDER  first take results from what `plusx reproduce` left: reproduced/quick
python -m docs.build figures                    first draw all figures again, from the numbers in results/
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from docs.build.collect import collect_demos, collect_reproduced, collect_run
from docs.build.figures import draw_figures
from docs.build.pages import PAGES, built
from docs.build.results import ROOT


def main(arguments: Sequence[str]) -> None:
    """Take new results, if some are named, and write every page."""
    match arguments:
        case []:
            pass
        case ["collect", _, *_]:
            collect_demos([Path(folder) for folder in arguments[1:]])
            draw_figures()
        case ["collect-run", run]:
            collect_run(Path(run))
        case ["collect-reproduced", folder]:
            collect_reproduced(Path(folder))
            draw_figures()
        case ["figures"]:
            draw_figures()
        case _:
            print(__doc__, file=sys.stderr)
            sys.exit(2)
    for name in PAGES:
        (ROOT / name).write_text(built(name), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
