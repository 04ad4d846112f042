"""The figures of docs/, drawn from the numbers in results/."""

from docs.build.results import ROOT, exists, read, write
from plusx.experiments.story import EXPERIMENTS

FIGURES = ROOT / "docs" / "figures"


def draw_figures() -> None:
    """Draw the figure of README, in a light and a dark form, and those of the experiments; write their captions."""
    from plusx.report.figure import standalone
    from plusx.report.run import comparison_svg

    demo = read("degradation-digits")
    drawing = comparison_svg(demo["curves"], [demo["seeds"][0]["seed"]])
    for scheme in ("light", "dark"):
        (ROOT / "docs" / f"degradation-{scheme}.svg").write_text(standalone(drawing, scheme), encoding="utf-8")
    for name in filter(exists, EXPERIMENTS):
        results = read(name)
        figures = EXPERIMENTS[name].figures(results["numbers"])
        results["figures"] = [{"file": f"{figure.name}.svg", "caption": figure.caption} for figure in figures]
        write(name, results)
        for figure in figures:
            (FIGURES / f"{figure.name}.svg").write_text(standalone(figure.svg), encoding="utf-8")
