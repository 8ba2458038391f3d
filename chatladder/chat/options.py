"""Settings for reading exports, shared by every command that reads them."""

from collections.abc import Callable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import click

from chatladder.chat.formats import NAMES
from chatladder.chat.message import Context
from chatladder.io.options import setting
from chatladder.privacy.pseudonyms import Pseudonyms

DATE_ORDERS = ("auto", "dmy", "mdy", "ymd")


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise click.BadParameter(
            f"expected a name of the IANA database such as Asia/Shanghai, got {name!r}."
        ) from error
    return name


def _country(name: str) -> str:
    from phonenumbers import SUPPORTED_REGIONS

    if name not in SUPPORTED_REGIONS:
        raise click.BadParameter(f"expected a country of ISO 3166 such as GB, got {name!r}.")
    return name


def _mapping(pair: str) -> str:
    if not all(pair.partition("=")[::2]):
        raise click.BadParameter("expected OURS=THEIRS, for example sender=from_name.")
    return pair


@dataclass(frozen=True)
class MaskingOptions:
    """The personal data to mask in addition to what is always masked."""

    phone_region: tuple[str, ...] = setting(
        "A country whose phone numbers are masked without their +, too: GB, FR; repeat it.",
        default=(),
        type=click.types.FuncParamType(_country),
        metavar="COUNTRY",
    )


@dataclass(frozen=True)
class ExportOptions(MaskingOptions):
    """How exports are read and masked."""

    format: str = setting(
        "Format of the exports; auto tells it from each file's content.", default="auto", choices=("auto", *NAMES)
    )
    timezone: str = setting(
        "The zone of exports that write local time without an offset, as Asia/Shanghai.",
        default="UTC",
        parse=_timezone,
    )
    date_order: str = setting(
        "The order of dates that can be read in several ways; auto tells it from the whole file.",
        default="auto",
        choices=DATE_ORDERS,
    )
    column: tuple[str, ...] = setting(
        "A column of a table; repeat it.",
        default=(),
        type=click.types.FuncParamType(_mapping),
        metavar="OURS=THEIRS",
    )

    bot: tuple[str, ...] = setting(
        "A sender whose messages are left out, as the export or as the pseudonym has it; repeat it.",
        default=(),
        metavar="NAME",
    )

    def context(self, pseudonyms: Pseudonyms, know: Callable[..., None]) -> Context:
        """Return the context that a format reads with; see ``Context`` for the arguments."""
        columns = dict(pair.split("=", 1) for pair in self.column)
        zone, bots = ZoneInfo(self.timezone), frozenset(self.bot)
        return Context(pseudonyms, know, zone, self.date_order, self.phone_region, columns, bots)
