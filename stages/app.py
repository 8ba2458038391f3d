"""The console command ``chatladder``: what people do by hand, beside the stages that DVC runs.

Example:
    chatladder simulate --lines 58000 --seed 2024 --out data/raw/demo.txt.bz2 --truth data/demo/truth.jsonl.bz2
"""

from typing import Any

import click

from stages.adjudicate import adjudicate_command
from stages.annotate import annotate_command
from stages.audit import audit_command
from stages.carry_answers import carry_answers_command
from stages.cli import SETTINGS, example, stoppable
from stages.doctor import doctor_command
from stages.export import export_command
from stages.forget import forget_command
from stages.import_labelled import import_command
from stages.init import init_command
from stages.label_studio import label_studio_group
from stages.ladder import ladder_command
from stages.privacy.secret import secret_command
from stages.questions import questions_command
from stages.report import report_command
from stages.resolve import resolve_command
from stages.review import review_command
from stages.simulate import answers, chat, review
from stages.status import status_command


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
