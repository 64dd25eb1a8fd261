"""Publish a release as a dataset on the Hugging Face Hub: `polytrace publish`.

In: a run without problems, the dataset's id. Out: one commit after which the dataset holds exactly
the release's files, and its tags. Files are compared by content, so that the same command continues
after an interruption, and sends nothing where nothing changed. `HfApi.upload_folder` is not used,
because with Xet storage it splits a large folder into several commits, and its first commit already
deletes the old files: readers would find an incomplete dataset.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
    Release,
    changes,
    compare,
    count_changes,
    locked_release,
    preview,
    release_of,
)
from schemas.facts import FileFacts
from support.display.text import one_line
from support.errors import UserError
from support.retry import Say, retry

if TYPE_CHECKING:
    from huggingface_hub import HfApi

KIND = "dataset"
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
# A tag: nothing that looks like the hash of a commit, and no two dots in a row.
_TAG = re.compile(r"(?![0-9a-f]{40}$)[A-Za-z0-9](?:[\w-]|\.(?!\.))*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteState:
    """What the hub has: `files` as path -> (size, sha256 of an LFS file or else git's blob id)."""

    head: str
    is_private: bool
    files: dict[str, tuple[int, str]]
    tags: dict[str, str]
    branches: frozenset[str]


def publish(
    run: Path, repo: str, *, public: bool, tag: str | None, say: Say, token: str | None = None
) -> str:
    """Make the dataset equal to the run's release; returns the URL of the commit that does so.

    Without `token`, the environment's is used.

    Raises: UserError for a damaged or empty run, a refused token, a tag in use; StoppedError after
    a temporary fault, where running the same command again continues.
    """
    _check_tag_name(tag)
    api = _connect(repo, token)
    if not api.token:
        raise UserError(
            f"no token for the Hub: set HF_TOKEN to one that may write to {repo.partition('/')[0]} "
            f"({api.endpoint}/settings/tokens)"
        )
    with locked_release(run, say) as release:
        return retry(
            lambda: _publish(api, repo, release, public, tag, say),
            lambda error: as_our_error(error, repo, api.token),
            say=say,
            requested_wait=requested_wait,
        )


def dry_run(run: Path, repo: str, *, public: bool, tag: str | None, say: Say) -> str:
    """What `publish` would do, one line for each file; nothing is changed, locally or remotely."""
    _check_tag_name(tag)
    api = _connect(repo, None)
    release = release_of(run, say)
    try:
        remote = _remote_state(api, repo)
        note = "" if remote else f"{repo} does not exist yet, or is hidden from you\n"
    except Exception as error:  # the Hub cannot be read: list the files as if it held none
        remote, note = None, f"{as_our_error(error, repo, api.token)}\n"
    items = _compare(release, remote)
    if remote is not None:
        _refuse_wrong_destination(repo, remote, items, release, public, tag)
    visibility = "public" if public else "private"
    tags = " and ".join(_tags(release, tag))
    return note + preview(items, f"{_address(api, repo)} ({visibility}), tagged {tags}")


def _connect(repo: str, token: str | None) -> "HfApi":
    """The client; UserError where the id, the address or the token cannot be right."""
    from huggingface_hub import HfApi

    if not _REPO.fullmatch(repo):
        raise UserError(f"--repo {one_line(repo)!r}: not a dataset's id; write ORG/NAME")
    url, token = endpoint(), find_token(token)
    configure()
    return HfApi(endpoint=url, token=token or False, library_name="polytrace")


def _address(api: "HfApi", repo: str) -> str:
    return f"{api.endpoint}/datasets/{repo}"


def _publish(
    api: "HfApi", repo: str, release: Release, public: bool, tag: str | None, say: Say
) -> str:
    """One attempt to publish; what an interrupted attempt has finished is not done again."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    remote = _remote_state(api, repo)
    if remote is None:
        api.create_repo(repo, repo_type=KIND, private=not public)
        remote = _remote_state(api, repo)
        if remote is None:
            raise UserError(f"{repo}: was created, but is hidden from this token; check its rights")
    items = _compare(release, remote)
    _refuse_wrong_destination(repo, remote, items, release, public, tag)
    say(f"{count_changes(items)} to {_address(api, repo)}")
    added = [
        CommitOperationAdd(item.path, release.folder / item.path)
        for item in items
        if item.state in (FileAction.NEW, FileAction.CHANGED)
    ]
    deleted = [
        CommitOperationDelete(item.path) for item in items if item.state is FileAction.DELETED
    ]
    commit = remote.head
    if added or deleted:
        _disable_xet_where_unknown(api, repo)
        try:
            api.preupload_lfs_files(repo, added, repo_type=KIND, free_memory=False)
        except Exception as error:  # as a PolytraceError, because the client has tried again itself
            raise as_our_error(error, repo, api.token) from None
        commit = api.create_commit(
            repo,
            [*deleted, *added],
            commit_message=f"Polytrace release {release.build}, recipe {release.recipe_digest}",
            repo_type=KIND,
            parent_commit=remote.head,
        ).oid
    for name in _tags(release, tag):
        if remote.tags.get(name) == commit:
            continue
        if name in remote.tags:  # the recipe's own tag moves to the recipe's latest release
            api.delete_tag(repo, tag=name, repo_type=KIND)
        api.create_tag(repo, tag=name, revision=commit, repo_type=KIND)
    if public and remote.is_private:
        api.update_repo_settings(repo, private=False, repo_type=KIND)
    return f"{_address(api, repo)}/tree/{commit}"


def _disable_xet_where_unknown(api: "HfApi", repo: str) -> None:
    """Turn Xet storage off where the Hub has none, because the client does not look."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    url = f"{api.endpoint}/api/datasets/{repo}/xet-write-token/main"
    if not constants.HF_HUB_DISABLE_XET:
        response = get_session().get(url, headers=build_hf_headers(token=api.token))
        constants.HF_HUB_DISABLE_XET = response.status_code == 404


def _remote_state(api: "HfApi", repo: str) -> RemoteState | None:
    """What the hub has of the dataset; None where it does not exist."""
    from huggingface_hub import RepoFile
    from huggingface_hub.errors import HfHubHTTPError

    try:
        info = api.dataset_info(repo)
    except HfHubHTTPError as error:
        if error.response.status_code != 404:
            raise
        return None
    refs = api.list_repo_refs(repo, repo_type=KIND)
    entries = api.list_repo_tree(repo, recursive=True, revision=info.sha, repo_type=KIND)
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


def _compare(release: Release, remote: RemoteState | None) -> list[FileChange]:
    """What has to change; files are compared by the Hub's own hash: SHA-256 (LFS), or Git's."""
    from huggingface_hub.utils.sha import git_hash

    files = remote.files if remote else {}

    def is_same(path: str, file: FileFacts) -> bool:
        _, digest = files[path]
        is_lfs = len(digest) == 64
        return digest == (file.sha256 if is_lfs else git_hash((release.folder / path).read_bytes()))

    return compare(release, {path: size for path, (size, _) in files.items()}, is_same)


def _check_tag_name(tag: str | None) -> None:
    if tag is not None and (not _TAG.fullmatch(tag) or tag.endswith((".", ".lock"))):
        raise UserError(f"--revision {tag!r}: not a tag; write letters, digits, '.', '-' or '_'")


def _tags(release: Release, tag: str | None) -> list[str]:
    """The tags of the release: its recipe's digest, and the one that the user names."""
    return list(dict.fromkeys([release.recipe_digest, tag or release.recipe_digest]))


def _refuse_wrong_destination(
    repo: str,
    remote: RemoteState,
    items: list[FileChange],
    release: Release,
    public: bool,
    tag: str | None,
) -> None:
    """UserError if the dataset is public unasked, or if `tag` is taken; nothing was sent yet.

    The recipe's own tag may stand on an older commit: it moves to the recipe's latest release.
    """
    if not remote.is_private and not public:
        raise UserError(
            f"{repo}: is public already; add --public to publish there, or choose another --repo"
        )
    if tag in remote.branches:
        raise UserError(f"{repo}: --revision {tag!r} is a branch; choose another name")
    commit = remote.tags.get(tag or "") if tag != release.recipe_digest else None
    if commit is not None and (commit != remote.head or changes(items)):
        raise UserError(
            f"{repo}: tag {tag!r} stands on another commit ({commit[:8]}); choose another "
            "--revision, or delete the tag there"
        )
