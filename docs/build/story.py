"""The sections of docs/story.md: what each experiment measured, in the order of the story."""

from docs.build.markdown import table
from docs.build.results import exists, read


def experiment_section(name: str) -> str:
    """The claim and whether it was seen, the tables, the figures, and where it was measured."""
    from plusx.experiments.lab import evidence_in_words, verdict

    if not exists(name):
        return f"*Not measured yet: `plusx reproduce {name}`.*"
    results = read(name)
    each = ", ".join(f"{what} ({'seen' if was else 'not seen'})" for what, was in results["seen"].items())
    words = {"–": "", "yes": "**Seen.** ", "in part": f"**Seen in part**: {each}. ", "no": f"**Not seen**: {each}. "}
    seen = words[verdict(results["seen"])]
    pieces = [f"`plusx reproduce {name}`: {results['claim']}", seen + " ".join(results["findings"])]
    pieces += [f"{each['title']}:\n\n" + table(each["head"], each["rows"]) for each in results["tables"]]
    pieces += [f"![{each['caption']}](figures/{each['file']})\n\n{each['caption']}" for each in results["figures"]]
    return "\n\n".join([*pieces, f"<sub>{evidence_in_words(results)}</sub>"])
