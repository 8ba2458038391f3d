"""The console command ``chatladder``: the work that people do by hand, besides the stages that DVC runs.

Example:
    chatladder simulate --lines 58000 --seed 2024 --out data/raw/demo.txt.bz2 --truth data/demo/truth.jsonl.bz2
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import click

from chatladder.io.console import SETTINGS, example, stoppable, write_utf8

#: Commands by name: the module and the attribute of each, and its line in --help.
COMMANDS = {
    "simulate": ("chatladder.cli.simulate:chat", "Write a simulated group chat."),
    "simulate-answers": ("chatladder.cli.simulate:answers", "Write simulated annotators' answers."),
    "simulate-review": ("chatladder.cli.simulate:review", "Answer a review by simulation."),
    "import": ("chatladder.cli.import_labelled:import_command", "Import questions labelled elsewhere."),
    "silver": ("chatladder.cli.silver:silver_command", "Label by the replies in the archive."),
    "init": ("chatladder.cli.init.command:init_command", "Start a new project."),
    "status": ("chatladder.cli.status:status_command", "Show the project's state and the next step."),
    "upgrade": ("chatladder.cli.upgrade:upgrade_command", "Upgrade the project to the installed version."),
    "secret": ("chatladder.privacy.secret:secret_command", "Create the key of the pseudonyms."),
    "questions": ("chatladder.cli.questions:questions_command", "Show turns that were picked or left out."),
    "annotate": ("chatladder.cli.annotate.command:annotate_command", "Label questions by hand, one key each."),
    "adjudicate": ("chatladder.cli.annotate.adjudicate:adjudicate_command", "Settle disagreements between annotators."),
    "review": ("chatladder.cli.annotate.review:review_command", "Review labels that are probably wrong."),
    "carry-answers": ("chatladder.cli.carry_answers:carry_answers_command", "Move answers to new question ids."),
    "report": ("chatladder.cli.report.command:report_command", "Write a page about a round."),
    "label-studio": (
        "chatladder.cli.label_studio.command:label_studio_group",
        "Exchange tasks and answers with Label Studio.",
    ),
    "audit": ("chatladder.cli.audit:audit_command", "Search derived data for names, numbers and keys."),
    "forget": ("chatladder.cli.forget.command:forget_command", "Remove one member from the project."),
    "ladder": ("chatladder.cli.ladder:ladder_command", "Choose the models of the ladder."),
    "doctor": ("chatladder.cli.doctor.command:doctor_command", "Check the rungs' requirements and the setup."),
    "export": ("chatladder.cli.export.command:export_command", "Write a tuned model as a folder."),
    "resolve": ("chatladder.cli.resolve.command:resolve_command", "Answer new messages with a tuned model."),
    "serve": ("chatladder.cli.serve.command:serve_command", "Serve a tuned model over HTTP."),
}


class Loaded(Mapping[str, click.Command]):
    """The commands of ``COMMANDS``, each imported when it is requested, without the libraries of the others."""

    def __getitem__(self, name: str) -> click.Command:
        module, attribute = COMMANDS[name][0].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class Commands(click.Group):
    """A group whose commands report on Ctrl+C, unless they do so themselves, that no file is cut short."""

    def invoke(self, ctx: click.Context) -> Any:
        """Import and run the requested command."""
        write_utf8()
        with stoppable("No file is left incomplete; the same command starts over."):
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        lines = {name: click.Command(name, short_help=line) for name, (_, line) in COMMANDS.items()}
        click.Group(commands=lines).format_commands(ctx, formatter)


@click.group(cls=Commands, commands=Loaded(), context_settings=SETTINGS, epilog=example(__doc__))
@click.version_option(package_name="chatladder")
def main() -> None:
    """From a raw group chat to a fine-tuned model whose labels you can trust.

    The pipeline runs with "dvc repro"; these commands are for the work done by hand.
    """


if __name__ == "__main__":
    main()
