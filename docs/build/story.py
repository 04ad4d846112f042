"""The sections of docs/story.md: what each experiment measured, in the order of the story."""

import re

from docs.build.markdown import table
from docs.build.results import exists, read


def experiment_section(name: str) -> str:
    """The claim and whether it was reproduced, the tables, the figures, and where it was measured."""
    from plusx.experiments.lab import evidence_in_words, verdict

    if not exists(name):
        return f"*Not measured yet: `plusx reproduce {name}`.*"
    results = read(name)
    each = "; ".join(f"{what}, {'yes' if was else 'no'}" for what, was in results["seen"].items())
    words = {"–": "", "yes": "**Reproduced.** ", "in part": f"**Reproduced in part:** {each}. "}
    words["no"] = f"**Not reproduced:** {', '.join(results['seen'])}. "
    seen = words[verdict(results["seen"])]
    pieces = [f"`plusx reproduce {name}`: {results['claim']}", seen + " ".join(results["findings"])]
    pieces += [f"{each['title']}:\n\n" + table(each["head"], each["rows"]) for each in results["tables"]]
    pieces += [
        f"![{_first_sentence(each['caption'])}](figures/{each['file']})\n\n{each['caption']}"
        for each in results["figures"]
    ]
    return "\n\n".join([*pieces, f"<sub>{evidence_in_words(results)}</sub>"])


def _first_sentence(text: str) -> str:
    """What stands before the first full stop that a capital follows."""
    return re.split(r"(?<=\.) (?=[A-Z])", text, maxsplit=1)[0]
