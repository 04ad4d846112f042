"""Help in sections: the options of a verb under headings, where it names them by `rich_help_panel`."""

from typing import Any

from typer.core import TyperCommand


class Sectioned(TyperCommand):
    """A command whose help lists arguments first, then options under their headings, in the order of the function."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and options."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
                heading = getattr(parameter, "rich_help_panel", None) or usual
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)
