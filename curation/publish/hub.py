"""Publish a dataset, a model or a Space on the Hugging Face Hub: `polytrace publish`.

In: what is published, the repository's id. Out: one commit after which the repository holds exactly
the files, its tags, and its place in a collection. Files are compared by content, so that the same
command continues after an interruption, and sends nothing where nothing changed.
`HfApi.upload_folder` is not used, because with Xet storage it splits a large folder into several
commits, and its first commit already deletes the old files: readers would find an incomplete
repository.
"""

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from curation.publish.hub_client import (
    as_our_error,
    configure,
    endpoint,
    find_token,
    requested_wait,
)
from curation.publish.plan import (
    FileAction,
    FileChange,
    Publication,
    RepoKind,
    changes,
    compare,
    count_changes,
    preview,
)
from schemas.facts import FileFacts
from support.display.text import one_line
from support.errors import UserError
from support.retry import GOES_ON, Say, retry

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
# A tag: nothing that looks like the hash of a commit, and no two dots in a row.
_TAG = re.compile(r"(?![0-9a-f]{40}$)[A-Za-z0-9](?:[\w-]|\.(?!\.))*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubDestination:
    """A repository of the Hub as the user wants it, and the title of a collection that lists it."""

    repo: str
    public: bool = False
    tag: str | None = None
    collection: str | None = None

    @property
    def owner(self) -> str:
        """The user or organisation that the repository belongs to."""
        return self.repo.partition("/")[0]


class Published(NamedTuple):
    """The addresses of the commit, and of the collection; None where none was asked for."""

    commit: str
    collection: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteState:
    """What the hub has: `files` as path -> (size, sha256 of an LFS file or else git's blob id)."""

    head: str
    is_private: bool
    files: dict[str, tuple[int, str]]
    tags: dict[str, str]
    branches: frozenset[str]


def publish(
    opened: AbstractContextManager[Publication],
    to: HubDestination,
    *,
    say: Say,
    token: str | None = None,
) -> Published:
    """Make the repository equal to what is published, and list it in the collection.

    `opened` is entered after all that needs no file was checked, and is held until the end. Without
    `token`, the environment's is used.

    Raises: UserError for a refused token, a tag in use; StoppedError after a temporary fault, where
    running the same command again continues.
    """
    api = _connect(to, token)
    if not api.token:
        raise UserError(
            f"no token for the Hub: set HF_TOKEN to one that may write to {to.owner} "
            f"({api.endpoint}/settings/tokens)"
        )
    with opened as what:
        return retry(
            lambda: Published(_publish(api, to, what, say), _collect(api, to, what.kind)),
            lambda error: as_our_error(error, to.repo, api.token),
            say=say,
            requested_wait=requested_wait,
        )


def dry_run(opened: AbstractContextManager[Publication], to: HubDestination) -> str:
    """What `publish` would do, one line for each file; nothing is changed, locally or remotely."""
    api = _connect(to, None)
    with opened as what:
        try:
            remote = _remote_state(api, to.repo, what.kind)
            note = "" if remote else f"{to.repo} does not exist yet, or is hidden from you\n"
        except Exception as error:  # the Hub cannot be read: list the files as if it held none
            why = str(as_our_error(error, to.repo, api.token)).removesuffix(GOES_ON)
            remote, note = None, f"{why}; nothing was compared, so every file is listed as new\n"
        items = _compare(what, remote)
        if remote is not None:
            _refuse_wrong_destination(to, remote, items, what.digest)
        place = f"{_address(api, to.repo, what.kind)} ({'public' if to.public else 'private'})"
        if tags := _tags(what, to):
            place += f", tagged {' and '.join(tags)}"
        if to.collection is not None:
            place += f", in the collection {one_line(to.collection)!r} of {to.owner}"
        return note + preview(items, place)


def _connect(to: HubDestination, token: str | None) -> "HfApi":
    """The client; UserError where an id, a name, the address or the token cannot be right."""
    from huggingface_hub import HfApi

    if to.tag is not None and (not _TAG.fullmatch(to.tag) or to.tag.endswith((".", ".lock"))):
        raise UserError(f"--revision {to.tag!r}: not a tag; write letters, digits, '.', '-' or '_'")
    if not _REPO.fullmatch(to.repo):
        raise UserError(f"--repo {one_line(to.repo)!r}: not a repository's id; write ORG/NAME")
    if to.collection is not None and not to.collection.strip():
        raise UserError("--collection: is empty; write the collection's title")
    url, token = endpoint(), find_token(token)
    configure()
    return HfApi(endpoint=url, token=token or False, library_name="polytrace")


def _address(api: "HfApi", repo: str, kind: RepoKind) -> str:
    return f"{api.endpoint}/{'' if kind is RepoKind.MODEL else f'{kind}s/'}{repo}"


def _publish(api: "HfApi", to: HubDestination, what: Publication, say: Say) -> str:
    """One attempt to publish; what an interrupted attempt has finished is not done again."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    repo, kind = to.repo, what.kind
    remote = _remote_state(api, repo, kind)
    if remote is None:
        sdk = "static" if kind is RepoKind.SPACE else None
        api.create_repo(repo, repo_type=kind, private=not to.public, space_sdk=sdk)
        remote = _remote_state(api, repo, kind)
        if remote is None:
            raise UserError(f"{repo}: was created, but is hidden from this token; check its rights")
    items = _compare(what, remote)
    _refuse_wrong_destination(to, remote, items, what.digest)
    say(f"{count_changes(items)} to {_address(api, repo, kind)}")
    added = [
        CommitOperationAdd(item.path, what.folder / item.path)
        for item in items
        if item.state in (FileAction.NEW, FileAction.CHANGED)
    ]
    deleted = [
        CommitOperationDelete(item.path) for item in items if item.state is FileAction.DELETED
    ]
    commit = remote.head
    if added or deleted:
        _disable_xet_where_unknown(api, repo, kind)
        try:
            api.preupload_lfs_files(repo, added, repo_type=kind, free_memory=False)
        except Exception as error:  # as a PolytraceError, because the client has tried again itself
            raise as_our_error(error, repo, api.token) from None
        commit = api.create_commit(
            repo,
            [*deleted, *added],
            commit_message=what.message,
            repo_type=kind,
            parent_commit=remote.head,
        ).oid
    for name in _tags(what, to):
        if remote.tags.get(name) == commit:
            continue
        if name in remote.tags:  # the digest's own tag moves to what was made of it last
            api.delete_tag(repo, tag=name, repo_type=kind)
        api.create_tag(repo, tag=name, revision=commit, repo_type=kind)
    if to.public and remote.is_private:
        api.update_repo_settings(repo, private=False, repo_type=kind)
    return f"{_address(api, repo, kind)}/tree/{commit}"


def _collect(api: "HfApi", to: HubDestination, kind: RepoKind) -> str | None:
    """List the repository in the collection, which is created if it is missing; its address."""
    if to.collection is None:
        return None
    made = api.create_collection(
        to.collection, namespace=to.owner, private=not to.public, exists_ok=True
    )
    return api.add_collection_item(made.slug, to.repo, kind.value, exists_ok=True).url


def _disable_xet_where_unknown(api: "HfApi", repo: str, kind: RepoKind) -> None:
    """Turn Xet storage off where the Hub has none, because the client does not look."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    url = f"{api.endpoint}/api/{kind}s/{repo}/xet-write-token/main"
    if not constants.HF_HUB_DISABLE_XET:
        response = get_session().get(url, headers=build_hf_headers(token=api.token))
        constants.HF_HUB_DISABLE_XET = response.status_code == 404


def _remote_state(api: "HfApi", repo: str, kind: RepoKind) -> RemoteState | None:
    """What the hub has of the repository; None where it does not exist."""
    from huggingface_hub import RepoFile
    from huggingface_hub.errors import HfHubHTTPError

    try:
        info = api.repo_info(repo, repo_type=kind)
    except HfHubHTTPError as error:
        if error.response.status_code != 404:
            raise
        return None
    refs = api.list_repo_refs(repo, repo_type=kind)
    entries = api.list_repo_tree(repo, recursive=True, revision=info.sha, repo_type=kind)
    return RemoteState(
        head=info.sha or "",
        is_private=bool(info.private),
        files={
            entry.path: (entry.size, entry.lfs.sha256 if entry.lfs else entry.blob_id)
            for entry in entries
            if isinstance(entry, RepoFile)
        },
        tags={ref.name: ref.target_commit for ref in refs.tags},
        branches=frozenset(ref.name for ref in refs.branches),
    )


def _compare(what: Publication, remote: RemoteState | None) -> list[FileChange]:
    """What has to change; files are compared by the Hub's own hash: SHA-256 (LFS), or Git's."""
    from huggingface_hub.utils.sha import git_hash

    files = remote.files if remote else {}

    def is_same(path: str, file: FileFacts) -> bool:
        _, digest = files[path]
        is_lfs = len(digest) == 64
        return digest == (file.sha256 if is_lfs else git_hash((what.folder / path).read_bytes()))

    return compare(what, {path: size for path, (size, _) in files.items()}, is_same)


def _tags(what: Publication, to: HubDestination) -> list[str]:
    """The tags of what is published: its digest, and the one that the user names."""
    return list(dict.fromkeys(tag for tag in (what.digest, to.tag) if tag is not None))


def _refuse_wrong_destination(
    to: HubDestination, remote: RemoteState, items: list[FileChange], digest: str | None
) -> None:
    """UserError if the repository is public unasked, or if the user's tag is taken.

    Nothing was sent yet. The tag of the digest may name an older commit: it moves.
    """
    repo, tag = to.repo, to.tag
    if not remote.is_private and not to.public:
        raise UserError(
            f"{repo}: is public already; add --public to publish there, or choose another --repo"
        )
    if tag in remote.branches:
        raise UserError(f"{repo}: --revision {tag!r} is a branch; choose another name")
    commit = remote.tags.get(tag or "") if tag != digest else None
    if commit is not None and (commit != remote.head or changes(items)):
        raise UserError(
            f"{repo}: tag {tag!r} stands on another commit ({commit[:8]}); choose another "
            "--revision, or delete the tag there"
        )
