"""Where a release is published to: the Hub, or a folder."""

from support.errors import UserError


def check(repo: str | None, to: str | None, *, public: bool, tag: str | None) -> None:
    """UserError where it is not said where to, or what only the Hub can do is asked of a folder."""
    if (repo is None) == (to is None):
        raise UserError("say where to, once: --repo ORG/NAME (on the Hub), or --to URL")
    if to is not None and (public or tag is not None):
        raise UserError("--public and --revision are of the Hub; they go with --repo alone")
