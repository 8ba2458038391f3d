"""How exports are read, as options of the commands that read them."""

from zoneinfo import ZoneInfo

import click

DATE_ORDERS = ("auto", "dmy", "mdy", "ymd")


def timezone_name(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Check that a time zone is known."""
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        raise click.BadParameter(
            f"expected a name of the IANA database such as Asia/Shanghai, got {value!r}."
        ) from error
    return value


def _phone_countries(_context: click.Context, _parameter: click.Parameter, regions: tuple[str, ...]) -> tuple[str, ...]:
    """Check that phone numbers of the countries are known."""
    if regions:
        from phonenumbers import SUPPORTED_REGIONS

        for region in regions:
            if region not in SUPPORTED_REGIONS:
                raise click.BadParameter(f"expected a country of ISO 3166 such as GB, got {region!r}.")
    return regions


def _column_mapping(_context: click.Context, _parameter: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    """Split OURS=THEIRS pairs."""
    split = [pair.partition("=") for pair in pairs]
    if any(not (ours and theirs) for ours, _, theirs in split):
        raise click.BadParameter("expected OURS=THEIRS, for example sender=from_name.")
    return {ours: theirs for ours, _, theirs in split}


phone_region_option = click.option(
    "--phone-region",
    "phone_regions",
    multiple=True,
    callback=_phone_countries,
    metavar="COUNTRY",
    help="Whose phone numbers are masked without their +, too: GB, FR; repeat it.",
)
column_option = click.option(
    "--column",
    "columns",
    multiple=True,
    callback=_column_mapping,
    metavar="OURS=THEIRS",
    help="A column of a table; repeat it.",
)
