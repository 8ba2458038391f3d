"""The console command ``chatladder``: what people do by hand, beside the stages that DVC runs.

Example:
    chatladder simulate --lines 58000 --seed 2024 --out data/raw/demo.txt.bz2 --truth data/demo/truth.jsonl.bz2
"""

from typing import Any

import click

from chatladder.cli.annotate.adjudicate import adjudicate_command
from chatladder.cli.annotate.command import annotate_command
from chatladder.cli.annotate.review import review_command
from chatladder.cli.audit.command import audit_command
from chatladder.cli.carry_answers import carry_answers_command
from chatladder.cli.doctor.command import doctor_command
from chatladder.cli.export.command import export_command
from chatladder.cli.forget.command import forget_command
from chatladder.cli.import_labelled import import_command
from chatladder.cli.init.command import init_command
from chatladder.cli.label_studio.command import label_studio_group
from chatladder.cli.ladder import ladder_command
from chatladder.cli.questions import questions_command
from chatladder.cli.report.command import report_command
from chatladder.cli.resolve.command import resolve_command
from chatladder.cli.simulate import answers, chat, review
from chatladder.cli.status import status_command
from chatladder.io.console import SETTINGS, example, stoppable
from chatladder.privacy.secret import secret_command


class Commands(click.Group):
    """A group whose commands, if they do not say it themselves, say of a Ctrl+C that no file is cut short by it."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        with stoppable("No file is left half-written; the same command starts over."):
            return super().invoke(ctx)


@click.group(cls=Commands, context_settings=SETTINGS, epilog=example(__doc__))
@click.version_option(package_name="chatladder")
def main() -> None:
    """From a raw group chat to a fine-tuned model whose labels you can trust.

    The pipeline itself runs with "dvc repro"; these are the things done by hand.
    """


main.add_command(chat, "simulate")
main.add_command(answers, "simulate-answers")
main.add_command(review, "simulate-review")
main.add_command(import_command, "import")
main.add_command(init_command, "init")
main.add_command(status_command, "status")
main.add_command(secret_command, "secret")
main.add_command(questions_command, "questions")
main.add_command(annotate_command, "annotate")
main.add_command(adjudicate_command, "adjudicate")
main.add_command(review_command, "review")
main.add_command(carry_answers_command, "carry-answers")
main.add_command(report_command, "report")
main.add_command(label_studio_group, "label-studio")
main.add_command(audit_command, "audit")
main.add_command(forget_command, "forget")
main.add_command(ladder_command, "ladder")
main.add_command(doctor_command, "doctor")
main.add_command(export_command, "export")
main.add_command(resolve_command, "resolve")

if __name__ == "__main__":
    main()
