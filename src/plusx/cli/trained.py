"""What `plusx train` prints when it has ended."""

from typing import TYPE_CHECKING

from plusx.cli.tables import filled, per_cent, print_json, print_table

if TYPE_CHECKING:
    from plusx.engine.folds import CrossValidated
    from plusx.engine.rate import FoundRate
    from plusx.engine.training import Trained
    from plusx.runs.card import Card


def print_trained(trained: "Trained", *, as_json: bool) -> None:
    """What the run kept, how good it is, how fast it went, and what comes next."""
    card = trained.card
    results, recipe = card.results, card.recipe
    if as_json:
        about = {"run": str(trained.run), "recipe": recipe.name}
        print_json({**about, **results, "temperature": card.calibration.temperature if card.calibration else None})
        return
    print(_kept(card))
    if recipe.max_time is not None or recipe.evaluation.patience is not None:
        print(f"stopped {results['stopped']}")
    pace = ""
    if results["steps"]:
        waited = f"{100 * results['data_share']:.0f} % of the time waiting for data"
        pace = f"{results['images_per_s']:,.0f} images/s, {waited}, "
    print(f"{pace}{results['seconds']:.0f} s; report: {trained.run / 'report.html'}")
    print(_calibrated(trained))
    print(f"next: plusx evaluate {trained.run}{' --trust-code' if card.code and card.code['file'] else ''}")


def print_folds(validated: "CrossValidated", *, as_json: bool) -> None:
    """The error of each fold, their mean and deviation."""
    if as_json:
        runs = [
            {"run": str(run), "images": each.images, "test_error": each.error}
            for run, each in zip(validated.runs, validated.scores, strict=True)
        ]
        print_json(
            {
                "out": str(validated.out),
                "images": validated.score.images,
                "test_error": validated.mean,
                "test_error_std": validated.std,
                "test_error_of_all": validated.score.error,
                "runs": runs,
                "notes": list(validated.notes),
                "predictions": str(validated.out / "predictions.csv"),
            }
        )
        return
    rows = [
        [str(number), f"{each.images:,}", per_cent(each.error)] for number, each in enumerate(validated.scores, start=1)
    ]
    print_table(["fold", "images", "error"], rows)
    print(
        f"error {100 * validated.mean:.2f} ± {per_cent(validated.std)} (mean ± standard deviation of {len(rows)} "
        f"folds); {per_cent(validated.score.error)} of all {validated.score.images:,} images, each by a run without it"
    )
    for note in validated.notes:
        print(f"note: {note}")
    print(f"predictions: {validated.out / 'predictions.csv'}; report: {validated.out / 'evaluation.html'}")


def print_found(found: "FoundRate", data: str, *, as_json: bool) -> None:
    """The loss at some of the rates, and the one that is suggested."""
    if as_json:
        facts = {"net": found.net, "data": data, "optim.lr": found.recipe_rate, "suggested": found.suggested}
        print_json({**facts, "rates": found.rates, "losses": found.losses})
        return
    shown = range(0, len(found.rates), max(1, len(found.rates) // 12))
    print_table(["learning rate", "loss (nats)"], [[f"{found.rates[i]:.1e}", f"{found.losses[i]:.3f}"] for i in shown])
    if found.suggested is None:
        print(
            filled(f"The loss falls at no rate; the recipe has {found.recipe_rate:g}. More images, or other weights?")
        )
        return
    print(
        filled(
            f"suggested: --set optim.lr={found.suggested:.2g}, a tenth of where the loss is lowest; the recipe has "
            f"{found.recipe_rate:g}"
        )
    )


def _calibrated(trained: "Trained") -> str:
    """Whether the probabilities are calibrated, and on what, or why they are not."""
    if (found := trained.card.calibration) is not None:
        return f"calibration: {found.in_words}"
    return f"calibration: none, for want of validation images; plusx calibrate {trained.run} FOLDER"


def _kept(card: "Card") -> str:
    """Which weights a run kept, by which error they were chosen, and on how many images it was measured."""
    results, images = card.results, card.source["images"]
    names = {"train": "training", "val": "validation", "test": "test"}
    errors = {split: per_cent(results[f"{split}_error"]) for split in names if f"{split}_error" in results}
    measured = [f"{error} {names[split]} error on {images[split]:,} images" for split, error in errors.items()]
    which = "last"
    if card.recipe.evaluation.keep == "best" and "val" in errors:
        which = "best"
        chosen = f"{errors['val']} validation error (step {results['kept_step']:,}), on {images['val']:,} images"
        measured[list(errors).index("val")] = chosen
    for place, split in enumerate(errors):
        if (balanced := results.get(f"{split}_balanced_error")) is not None:
            measured[place] += f" ({per_cent(balanced)} in the mean over classes)"
    fitted = results.get("fitted_head") if not results["steps"] else None
    if fitted and fitted["cv_error"] is not None and "trained_before" not in card.source:  # else it flatters
        measured.append(f"{per_cent(fitted['cv_error'])} in cross-validation")
    used = ", ".join([f"{images['train']:,} trained on", *card.left_out])
    what = "its last layer fitted" if fitted else f"{which} of {results['steps']:,} steps"
    return f"{results['net']}, {what}: {', '.join(measured)}; {used}"
